#include "config.h"

#include "plugin/inject/appliance_parts.h"

#include <dirent.h>
#include <fcntl.h>
#include <limits.h>
#include <stdio.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include "lib/common/error.h"
#include "lib/common/fdio.h"

#define PARTS "supermin.d"
#define INIT "init.tar.gz"
#define OURS "appliance_init.tar.gz"

static bool
joined(char *ret, size_t size, const char *folder, const char *name)
{
    int len = snprintf(ret, size, "%s/%s", folder, name);

    return len > 0 && (size_t)len < size;
}

static void
close_folder(DIR *folder)
{
    if (folder)
        closedir(folder);
}
DEFINE_CLEANUP(DIR *, close_folder);

/* A link that is right is left alone: supermin goes by times. */
static bool
link_part(int parts, const char *name, const char *target)
{
    char now[PATH_MAX];
    ssize_t len = readlinkat(parts, name, now, sizeof now);

    if (len == (ssize_t)strlen(target) && memcmp(now, target, (size_t)len) == 0)
        return true;
    (void)unlinkat(parts, name, 0);
    return symlinkat(target, parts, name) == 0;
}

static bool
link_all(const char *stock, const char *init, int parts)
{
    CLEANUP(close_folder) DIR *folder = opendir(stock);
    char target[PATH_MAX];
    struct dirent *entry;
    bool has_init = false;

    if (!folder)
        return false;
    while ((entry = readdir(folder))) {
        bool is_init = strcmp(entry->d_name, INIT) == 0;

        if (entry->d_name[0] == '.')
            continue;
        if (!joined(target, sizeof target, stock, entry->d_name) ||
            !link_part(parts, entry->d_name, is_init ? init : target))
            return false;
        has_init = has_init || is_init;
    }
    return has_init;
}

/* What an earlier libguestfs had, and this one has not. */
static bool
unlink_gone(int parts)
{
    int fd = openat(parts, ".", O_RDONLY | O_DIRECTORY | O_CLOEXEC);
    CLEANUP(close_folder) DIR *folder = fd < 0 ? NULL : fdopendir(fd);
    struct dirent *entry;

    if (!folder) {
        fd_close(fd);
        return false;
    }
    while ((entry = readdir(folder)))
        if (entry->d_name[0] != '.' && faccessat(parts, entry->d_name, R_OK, 0) < 0 &&
            unlinkat(parts, entry->d_name, 0) < 0)
            return false;
    return true;
}

bool
appliance_parts_make(const char *stock, const char *init, const char *cache_dir, char *ret,
                     size_t size)
{
    char from[PATH_MAX], to[PATH_MAX];
    CLEANUP(fd_close) int parts = -1;
    struct error ignored;

    if (access(init, R_OK) < 0 || !joined(from, sizeof from, stock, PARTS) ||
        !joined(ret, size, cache_dir, "appliance") || !joined(to, sizeof to, ret, PARTS) ||
        dir_make(ret, 0700, &ignored) < 0 || dir_make(to, 0700, &ignored) < 0)
        return false;
    parts = open(to, O_RDONLY | O_DIRECTORY | O_NOFOLLOW | O_CLOEXEC);
    return parts >= 0 && link_all(from, init, parts) && unlink_gone(parts);
}

bool
appliance_parts_init(char *ret, size_t size)
{
    char program[PATH_MAX];
    ssize_t len = readlink("/proc/self/exe", program, sizeof program - 1);
    char *slash;

    program[len < 0 ? 0 : len] = '\0';
    slash = strrchr(program, '/');
    if (slash) {
        *slash = '\0';
        if (joined(ret, size, program, OURS) && access(ret, R_OK) == 0)
            return true;
    }
    return joined(ret, size, VIRTID_APPLIANCE_DIR, OURS);
}
