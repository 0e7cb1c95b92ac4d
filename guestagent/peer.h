/*
 * peer.h - who is at the other end of the agent's socket
 */
#pragma once

#include <stdbool.h>
#include <stddef.h>
#include <sys/types.h>

#include "lib/common/cleanup.h"
#include "lib/common/error.h"

enum { PEER_CGROUP_MAX = 512, PEER_NAME_MAX = 256 };

struct peer {
    pid_t pid;
    uid_t uid;    /* as this agent's user namespace sees it: root of a container with its own is somebody else */
    gid_t *gids;  /* the effective one, then the supplementary ones */
    size_t n_gids;
    bool at_home; /* in the mount and pid namespaces of process 1, or of this agent */
    bool owner;   /* root, at home; or the user of an agent that is not root (a simulated VM) */
    char cgroup[PEER_CGROUP_MAX];       /* in the unified hierarchy, "/a/b"; "": nobody can tell */
    char credential[PEER_NAME_MAX];     /* systemd loads this credential; "": it is no such connection */
};

/*
 * What the kernel says of whoever connected: never of a process that got its number later, where the kernel can
 * tell (Linux 6.5).  ERROR_DENIED: it is gone.
 */
int peer_look(int fd, struct peer *ret, struct error *err);
/* What peer_look() took; accepts zeroes. */
void peer_clear(struct peer *peer);
#define peer_clear_at peer_clear
