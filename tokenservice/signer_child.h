/*
 * signer_child.h - virtid-signer as a child under its own user, at the other end of one
 * socketpair
 */
#pragma once

#include <sys/types.h>

#include "lib/common/error.h"

/*
 * Starts `program --fd 3 --key-dir key_dir --rotate-days rotate_days`; as root it becomes `user`.  It ends when
 * our end is closed.  *ret_fd and *ret_pid are the caller's.
 */
int signer_child_start(const char *program, const char *key_dir, const char *user,
                       int rotate_days, int *ret_fd, pid_t *ret_pid, struct error *err);
