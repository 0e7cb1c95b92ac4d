/*
 * join.h - `virtid-hostd join`: from a code on stdin to this host's certificates
 */
#pragma once

#include "lib/common/error.h"

/*
 * Read one join code from stdin (never argv: it is a secret), make the keys, show the fingerprint and wait
 * for approval, at most `wait_seconds`.
 */
int join_run(const char *state_dir, const char *host_name, int wait_seconds, struct error *err);
