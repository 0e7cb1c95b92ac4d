/*
 * peer_check.h - who is at the other end of the agent's socket
 */
#pragma once

#include "lib/common/error.h"

/*
 * 0: uid 0 in the mount and pid namespace of the guest itself (process 1) or of this agent; an agent
 * that does not run as root serves its own user.
 * ERROR_DENIED: another user, a container, or nobody can tell.
 */
int peer_check(int fd, struct error *err);
