#include "config.h"

#include "guestagent/peer_check.h"

#include <stdbool.h>
#include <stdio.h>
#include <sys/stat.h>
#include <sys/types.h>
#include <unistd.h>

#include "lib/common/fdio.h"

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

int
peer_check(int fd, struct error *err)
{
    pid_t pid;
    uid_t uid;
    gid_t gid;

    if (unix_peer(fd, &pid, &uid, &gid, err) < 0)
        return -1;
    /* An agent that is no root (a simulated VM) serves its own user, and has no right to look further. */
    if (geteuid() != 0 && uid == geteuid())
        return 0;
    if (uid != 0)
        return error_set(err, ERROR_DENIED, "uid %u asked: only root is served",
                         (unsigned)uid);
    /* A process of a foreign pid namespace above ours has pid 0 here. */
    if (pid <= 0 || !is_at_home(pid, "pid") || !is_at_home(pid, "mnt"))
        return error_set(err, ERROR_DENIED,
                         "process %d asked from another mount or pid namespace (a container)",
                         (int)pid);
    return 0;
}
