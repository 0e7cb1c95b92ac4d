#include "config.h"

#include "guestagent/slots.h"

#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <string.h>
#include <sys/file.h>
#include <sys/stat.h>
#include <unistd.h>

#include "lib/common/buf.h"
#include "lib/common/fdio.h"
#include "lib/common/log.h"
#include "lib/crypto/hash.h"
#include "lib/crypto/key.h"
#include "lib/crypto/random.h"
#include "lib/wire/fields.h"

enum { WIPE_MAX = 1 << 20 }; /* no file of ours is that long */

struct slots {
    int dir;
    int lock;
};

static const char *const NAMES[] = { [SLOT_CUR] = "cur", [SLOT_NEW] = "new" };
static const char *const ASIDE[] = { [SLOT_CUR] = "cur.other", [SLOT_NEW] = "new.other" };

static bool
exists(const struct slots *s, const char *name)
{
    return faccessat(s->dir, name, F_OK, AT_SYMLINK_NOFOLLOW) == 0;
}

static int
sync_folder(const struct slots *s, struct error *err)
{
    if (fsync(s->dir) < 0)
        return error_sys(err, errno, "fsync the slots' folder");
    return 0;
}

/* Absent is fine. */
static int
sync_file(const struct slots *s, const char *name, struct error *err)
{
    CLEANUP(fd_close) int fd = openat(s->dir, name, O_RDONLY | O_CLOEXEC | O_NOFOLLOW);

    if (fd < 0 && errno == ENOENT)
        return 0;
    if (fd < 0 || fsync(fd) < 0)
        return error_sys(err, errno, "fsync slot %s", name);
    return 0;
}

static int
remove_slot(const struct slots *s, const char *name, struct error *err)
{
    if (unlinkat(s->dir, name, 0) < 0 && errno != ENOENT)
        return error_sys(err, errno, "remove slot %s", name);
    return 0;
}

static int
rename_slot(const struct slots *s, const char *from, const char *to, struct error *err)
{
    if (renameat(s->dir, from, s->dir, to) < 0)
        return error_sys(err, errno, "rename slot %s to %s", from, to);
    return sync_folder(s, err);
}

/* Files that file_replace_at left behind at a crash. */
static void
remove_leftovers(const struct slots *s)
{
    int copy = openat(s->dir, ".", O_RDONLY | O_DIRECTORY | O_CLOEXEC);
    DIR *dir = copy < 0 ? NULL : fdopendir(copy);
    const struct dirent *entry;

    if (!dir) {
        fd_close(copy);
        return;
    }
    while ((entry = readdir(dir))) {
        if (entry->d_name[0] == '.' && strcmp(entry->d_name, ".") != 0 &&
            strcmp(entry->d_name, "..") != 0 && strcmp(entry->d_name, ".lock") != 0)
            (void)unlinkat(s->dir, entry->d_name, 0);
    }
    closedir(dir);
}

static int
sync_path(const char *folder, struct error *err)
{
    CLEANUP(fd_close) int fd = open(folder, O_RDONLY | O_DIRECTORY | O_CLOEXEC);

    if (fd < 0 || fsync(fd) < 0)
        return error_sys(err, errno, "fsync %s", folder);
    return 0;
}

static int
open_folder(const char *state_dir, struct slots *s, struct error *err)
{
    char path[512];
    struct stat st;

    if ((size_t)snprintf(path, sizeof path, "%s/slots", state_dir) >= sizeof path)
        return error_set(err, ERROR_INPUT, "state_dir is too long");
    if (dir_make(state_dir, 0755, err) < 0 || dir_make(path, 0700, err) < 0)
        return -1;
    /* A folder that may be new: its name must last as long as what it holds. */
    if (sync_path(state_dir, err) < 0)
        return -1;
    s->dir = open(path, O_RDONLY | O_DIRECTORY | O_CLOEXEC | O_NOFOLLOW);
    if (s->dir < 0 || fstat(s->dir, &st) < 0)
        return error_sys(err, errno, "open %s", path);
    if (st.st_uid != geteuid() || (st.st_mode & 0077))
        return error_set(err, ERROR_DENIED,
                         "%s must belong to this user with mode 0700 (chmod 700 %s)", path,
                         path);
    s->lock = openat(s->dir, ".lock", O_RDWR | O_CREAT | O_CLOEXEC | O_NOFOLLOW, 0600);
    if (s->lock < 0)
        return error_sys(err, errno, "lock of %s", path);
    if (flock(s->lock, LOCK_EX | LOCK_NB) < 0) {
        if (errno == EWOULDBLOCK)
            return error_set(err, ERROR_BUSY, "another virtid-agent uses %s", path);
        return error_sys(err, errno, "lock of %s", path);
    }
    return 0;
}

static int
read_named(const struct slots *s, const char *name, struct secret **ret, struct error *err)
{
    CLEANUP(fd_close) int fd =
        openat(s->dir, name, O_RDONLY | O_CLOEXEC | O_NOFOLLOW | O_NONBLOCK);
    CLEANUP(secret_free) struct secret *bytes = NULL;
    struct slot slot;
    struct stat st;
    int outcome;

    if (fd < 0 && errno == ENOENT)
        return error_set(err, ERROR_MISSING, "there is no slot %s", name);
    if (fd < 0 || fstat(fd, &st) < 0)
        return error_sys(err, errno, "open slot %s", name);
    if (!S_ISREG(st.st_mode) || st.st_size < 1 || st.st_size > SLOT_MAX)
        return error_set(err, ERROR_INPUT, "slot %s is no regular file of 1 to %d bytes", name,
                         SLOT_MAX);
    if (secret_new((size_t)st.st_size, &bytes, err) < 0 ||
        fd_read_all(fd, bytes->bytes, bytes->len, err) < 0)
        return -1;
    outcome = slot_decode(bytes->bytes, bytes->len, &slot, err);
    explicit_bzero(&slot, sizeof slot);
    if (outcome < 0)
        return error_wrap(err, "slot %s", name);
    *ret = STEAL(bytes);
    return 0;
}

/* A half-written or damaged one is put aside: the secret that is here still works. */
static int
check_inject(const struct slots *s, bool *ret_good, struct error *err)
{
    CLEANUP(secret_free) struct secret *bytes = NULL;
    struct error failure = { 0 };

    *ret_good = read_named(s, "inject", &bytes, &failure) == 0;
    if (*ret_good)
        return 0;
    if (failure.code != ERROR_INPUT) {
        *err = failure;
        return -1;
    }
    log_error(&failure, "event=inject-damaged set aside as inject.bad: going on with the secret here");
    return rename_slot(s, "inject", "inject.bad", err);
}

/* G0a.  `inject` wins until it is renamed, so a crash in between repeats this. */
static int
take_inject(const struct slots *s, struct error *err)
{
    bool good;

    if (!exists(s, "inject"))
        return 0;
    if (check_inject(s, &good, err) < 0)
        return -1;
    if (!good)
        return 0;
    if (sync_file(s, "inject", err) < 0 || remove_slot(s, NAMES[SLOT_NEW], err) < 0 ||
        sync_folder(s, err) < 0)
        return -1;
    return rename_slot(s, "inject", NAMES[SLOT_CUR], err);
}

int
slots_sync(struct slots *s, struct error *err)
{
    if (sync_file(s, NAMES[SLOT_CUR], err) < 0 || sync_file(s, NAMES[SLOT_NEW], err) < 0)
        return -1;
    return sync_folder(s, err);
}

int
slots_open(const char *state_dir, struct slots **ret, struct error *err)
{
    CLEANUP(slots_close) struct slots *s = calloc(1, sizeof *s);

    if (!s)
        return error_sys(err, ENOMEM, "slots");
    s->dir = s->lock = -1;
    if (open_folder(state_dir, s, err) < 0)
        return -1;
    remove_leftovers(s);
    if (take_inject(s, err) < 0 || slots_sync(s, err) < 0)
        return -1;
    *ret = STEAL(s);
    return 0;
}

void
slots_close(struct slots *s)
{
    if (!s)
        return;
    fd_close(s->dir);
    fd_close(s->lock);
    free(s);
}

int
slots_read(struct slots *s, enum slot_name which, struct secret **ret, struct error *err)
{
    return read_named(s, NAMES[which], ret, err);
}

enum owner { OWNER_NONE /* absent or damaged */, OWNER_US, OWNER_OTHER };

/* Whose slot is it?  One that can not be read just now is somebody's: an error. */
static int
find_owner(const struct slots *s, const char *name, const struct vm_uuid *us, enum owner *ret, struct error *err)
{
    CLEANUP(secret_free) struct secret *bytes = NULL;
    struct error why = { 0 };

    if (read_named(s, name, &bytes, &why) == 0) {
        *ret = memcmp(us->bytes, bytes->bytes + 1, sizeof us->bytes) == 0 ? OWNER_US : OWNER_OTHER;
    } else if (why.code == ERROR_MISSING || why.code == ERROR_INPUT) {
        *ret = OWNER_NONE;
    } else {
        *err = why;
        return -1;
    }
    return 0;
}

/* What was put aside before is older and stays: the one here was never accepted. */
static int
set_aside(const struct slots *s, enum slot_name which, struct error *err)
{
    if (!exists(s, ASIDE[which]))
        return rename_slot(s, NAMES[which], ASIDE[which], err);
    if (remove_slot(s, NAMES[which], err) < 0)
        return -1;
    return sync_folder(s, err);
}

int
slots_claim(struct slots *s, const struct vm_uuid *uuid, bool *ret_foreign, struct error *err)
{
    bool foreign = false;

    for (int i = SLOT_CUR; i <= SLOT_NEW; i++) {
        enum owner here, aside;

        if (find_owner(s, NAMES[i], uuid, &here, err) < 0 || find_owner(s, ASIDE[i], uuid, &aside, err) < 0)
            return -1;
        foreign = foreign || here == OWNER_OTHER;
        if (here == OWNER_OTHER && set_aside(s, (enum slot_name)i, err) < 0)
            return -1;
        if (aside == OWNER_US && !exists(s, NAMES[i]) && rename_slot(s, ASIDE[i], NAMES[i], err) < 0)
            return -1;
    }
    *ret_foreign = foreign;
    return 0;
}

/* Best effort against a look at the free blocks; the file system may have moved them already. */
static int
wipe(const struct slots *s, const char *name, struct error *err)
{
    static const uint8_t zero[SLOT_MAX];
    CLEANUP(fd_close) int fd = openat(s->dir, name, O_WRONLY | O_CLOEXEC | O_NOFOLLOW);

    if (fd < 0 && errno == ENOENT)
        return 0;
    if (fd >= 0 && (pwrite(fd, zero, sizeof zero, 0) < 0 || fsync(fd) < 0))
        return error_sys(err, errno, "wipe slot %s", name);
    return remove_slot(s, name, err);
}

int
slots_forget_others(struct slots *s, struct error *err)
{
    if (!exists(s, ASIDE[SLOT_CUR]) && !exists(s, ASIDE[SLOT_NEW]))
        return 0;
    if (wipe(s, ASIDE[SLOT_CUR], err) < 0 || wipe(s, ASIDE[SLOT_NEW], err) < 0)
        return -1;
    return sync_folder(s, err);
}

/* Whatever it is: what was set aside as damaged may be longer than a slot. */
static int
wipe_any(const struct slots *s, const char *name, struct error *err)
{
    struct stat st;

    if (fstatat(s->dir, name, &st, AT_SYMLINK_NOFOLLOW) < 0)
        return error_sys(err, errno, "slot %s", name);
    if (S_ISDIR(st.st_mode))
        return error_set(err, ERROR_DENIED, "there is a folder %s among the slots: remove it", name);
    if (S_ISREG(st.st_mode)) {
        static const uint8_t zero[SLOT_MAX];
        CLEANUP(fd_close) int fd = openat(s->dir, name, O_WRONLY | O_CLOEXEC | O_NOFOLLOW);

        if (fd < 0)
            return error_sys(err, errno, "wipe slot %s", name);
        for (off_t at = 0; at < st.st_size && at < WIPE_MAX; at += SLOT_MAX) {
            if (pwrite(fd, zero, sizeof zero, at) < 0)
                return error_sys(err, errno, "wipe slot %s", name);
        }
        if (fsync(fd) < 0)
            return error_sys(err, errno, "wipe slot %s", name);
    }
    return remove_slot(s, name, err);
}

static int
wipe_all(const struct slots *s, slots_removed removed, void *context, struct error *err)
{
    int copy = openat(s->dir, ".", O_RDONLY | O_DIRECTORY | O_CLOEXEC);
    DIR *dir = copy < 0 ? NULL : fdopendir(copy);
    const struct dirent *entry;
    int failed = 0;

    if (!dir) {
        failed = error_sys(err, errno, "list the slots");
        fd_close(copy);
        return failed;
    }
    while (failed == 0 && (entry = readdir(dir))) {
        if (strcmp(entry->d_name, ".") == 0 || strcmp(entry->d_name, "..") == 0 ||
            strcmp(entry->d_name, ".lock") == 0)
            continue;
        failed = wipe_any(s, entry->d_name, err);
        if (failed == 0)
            removed(context, entry->d_name);
    }
    closedir(dir);
    return failed < 0 ? -1 : sync_folder(s, err);
}

int
slots_seal(const char *state_dir, slots_removed removed, void *context, struct slots **ret,
           struct error *err)
{
    CLEANUP(slots_close) struct slots *s = NULL;
    char path[512];

    *ret = NULL;
    if ((size_t)snprintf(path, sizeof path, "%s/slots", state_dir) >= sizeof path)
        return error_set(err, ERROR_INPUT, "state_dir is too long");
    if (access(path, F_OK) < 0 && errno == ENOENT)
        return 0;
    s = calloc(1, sizeof *s);
    if (!s)
        return error_sys(err, ENOMEM, "slots");
    s->dir = s->lock = -1;
    if (open_folder(state_dir, s, err) < 0 || wipe_all(s, removed, context, err) < 0)
        return -1;
    *ret = STEAL(s);
    return 0;
}

/*
 * HKDF(random, F(label, session)).  A memory that is restored twice, or resumed in a copy, makes the same random
 * numbers again: what would be two runs had one next secret, and the older of them was not recognised.  The host
 * chooses another session for each greeting.
 */
static int
draw(uint64_t session, uint8_t ret[static SHA256_LEN], struct error *err)
{
    CLEANUP(buf_clear) struct buf info = BUF(64);
    uint8_t random[SHA256_LEN];
    int rc;

    fields_add_text(&info, "virtid-slot-1");
    fields_add_u64(&info, session);
    if (!buf_ok(&info))
        return error_sys(err, ENOMEM, "slot");
    rc = random_bytes(random, sizeof random, err);
    if (rc == 0)
        rc = hash_hkdf(random, sizeof random, info.data, info.len, ret, err);
    explicit_bzero(random, sizeof random);
    return rc;
}

static int
fill_unique(struct slot *slot, uint64_t session, struct error *err)
{
    for (size_t at = 0; at < SLOT_UNIQUE_LEN; at += SHA256_LEN) {
        if (draw(session, slot->body + at, err) < 0)
            return -1;
    }
    return 0;
}

/* A private key has to be a valid scalar; random bytes nearly always are, but "nearly" is not a rule. */
static int
fill_private(struct slot *slot, uint64_t session, struct error *err)
{
    CLEANUP(key_free) struct key *key = NULL;

    do {
        if (draw(session, slot->body, err) < 0)
            return -1;
    } while (key_from_private(slot->body, &key, err) < 0 && err->code == ERROR_INPUT);
    return key ? 0 : -1;
}

int
slots_make(struct slots *s, enum slot_name which, uint8_t kind, const struct vm_uuid *uuid,
           uint64_t session, struct error *err)
{
    CLEANUP(secret_free) struct secret *bytes = NULL;
    struct slot slot = { .kind = kind, .uuid = *uuid };
    int outcome;

    if (secret_new(SLOT_MAX, &bytes, err) < 0)
        return -1;
    outcome = kind == SLOT_UNIQUE ? fill_unique(&slot, session, err) : fill_private(&slot, session, err);
    if (outcome == 0)
        bytes->len = slot_encode(&slot, bytes->bytes);
    explicit_bzero(&slot, sizeof slot);
    if (outcome < 0)
        return -1;
    return file_replace_at(s->dir, NAMES[which], bytes->bytes, bytes->len, 0600, err);
}

int
slots_set_bad_aside(struct slots *s, struct error *err)
{
    return rename_slot(s, NAMES[SLOT_CUR], "cur.bad", err);
}

int
slots_resolve(struct slots *s, enum slot_name keep, struct error *err)
{
    if (keep == SLOT_NEW)
        return rename_slot(s, NAMES[SLOT_NEW], NAMES[SLOT_CUR], err);
    if (!exists(s, NAMES[SLOT_NEW]))
        return 0;
    if (remove_slot(s, NAMES[SLOT_NEW], err) < 0)
        return -1;
    return sync_folder(s, err);
}
