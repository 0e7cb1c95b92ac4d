#include "config.h"

#include "guestagent/peer.h"

#include <errno.h>
#include <fcntl.h>
#include <poll.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/un.h>
#include <unistd.h>

#include "lib/common/fdio.h"

#ifndef SO_PEERPIDFD
#define SO_PEERPIDFD 77
#endif

/* Is namespace `which` of process `pid` that of `other` (a name in /proc)? */
static bool
same_namespace(pid_t pid, const char *which, const char *other)
{
    struct stat theirs, known;
    char path[64];

    snprintf(path, sizeof path, "/proc/%d/ns/%s", (int)pid, which);
    if (stat(path, &theirs) < 0)
        return false;
    snprintf(path, sizeof path, "/proc/%s/ns/%s", other, which);
    return stat(path, &known) == 0 && theirs.st_dev == known.st_dev &&
           theirs.st_ino == known.st_ino;
}

static bool
is_at_home(pid_t pid, const char *which)
{
    return same_namespace(pid, which, "1") || same_namespace(pid, which, "self");
}

/* The line "0::/PATH" of /proc/PID/cgroup. */
static void
look_at_cgroup(struct peer *p)
{
    char path[64], line[PEER_CGROUP_MAX + 8];
    FILE *f;

    snprintf(path, sizeof path, "/proc/%d/cgroup", (int)p->pid);
    f = fopen(path, "re");
    while (f && fgets(line, sizeof line, f)) {
        size_t len = strcspn(line, "\n");

        /* A longer one is cut, and would pass for one of its parents. */
        if (strncmp(line, "0::/", 4) != 0 || line[len] != '\n' || len - 3 >= sizeof p->cgroup)
            continue;
        memcpy(p->cgroup, line + 3, len - 3);
        p->cgroup[len - 3] = '\0';
        break;
    }
    if (f)
        fclose(f);
}

static int
look_at_groups(int fd, gid_t gid, struct peer *p, struct error *err)
{
    socklen_t size = 0;

    /* Too little room for any: the kernel says how much it takes. */
    (void)getsockopt(fd, SOL_SOCKET, SO_PEERGROUPS, NULL, &size);
    p->gids = calloc(1, sizeof *p->gids + size);
    if (!p->gids)
        return error_sys(err, ENOMEM, "groups of a peer");
    p->gids[0] = gid;
    p->n_gids = 1;
    if (size > 0 && getsockopt(fd, SOL_SOCKET, SO_PEERGROUPS, p->gids + 1, &size) == 0)
        p->n_gids += size / sizeof *p->gids;
    return 0;
}

/*
 * systemd, when it loads a credential from a socket, says which by the address that it binds: in the abstract
 * namespace, RANDOM/unit/UNIT/CREDENTIAL.  Anybody can bind that: it is a question, no proof of anything.
 */
static void
look_at_address(int fd, struct peer *p)
{
    struct sockaddr_un at;
    socklen_t len = sizeof at;
    const size_t head = offsetof(struct sockaddr_un, sun_path);
    char path[sizeof at.sun_path + 1] = "";
    const char *unit, *name;

    if (getpeername(fd, (struct sockaddr *)&at, &len) < 0 || len <= head + 1 || len > sizeof at ||
        at.sun_path[0] != '\0')
        return;
    memcpy(path, at.sun_path + 1, len - head - 1);
    unit = path + strspn(path, "0123456789abcdef");
    name = strrchr(path, '/');
    if (strlen(path) == len - head - 1 && unit > path && strncmp(unit, "/unit/", 6) == 0 && name > unit + 6)
        snprintf(p->credential, sizeof p->credential, "%s", name + 1);
}

int
peer_look(int fd, struct peer *ret, struct error *err)
{
    CLEANUP(fd_close) int pidfd = -1;
    CLEANUP(peer_clear) struct peer p = { 0 };
    socklen_t size = sizeof pidfd;
    struct pollfd end;
    gid_t gid;

    if (unix_peer(fd, &p.pid, &p.uid, &gid, err) < 0 || look_at_groups(fd, gid, &p, err) < 0)
        return -1;
    if (getsockopt(fd, SOL_SOCKET, SO_PEERPIDFD, &pidfd, &size) < 0) {
        pidfd = -1;
        if (errno != ENOPROTOOPT)
            return error_set(err, ERROR_DENIED, "the process that connected is gone");
    }
    /* A process of a foreign pid namespace above ours has pid 0 here. */
    if (p.pid > 0) {
        p.at_home = is_at_home(p.pid, "pid") && is_at_home(p.pid, "mnt");
        look_at_cgroup(&p);
    }
    end = (struct pollfd){ .fd = pidfd, .events = POLLIN };
    if (pidfd >= 0 && poll(&end, 1, 0) != 0)
        return error_set(err, ERROR_DENIED, "the process that connected is gone");
    look_at_address(fd, &p);
    /* An agent that is no root has no right to look further at its own user's processes. */
    p.owner = p.uid == geteuid() && (p.at_home || geteuid() != 0);
    *ret = p;
    p.gids = NULL;
    return 0;
}

void
peer_clear(struct peer *p)
{
    free(p->gids);
    *p = (struct peer){ 0 };
}
