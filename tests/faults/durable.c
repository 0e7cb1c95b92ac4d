#include "config.h"

#include "tests/faults/durable.h"

#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <limits.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/sendfile.h>
#include <sys/stat.h>
#include <unistd.h>

enum { ENTRY_MAX = 400 };

static char shadow_dir[PATH_MAX - 64]; /* "": nobody asks */

/* These are tests' own files: where they fail there is nothing to test. */
static void
must(bool done, const char *what)
{
    if (done)
        return;
    fprintf(stderr, "durable: %s: %s\n", what, strerror(errno));
    abort();
}

static void
copy_bytes(int from, int to)
{
    off_t at = 0;
    struct stat st;

    must(fstat(from, &st) == 0, "stat");
    while (at < st.st_size)
        must(sendfile(to, from, &at, (size_t)(st.st_size - at)) > 0, "copy");
}

static void
copy_file(const char *from, const char *to, mode_t mode)
{
    int in = open(from, O_RDONLY | O_CLOEXEC);
    int out = open(to, O_WRONLY | O_CREAT | O_TRUNC | O_CLOEXEC, mode & 0777);

    must(in >= 0 && out >= 0, to);
    copy_bytes(in, out);
    must(fchmod(out, mode & 07777) == 0, to);
    close(in);
    close(out);
}

/* ---- trees ---- */

static const char *
next_name(DIR *dir)
{
    const struct dirent *e;

    while ((e = readdir(dir))) {
        if (strcmp(e->d_name, ".") != 0 && strcmp(e->d_name, "..") != 0)
            return e->d_name;
    }
    return NULL;
}

static DIR *
list(const char *path)
{
    DIR *dir = opendir(path);

    must(dir != NULL, path);
    return dir;
}

void
tree_copy(const char *from, const char *to)
{
    char a[PATH_MAX], b[PATH_MAX];
    const char *name;
    struct stat st;
    DIR *dir;

    must(stat(from, &st) == 0, from);
    must(mkdir(to, 0700) == 0 || errno == EEXIST, to);
    must(chmod(to, st.st_mode & 07777) == 0, to);
    dir = list(from);
    while ((name = next_name(dir))) {
        snprintf(a, sizeof a, "%s/%s", from, name);
        snprintf(b, sizeof b, "%s/%s", to, name);
        must(lstat(a, &st) == 0, a);
        if (S_ISDIR(st.st_mode))
            tree_copy(a, b);
        else if (S_ISREG(st.st_mode))
            copy_file(a, b, st.st_mode);
    }
    closedir(dir);
}

void
tree_remove(const char *path)
{
    char below[PATH_MAX];
    const char *name;
    struct stat st;
    DIR *dir;

    if (lstat(path, &st) < 0)
        return;
    if (!S_ISDIR(st.st_mode)) {
        must(unlink(path) == 0, path);
        return;
    }
    dir = list(path);
    while ((name = next_name(dir))) {
        snprintf(below, sizeof below, "%s/%s", path, name);
        tree_remove(below);
    }
    closedir(dir);
    must(rmdir(path) == 0, path);
}

/* ---- the shadow: INODE.bytes of a file, INODE.names of a folder ---- */

static void
in_shadow(char ret[static PATH_MAX], ino_t inode, const char *what)
{
    snprintf(ret, PATH_MAX, "%s/%llu.%s", shadow_dir, (unsigned long long)inode, what);
}

/* A line for each name: inode, mode, name. */
static void
note_names(int fd, ino_t inode)
{
    char path[PATH_MAX], self[32];
    const char *name;
    FILE *out;
    DIR *dir;

    in_shadow(path, inode, "names");
    snprintf(self, sizeof self, "/proc/self/fd/%d", fd);
    out = fopen(path, "we");
    must(out != NULL, path);
    dir = list(self);
    while ((name = next_name(dir))) {
        struct stat st;

        if (fstatat(fd, name, &st, AT_SYMLINK_NOFOLLOW) == 0)
            fprintf(out, "%llu %o %s\n", (unsigned long long)st.st_ino, (unsigned)st.st_mode, name);
    }
    closedir(dir);
    must(fclose(out) == 0, path);
}

static void
note_bytes(int fd, ino_t inode)
{
    char path[PATH_MAX], self[32];

    in_shadow(path, inode, "bytes");
    snprintf(self, sizeof self, "/proc/self/fd/%d", fd); /* it may be open for writing only */
    copy_file(self, path, 0600);
}

void
durable_synced(int fd)
{
    int saved = errno;
    struct stat st;

    if (!shadow_dir[0] || fstat(fd, &st) < 0)
        return;
    if (S_ISDIR(st.st_mode))
        note_names(fd, st.st_ino);
    else
        note_bytes(fd, st.st_ino);
    errno = saved;
}

/* The inode may have been another file's. */
void
durable_made(int dir, const char *path)
{
    int saved = errno;
    char old[PATH_MAX];
    struct stat st;

    if (!shadow_dir[0] || fstatat(dir, path, &st, AT_SYMLINK_NOFOLLOW) < 0)
        return;
    in_shadow(old, st.st_ino, S_ISDIR(st.st_mode) ? "names" : "bytes");
    (void)unlink(old);
    errno = saved;
}

static void
note_all(const char *path)
{
    int fd = open(path, O_RDONLY | O_CLOEXEC);
    char below[PATH_MAX];
    const char *name;
    struct stat st;
    DIR *dir;

    must(fd >= 0 && fstat(fd, &st) == 0, path);
    durable_synced(fd);
    close(fd);
    if (!S_ISDIR(st.st_mode))
        return;
    dir = list(path);
    while ((name = next_name(dir))) {
        snprintf(below, sizeof below, "%s/%s", path, name);
        note_all(below);
    }
    closedir(dir);
}

void
durable_begin(const char *folder, const char *shadow)
{
    tree_remove(shadow);
    must(mkdir(shadow, 0700) == 0, shadow);
    snprintf(shadow_dir, sizeof shadow_dir, "%s", shadow);
    note_all(folder);
}

void
durable_end(void)
{
    shadow_dir[0] = '\0';
}

/* ---- the power is back ---- */

static void
bring_file(const char *path, ino_t inode, mode_t mode)
{
    char bytes[PATH_MAX];
    int fd;

    in_shadow(bytes, inode, "bytes");
    if (access(bytes, F_OK) == 0) {
        copy_file(bytes, path, mode);
        return;
    }
    fd = open(path, O_WRONLY | O_CREAT | O_TRUNC | O_CLOEXEC, mode & 0777);
    must(fd >= 0, path);
    close(fd);
}

static void
bring_folder(const char *path, ino_t inode)
{
    char names[PATH_MAX], line[ENTRY_MAX], below[PATH_MAX + ENTRY_MAX], name[ENTRY_MAX];
    unsigned long long at;
    unsigned mode;
    FILE *in;

    in_shadow(names, inode, "names");
    in = fopen(names, "re");
    while (in && fgets(line, sizeof line, in)) {
        must(sscanf(line, "%llu %o %399[^\n]", &at, &mode, name) == 3, names);
        snprintf(below, sizeof below, "%s/%s", path, name);
        if (!S_ISDIR(mode)) {
            bring_file(below, (ino_t)at, mode);
            continue;
        }
        must(mkdir(below, mode & 0777) == 0, below);
        bring_folder(below, (ino_t)at);
    }
    if (in)
        fclose(in);
}

static void
lose_bytes(const char *path)
{
    char below[PATH_MAX];
    const char *name;
    struct stat st;
    DIR *dir = list(path);

    while ((name = next_name(dir))) {
        snprintf(below, sizeof below, "%s/%s", path, name);
        must(lstat(below, &st) == 0, below);
        if (S_ISDIR(st.st_mode))
            lose_bytes(below);
        else
            bring_file(below, st.st_ino, st.st_mode);
    }
    closedir(dir);
}

void
durable_lose(const char *folder, const char *shadow, bool names_kept)
{
    char below[PATH_MAX];
    const char *name;
    struct stat st;
    DIR *dir;

    snprintf(shadow_dir, sizeof shadow_dir, "%s", shadow);
    if (names_kept) {
        lose_bytes(folder);
    } else {
        must(stat(folder, &st) == 0, folder);
        dir = list(folder);
        while ((name = next_name(dir))) {
            snprintf(below, sizeof below, "%s/%s", folder, name);
            tree_remove(below);
        }
        closedir(dir);
        bring_folder(folder, st.st_ino);
    }
    durable_end();
}
