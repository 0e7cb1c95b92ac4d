#include "config.h"

#include "plugin/inject/place.h"

#include <errno.h>
#include <guestfs.h>
#include <stdbool.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>

#include "lib/common/buf.h"
#include "lib/common/cleanup.h"
#include "lib/wire/priv_msg.h"
#include "plugin/inject/guest_signs.h"
#include "plugin/inject/guestfs_error.h"

#define SLOT_FOLDER "/etc/virtid/slots"
#define SLOT_PATH SLOT_FOLDER "/inject"
#define TEMPORARY ".virtid-new"

enum {
    PIECE_MAX = 1 << 20, /* of one libguestfs message of at most 4 MiB */
    ROOM_SPARE = 1 << 20,
    INODES_SPARE = 64,
    FIELD_ROOM = 65536, /* one piece of a payload */
    LABEL_MAX = 511,
};

/* 0 and *ret_mode = 0: nothing is there. */
static int
look(guestfs_h *g, const char *path, mode_t *ret_mode, struct error *err)
{
    struct guestfs_statns *st = guestfs_lstatns(g, path);

    *ret_mode = 0;
    if (!st)
        return guestfs_last_errno(g) == ENOENT ? 0 : guestfs_failed(g, err, path);
    *ret_mode = (mode_t)st->st_mode;
    guestfs_free_statns(st);
    return 0;
}

static int
refuse_kind(struct error *err, const char *path, mode_t mode, const char *wanted)
{
    return error_problem(err, ERROR_DENIED, "image-unsafe", "%.120s is %s, not %s", path,
                         S_ISLNK(mode)   ? "a symbolic link"
                         : S_ISDIR(mode) ? "a folder"
                         : S_ISREG(mode) ? "a file"
                                         : "something special",
                         wanted);
}

/* Every folder above `path` that exists is a folder.  *ret_missing: at least one is not there. */
static int
check_way(guestfs_h *g, const char *path, bool *ret_missing, struct error *err)
{
    char part[PRIV_PATH_MAX + 1];
    mode_t mode;

    *ret_missing = false;
    for (const char *end = strchr(path + 1, '/'); end; end = strchr(end + 1, '/')) {
        snprintf(part, sizeof part, "%.*s", (int)(end - path), path);
        if (look(g, part, &mode, err) < 0)
            return -1;
        if (mode == 0) {
            *ret_missing = true;
            return 0;
        }
        if (!S_ISDIR(mode))
            return refuse_kind(err, part, mode, "a folder");
    }
    return 0;
}

static int
check_target(guestfs_h *g, const char *path, char kind, struct error *err)
{
    mode_t mode;

    if (look(g, path, &mode, err) < 0)
        return -1;
    if (mode == 0)
        return 0;
    if (kind == 'd')
        return S_ISDIR(mode) ? 0 : refuse_kind(err, path, mode, "a folder");
    if (kind == 'l')
        return S_ISLNK(mode) ? 0 : refuse_kind(err, path, mode, "a symbolic link");
    return S_ISREG(mode) ? 0 : refuse_kind(err, path, mode, "a file");
}

static int
check_path(guestfs_h *g, const char *path, char kind, struct error *err)
{
    bool missing;

    if (check_way(g, path, &missing, err) < 0)
        return -1;
    return missing ? 0 : check_target(g, path, kind, err);
}

static int
check_room(guestfs_h *g, size_t bytes, struct error *err)
{
    struct guestfs_statvfs *st = guestfs_statvfs(g, "/");
    uint64_t room;
    bool fits;

    if (!st)
        return guestfs_failed(g, err, "free space");
    /* What others than root may use: the reserve is the guest's own, and btrfs counts as free what it can not give. */
    room = st->bsize > 0 && st->bavail > 0 ? (uint64_t)st->bsize * (uint64_t)st->bavail : 0;
    /* btrfs makes inodes as it needs them, and counts none. */
    fits = room > bytes + bytes / 8 + ROOM_SPARE && (st->files == 0 || st->ffree > INODES_SPARE);
    guestfs_free_statvfs(st);
    if (!fits)
        return error_problem(err, ERROR_DENIED, "image-full", "%llu bytes are free, %zu are needed",
                             (unsigned long long)room, bytes);
    return 0;
}

/* Call `each` for every entry that goes into this guest, pieces of long files too. */
static int
walk(const struct place_files *files, guestfs_h *g,
     int (*each)(guestfs_h *, const struct payload_entry *, const char *, void *, struct error *),
     void *context, struct error *err)
{
    struct payload_entry e;
    bool end = false, wanted = true;

    for (size_t at = 0;;) {
        char path[PRIV_PATH_MAX + 1];

        if (payload_next(files->payload, files->payload_len, &at, &e, &end, err) < 0)
            return -1;
        if (end)
            return 0;
        if (e.kind == 's')
            wanted = guest_init_takes(files->init, &e);
        if (e.kind == 's' || !wanted)
            continue;
        snprintf(path, sizeof path, "%.*s", (int)e.path_len, e.path);
        if (each(g, &e, path, context, err) < 0)
            return -1;
    }
}

static int
check_entry(guestfs_h *g, const struct payload_entry *e, const char *path, void *context,
            struct error *err)
{
    (void)context;
    return e->kind == '+' ? 0 : check_path(g, path, e->kind, err);
}

/* Only a payload that has sections, as one with the agent, asks for an init system. */
static int
choose_init(guestfs_h *g, struct place_files *files, struct error *err)
{
    struct guest_signs signs;
    struct payload_entry e;
    bool end = false;

    for (size_t at = 0; !end;) {
        if (payload_next(files->payload, files->payload_len, &at, &e, &end, err) < 0)
            return -1;
        if (!end && e.kind == 's')
            return guest_signs_read(g, &signs, err) < 0 ? -1 : guest_init_choose(&signs, &files->init, err);
    }
    return 0;
}

int
place_check(guestfs_h *g, struct place_files *files, struct error *err)
{
    if (choose_init(g, files, err) < 0 || check_path(g, SLOT_PATH, 'f', err) < 0 ||
        walk(files, g, check_entry, NULL, err) < 0)
        return -1;
    return check_room(g, files->payload_len, err);
}

/*
 * SELinux: what is new gets the label of the folder it lies in, as in the running guest where no rule
 * says otherwise; where there are no labels, none.
 */
static int
label_as_folder(guestfs_h *g, const char *path, struct error *err)
{
    char folder[PRIV_PATH_MAX + 16], label[LABEL_MAX + 1];
    size_t len = 0;

    snprintf(folder, sizeof folder, "%.*s", (int)(strrchr(path, '/') - path), path);
    CLEANUP(mem_free)
    char *bytes = guestfs_lgetxattr(g, folder[0] ? folder : "/", "security.selinux", &len);

    if (!bytes) {
        int why = guestfs_last_errno(g);

        return why == ENODATA || why == EOPNOTSUPP ? 0 : guestfs_failed(g, err, folder);
    }
    if (len == 0 || len > LABEL_MAX || strnlen(bytes, len) < len - 1)
        return 0; /* no label of SELinux's: a relabelling in the guest is due anyway */
    memcpy(label, bytes, len);
    label[len] = '\0';
    if (guestfs_lsetxattr(g, "security.selinux", label, (int)len, path) < 0)
        return guestfs_failed(g, err, path);
    return 0;
}

static int
make_folder(guestfs_h *g, const char *path, uint32_t mode, bool set_mode, struct error *err)
{
    mode_t there;

    if (look(g, path, &there, err) < 0)
        return -1;
    if (there != 0 && !S_ISDIR(there))
        return refuse_kind(err, path, there, "a folder");
    if (there == 0 && guestfs_mkdir_mode(g, path, (int)mode) < 0)
        return guestfs_failed(g, err, path);
    if (there == 0 && label_as_folder(g, path, err) < 0)
        return -1;
    if ((there == 0 || set_mode) &&
        (guestfs_chown(g, 0, 0, path) < 0 || guestfs_chmod(g, (int)mode, path) < 0))
        return guestfs_failed(g, err, path);
    return 0;
}

/* The folders above `path`, made 0755 where they are missing. */
static int
make_way(guestfs_h *g, const char *path, struct error *err)
{
    char part[PRIV_PATH_MAX + 1];

    for (const char *end = strchr(path + 1, '/'); end; end = strchr(end + 1, '/')) {
        snprintf(part, sizeof part, "%.*s", (int)(end - path), path);
        if (make_folder(g, part, 0755, false, err) < 0)
            return -1;
    }
    return 0;
}

/* The name a new file has until it is whole: in the folder where it belongs. */
static int
temporary_name(const char *path, char *ret, size_t size, struct error *err)
{
    int folder = (int)(strrchr(path, '/') - path);

    if (snprintf(ret, size, "%.*s/" TEMPORARY, folder, path) >= (int)size)
        return error_set(err, ERROR_INPUT, "payload: path is too long");
    return 0;
}

static int
clear_temporary(guestfs_h *g, const char *temporary, struct error *err)
{
    mode_t mode;

    if (look(g, temporary, &mode, err) < 0)
        return -1;
    if (S_ISDIR(mode))
        return refuse_kind(err, temporary, mode, "a file");
    if (mode != 0 && guestfs_rm_f(g, temporary) < 0)
        return guestfs_failed(g, err, temporary);
    return 0;
}

/* A file being written: its pieces are gathered, the last one ends it. */
struct writing {
    char path[PRIV_PATH_MAX + 1], temporary[PRIV_PATH_MAX + 16];
    uint32_t mode;
    bool open;
    struct buf gathered;
};

static int
flush_gathered(guestfs_h *g, struct writing *w, struct error *err)
{
    if (w->gathered.len > 0 &&
        guestfs_write_append(g, w->temporary, (const char *)w->gathered.data, w->gathered.len) < 0)
        return guestfs_failed(g, err, w->path);
    w->gathered.len = 0;
    return 0;
}

static int
add_piece(guestfs_h *g, struct writing *w, const void *bytes, size_t len, struct error *err)
{
    if (w->gathered.len + len > PIECE_MAX && flush_gathered(g, w, err) < 0)
        return -1;
    buf_add(&w->gathered, bytes, len);
    return buf_ok(&w->gathered) ? 0 : error_set(err, ERROR_SYSTEM, "out of memory");
}

static int
begin_file(guestfs_h *g, struct writing *w, const char *path, uint32_t mode, struct error *err)
{
    snprintf(w->path, sizeof w->path, "%s", path);
    w->mode = mode;
    w->open = true;
    if (make_way(g, path, err) < 0 || check_target(g, path, 'f', err) < 0 ||
        temporary_name(path, w->temporary, sizeof w->temporary, err) < 0 ||
        clear_temporary(g, w->temporary, err) < 0)
        return -1;
    if (guestfs_write(g, w->temporary, "", 0) < 0)
        return guestfs_failed(g, err, path);
    return 0;
}

static int
end_file(guestfs_h *g, struct writing *w, struct error *err)
{
    if (!w->open)
        return 0;
    if (flush_gathered(g, w, err) < 0 || label_as_folder(g, w->temporary, err) < 0)
        return -1;
    if (guestfs_chown(g, 0, 0, w->temporary) < 0 ||
        guestfs_chmod(g, (int)w->mode, w->temporary) < 0 ||
        guestfs_rename(g, w->temporary, w->path) < 0)
        return guestfs_failed(g, err, w->path);
    w->open = false;
    return 0;
}

static int
put_link(guestfs_h *g, const struct payload_entry *e, const char *path, struct error *err)
{
    char temporary[PRIV_PATH_MAX + 16], target[PRIV_PATH_MAX + 1];

    snprintf(target, sizeof target, "%.*s", (int)e->len, (const char *)e->content);
    if (make_way(g, path, err) < 0 || check_target(g, path, 'l', err) < 0 ||
        temporary_name(path, temporary, sizeof temporary, err) < 0 ||
        clear_temporary(g, temporary, err) < 0)
        return -1;
    if (guestfs_ln_s(g, target, temporary) < 0)
        return guestfs_failed(g, err, path);
    if (label_as_folder(g, temporary, err) < 0)
        return -1;
    return guestfs_rename(g, temporary, path) < 0 ? guestfs_failed(g, err, path) : 0;
}

static int
write_entry(guestfs_h *g, const struct payload_entry *e, const char *path, void *context,
            struct error *err)
{
    struct writing *w = context;

    if (e->kind == '+') {
        if (!w->open || strcmp(w->path, path) != 0)
            return error_set(err, ERROR_INPUT, "payload: a continuation of nothing");
        return add_piece(g, w, e->content, e->len, err);
    }
    if (end_file(g, w, err) < 0)
        return -1;
    if (e->kind == 'd')
        return make_way(g, path, err) < 0 ? -1 : make_folder(g, path, e->mode, true, err);
    if (e->kind == 'l')
        return put_link(g, e, path, err);
    if (begin_file(g, w, path, e->mode, err) < 0)
        return -1;
    return add_piece(g, w, e->content, e->len, err);
}

static void
writing_clear(struct writing *w)
{
    buf_clear(&w->gathered);
    free(w);
}

static void
writing_clear_at(struct writing **w)
{
    if (*w)
        writing_clear(*w);
}

/* Last, so that a slot in the guest means that all the rest is there too. */
static int
write_slot(guestfs_h *g, struct writing *w, const struct place_files *files, struct error *err)
{
    if (guestfs_sync(g) < 0)
        return guestfs_failed(g, err, "sync");
    if (make_way(g, SLOT_FOLDER, err) < 0 || make_folder(g, SLOT_FOLDER, 0700, true, err) < 0 ||
        begin_file(g, w, SLOT_PATH, 0600, err) < 0 ||
        add_piece(g, w, files->slot, files->slot_len, err) < 0 || end_file(g, w, err) < 0)
        return -1;
    if (guestfs_sync(g) < 0)
        return guestfs_failed(g, err, "sync");
    return 0;
}

/* What could not be finished goes, so that its room is the guest's again. */
static void
drop_unfinished(guestfs_h *g, const struct writing *w)
{
    if (w->open)
        (void)guestfs_rm_f(g, w->temporary);
}

int
place_write(guestfs_h *g, const struct place_files *files, struct error *err)
{
    CLEANUP(writing_clear) struct writing *w = calloc(1, sizeof *w);

    if (!w)
        return error_set(err, ERROR_SYSTEM, "out of memory");
    w->gathered = BUF(PIECE_MAX + FIELD_ROOM);
    if (guestfs_umask(g, 077) < 0)
        return guestfs_failed(g, err, "umask");
    if (walk(files, g, write_entry, w, err) == 0 && end_file(g, w, err) == 0 && write_slot(g, w, files, err) == 0)
        return 0;
    drop_unfinished(g, w);
    return -1;
}
