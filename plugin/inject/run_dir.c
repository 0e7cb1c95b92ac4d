#include "config.h"

#include "plugin/inject/run_dir.h"

#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "lib/common/fdio.h"

#define PREFIX "run-"
#define HALF_BUILT "appliance.d." /* supermin's temporary name */

enum { DEPTH_MAX = 8 /* libguestfs makes two levels */ };

static void remove_tree(int parent, const char *name, int depth);

static void
remove_entries(int fd, int depth)
{
    DIR *dir = fdopendir(fd);
    struct dirent *entry;

    if (!dir) {
        fd_close(fd);
        return;
    }
    while ((entry = readdir(dir)))
        if (strcmp(entry->d_name, ".") != 0 && strcmp(entry->d_name, "..") != 0)
            remove_tree(dirfd(dir), entry->d_name, depth);
    closedir(dir);
}

static void
remove_tree(int parent, const char *name, int depth)
{
    int fd;

    if (unlinkat(parent, name, 0) == 0 || (errno != EISDIR && errno != EPERM) || depth > DEPTH_MAX)
        return;
    fd = openat(parent, name, O_RDONLY | O_DIRECTORY | O_NOFOLLOW | O_CLOEXEC);
    if (fd < 0)
        return;
    remove_entries(fd, depth + 1);
    (void)unlinkat(parent, name, AT_REMOVEDIR);
}

int
run_dir_make(const char *cache_dir, struct run_dir *ret, struct error *err)
{
    struct run_dir dir;

    if (snprintf(dir.path, sizeof dir.path, "%s/" PREFIX "XXXXXX", cache_dir) >=
        (int)sizeof dir.path)
        return error_set(err, ERROR_INPUT, "%s: too long for a socket's folder", cache_dir);
    if (!mkdtemp(dir.path))
        return error_sys(err, errno, "a folder in %s", cache_dir);
    *ret = dir;
    return 0;
}

void
run_dir_clear(struct run_dir *dir)
{
    if (dir->path[0])
        remove_tree(AT_FDCWD, dir->path, 0);
    dir->path[0] = '\0';
}

static void
clean(int parent, const char *name, const char *prefix)
{
    int fd = openat(parent, name, O_RDONLY | O_DIRECTORY | O_NOFOLLOW | O_CLOEXEC);
    DIR *dir = fd < 0 ? NULL : fdopendir(fd);
    struct dirent *entry;

    if (!dir) {
        fd_close(fd);
        return;
    }
    while ((entry = readdir(dir)))
        if (strncmp(entry->d_name, prefix, strlen(prefix)) == 0)
            remove_tree(dirfd(dir), entry->d_name, 0);
    closedir(dir);
}

void
run_dir_clean_all(const char *cache_dir)
{
    char built[32];
    int fd = open(cache_dir, O_RDONLY | O_DIRECTORY | O_CLOEXEC);

    if (fd < 0)
        return;
    /* An appliance that was being built lies beside its place, half a gigabyte of it. */
    snprintf(built, sizeof built, ".guestfs-%u", (unsigned)geteuid());
    clean(fd, built, HALF_BUILT);
    clean(fd, ".", PREFIX);
    fd_close(fd);
}
