#include "config.h"

#include "plugin/priv/priv_vtpm.h"

#include <errno.h>
#include <fcntl.h>
#include <limits.h>
#include <linux/magic.h>
#include <stdio.h>
#include <string.h>
#include <sys/stat.h>
#include <sys/vfs.h>
#include <unistd.h>

#include "lib/common/fdio.h"
#include "lib/wire/priv_msg.h"

#define STATE_NAME "tpm2-00.permall"

/* swtpm, src/swtpm/swtpm_nvstore.c: version, min_version, header size, flags, whole length; big-endian. */
enum { HEADER_LEN = 10, VERSION_MAX = 2, SYNC_TRIES = 10 };

static bool
is_state(const uint8_t *b, size_t len)
{
    uint32_t whole;

    if (len < HEADER_LEN)
        return false;
    whole = (uint32_t)b[6] << 24 | (uint32_t)b[7] << 16 | (uint32_t)b[8] << 8 | b[9];
    return b[0] >= 1 && b[0] <= VERSION_MAX && b[1] >= 1 && b[1] <= b[0] && b[2] == 0 &&
           b[3] == HEADER_LEN && b[4] == 0 && b[5] == 0 && whole == len;
}

static int
read_state(int fd, struct buf *into, struct error *err)
{
    struct stat st;
    struct statfs fs;
    uint8_t *room;
    size_t got = 0;

    /* A FUSE file's reader waits for the file's owner. */
    if (fstat(fd, &st) < 0 || fstatfs(fd, &fs) < 0)
        return error_sys(err, errno, "TPM state");
    if (!S_ISREG(st.st_mode) || fs.f_type == FUSE_SUPER_MAGIC)
        return error_set(err, ERROR_INPUT, "TPM state: not a regular file");
    if (st.st_size < HEADER_LEN || st.st_size > PRIV_VTPM_MAX)
        return error_set(err, ERROR_INPUT, "TPM state: %lld bytes", (long long)st.st_size);
    room = buf_room(into, (size_t)st.st_size);
    if (!room)
        return error_set(err, ERROR_SYSTEM, "out of memory");
    while (got < (size_t)st.st_size) {
        ssize_t n = pread(fd, room + got, (size_t)st.st_size - got, (off_t)got);

        if (n < 0 && errno == EINTR)
            continue;
        if (n < 0)
            return error_sys(err, errno, "TPM state");
        if (n == 0)
            return error_set(err, ERROR_INPUT, "TPM state: it changed while it was read");
        got += (size_t)n;
    }
    buf_grew(into, got);
    if (!is_state(into->data, into->len))
        return error_set(err, ERROR_INPUT, "TPM state: not one that swtpm made, or encrypted");
    return 0;
}

/* A state being built aside; abandoned unless it was put in place. */
struct aside {
    int parent, outer, inner; /* swtpm_dir, NAME, NAME/tpm2 */
    char name[VM_UUID_TEXT + 16];
};

static void
name_aside(struct aside *a, const char *uuid)
{
    snprintf(a->name, sizeof a->name, "%s.virtid-new", uuid);
}

static void
remove_aside(const struct aside *a)
{
    int outer = openat(a->parent, a->name, O_PATH | O_DIRECTORY | O_NOFOLLOW | O_CLOEXEC);
    int inner = outer < 0 ? -1
                          : openat(outer, "tpm2", O_PATH | O_DIRECTORY | O_NOFOLLOW | O_CLOEXEC);

    if (inner >= 0)
        (void)unlinkat(inner, STATE_NAME, 0);
    fd_close(inner);
    if (outer >= 0)
        (void)unlinkat(outer, "tpm2", AT_REMOVEDIR);
    fd_close(outer);
    (void)unlinkat(a->parent, a->name, AT_REMOVEDIR);
}

static void
aside_abandon(struct aside *a)
{
    fd_close(a->inner);
    fd_close(a->outer);
    if (a->name[0])
        remove_aside(a);
    fd_close(a->parent);
}
#define aside_abandon_at aside_abandon

static int
make_folder(int parent, const char *name, mode_t mode, int *ret_fd, struct error *err)
{
    int fd;

    if (mkdirat(parent, name, 0700) < 0)
        return error_sys(err, errno, "folder %s", name);
    fd = openat(parent, name, O_RDONLY | O_DIRECTORY | O_NOFOLLOW | O_CLOEXEC);
    if (fd < 0 || fchmod(fd, mode) < 0) {
        int saved = errno;

        fd_close(fd);
        return error_sys(err, saved, "folder %s", name);
    }
    *ret_fd = fd;
    return 0;
}

static int
write_state(const struct priv_settings *s, const struct aside *a, const struct buf *state,
            struct error *err)
{
    CLEANUP(fd_close)
    int fd = openat(a->inner, STATE_NAME, O_WRONLY | O_CREAT | O_EXCL | O_NOFOLLOW | O_CLOEXEC, 0600);

    if (fd < 0)
        return error_sys(err, errno, "TPM state");
    if (fd_write_all(fd, state->data, state->len, err) < 0)
        return -1;
    if (geteuid() == 0 && (fchown(fd, s->swtpm_uid, s->swtpm_gid) < 0 ||
                           fchown(a->inner, s->swtpm_uid, s->swtpm_gid) < 0))
        return error_sys(err, errno, "TPM state: owner");
    if (fsync(fd) < 0 || fsync(a->inner) < 0 || fsync(a->outer) < 0)
        return error_sys(err, errno, "TPM state: making it durable");
    return 0;
}

/* Modes as libvirt makes them: <uuid> may be passed through, tpm2 is swtpm's alone. */
static int
build(const struct priv_settings *s, struct aside *a, const struct buf *state, struct error *err)
{
    remove_aside(a); /* of a crash */
    if (make_folder(a->parent, a->name, 0711, &a->outer, err) < 0 ||
        make_folder(a->outer, "tpm2", 0700, &a->inner, err) < 0)
        return -1;
    return write_state(s, a, state, err);
}

/* <uuid> is there already, empty or with another version's state: only tpm2 moves in. */
static int
move_inner(struct aside *a, const char *uuid, bool *ret_placed, struct error *err)
{
    CLEANUP(fd_close)
    int place = openat(a->parent, uuid, O_RDONLY | O_DIRECTORY | O_NOFOLLOW | O_CLOEXEC);

    if (place < 0)
        return error_sys(err, errno, "%s", uuid);
    if (renameat2(a->outer, "tpm2", place, "tpm2", RENAME_NOREPLACE) == 0) {
        *ret_placed = true;
        return fsync(place) < 0 ? error_sys(err, errno, "making it durable") : 0;
    }
    *ret_placed = false;
    return errno == EEXIST ? 0 : error_sys(err, errno, "%s/tpm2", uuid);
}

static int
move(struct aside *a, const char *uuid, bool *ret_placed, struct error *err)
{
    if (renameat2(a->parent, a->name, a->parent, uuid, RENAME_NOREPLACE) == 0) {
        *ret_placed = true;
        a->name[0] = '\0';
    } else if (errno != EEXIST) {
        return error_sys(err, errno, "%s", uuid);
    } else if (move_inner(a, uuid, ret_placed, err) < 0) {
        return -1;
    }
    if (fsync(a->parent) < 0)
        return error_sys(err, errno, "making it durable");
    return 0;
}

static int
open_parent(const struct priv_settings *s, int *ret_fd, struct error *err)
{
    *ret_fd = open(s->swtpm_dir, O_RDONLY | O_DIRECTORY | O_CLOEXEC);
    if (*ret_fd < 0)
        return error_sys(err, errno, "%s", s->swtpm_dir);
    return 0;
}

static int
find(int parent, const char *uuid, bool *ret_exists, struct error *err)
{
    char path[VM_UUID_TEXT + 8];
    struct stat st;

    snprintf(path, sizeof path, "%s/tpm2", uuid);
    *ret_exists = fstatat(parent, path, &st, AT_SYMLINK_NOFOLLOW) == 0;
    if (!*ret_exists && errno != ENOENT)
        return error_sys(err, errno, "%s", path);
    return 0;
}

/* It may be of a run that was cut behind its rename: then it is not durable yet, and a folder is
 * left aside. */
static int
find_again(struct aside *a, const char *uuid, struct error *err)
{
    CLEANUP(fd_close)
    int place = openat(a->parent, uuid, O_RDONLY | O_DIRECTORY | O_NOFOLLOW | O_CLOEXEC);

    if (place < 0 || fsync(place) < 0 || fsync(a->parent) < 0)
        return error_sys(err, errno, "%s: making it durable", uuid);
    name_aside(a, uuid); /* which is removed with it */
    return 0;
}

int
priv_vtpm_exists(const struct priv_settings *s, const struct vm_uuid *uuid, bool *ret_exists,
                 struct error *err)
{
    CLEANUP(aside_abandon) struct aside a = { -1, -1, -1, "" };
    char text[VM_UUID_TEXT];

    *ret_exists = false;
    vm_uuid_print(uuid, text);
    if (access(s->swtpm_dir, F_OK) < 0 && errno == ENOENT)
        return 0; /* libvirt makes it with its first vTPM */
    if (open_parent(s, &a.parent, err) < 0 || find(a.parent, text, ret_exists, err) < 0)
        return -1;
    return *ret_exists ? find_again(&a, text, err) : 0;
}

/* As libvirt makes it: others may pass through to their own.  Its name must last as long as what
 * it holds. */
static int
make_parent(const struct priv_settings *s, struct error *err)
{
    CLEANUP(fd_close) int above = -1;
    char path[PATH_MAX];

    if (mkdir(s->swtpm_dir, 0711) < 0)
        return errno == EEXIST ? 0 : error_sys(err, errno, "%s", s->swtpm_dir);
    snprintf(path, sizeof path, "%s/..", s->swtpm_dir);
    above = open(path, O_RDONLY | O_DIRECTORY | O_CLOEXEC);
    if (chmod(s->swtpm_dir, 0711) < 0 || above < 0 || fsync(above) < 0)
        return error_sys(err, errno, "%s", s->swtpm_dir);
    return 0;
}

int
priv_vtpm_place(const struct priv_settings *s, const struct vm_uuid *uuid, int state_fd,
                bool *ret_placed, struct error *err)
{
    CLEANUP(aside_abandon) struct aside a = { -1, -1, -1, "" };
    CLEANUP(buf_clear) struct buf state = BUF(PRIV_VTPM_MAX);
    char text[VM_UUID_TEXT];
    bool exists;

    vm_uuid_print(uuid, text);
    if (read_state(state_fd, &state, err) < 0 || make_parent(s, err) < 0 ||
        open_parent(s, &a.parent, err) < 0 || find(a.parent, text, &exists, err) < 0)
        return -1;
    if (exists) {
        *ret_placed = false;
        return find_again(&a, text, err);
    }
    name_aside(&a, text);
    if (build(s, &a, &state, err) < 0)
        return -1;
    return move(&a, text, ret_placed, err);
}

/* A file of swtpm's and nobody else's: a link or a pipe would have us open, or wait for, something else. */
static int
open_state(int inner, int *ret_fd, struct stat *ret_st, struct error *err)
{
    struct statfs fs;

    *ret_fd = openat(inner, STATE_NAME, O_RDONLY | O_NOFOLLOW | O_NONBLOCK | O_CLOEXEC);
    if (*ret_fd < 0)
        return errno == ENOENT ? error_set(err, ERROR_MISSING, "there is no TPM state")
                               : error_sys(err, errno, "TPM state");
    if (fstat(*ret_fd, ret_st) < 0 || fstatfs(*ret_fd, &fs) < 0)
        return error_sys(err, errno, "TPM state");
    if (!S_ISREG(ret_st->st_mode) || fs.f_type == FUSE_SUPER_MAGIC)
        return error_set(err, ERROR_INPUT, "TPM state: not a regular file");
    return 0;
}

/* *ret_same: the name still leads to what was made durable, with a name that is durable as well. */
static int
sync_once(int inner, bool *ret_same, struct error *err)
{
    CLEANUP(fd_close) int fd = -1;
    struct stat before, after;

    if (open_state(inner, &fd, &before, err) < 0)
        return -1;
    if (fsync(fd) < 0 || fsync(inner) < 0 || fstatat(inner, STATE_NAME, &after, AT_SYMLINK_NOFOLLOW) < 0)
        return error_sys(err, errno, "TPM state: making it durable");
    *ret_same = before.st_dev == after.st_dev && before.st_ino == after.st_ino;
    return 0;
}

int
priv_vtpm_sync(const struct priv_settings *s, const struct vm_uuid *uuid, struct error *err)
{
    CLEANUP(fd_close) int parent = -1;
    CLEANUP(fd_close) int outer = -1;
    CLEANUP(fd_close) int inner = -1;
    char text[VM_UUID_TEXT];
    bool same = false;

    vm_uuid_print(uuid, text);
    if (open_parent(s, &parent, err) < 0)
        return -1;
    outer = openat(parent, text, O_RDONLY | O_DIRECTORY | O_NOFOLLOW | O_CLOEXEC);
    inner = outer < 0 ? -1 : openat(outer, "tpm2", O_RDONLY | O_DIRECTORY | O_NOFOLLOW | O_CLOEXEC);
    if (inner < 0)
        return errno == ENOENT ? error_set(err, ERROR_MISSING, "%s: there is no TPM state", text)
                               : error_sys(err, errno, "%s", text);
    for (int i = 0; i < SYNC_TRIES && !same; i++) {
        if (sync_once(inner, &same, err) < 0)
            return error_wrap(err, "%s", text);
    }
    return same ? 0 : error_set(err, ERROR_BUSY, "%s: the TPM state changes under our hands", text);
}
