#include "config.h"

#include "plugin/inject/root.h"

#include <ctype.h>
#include <errno.h>
#include <guestfs.h>
#include <stdio.h>
#include <string.h>
#include <sys/stat.h>

#include "plugin/inject/guestfs_error.h"

enum {
    DEVICE_MAX = DISK_LV_MAX + 1,
    OPTIONS_MAX = 96,
    SUBVOLUMES_MAX = 512,
    TOP_SUBVOLUME = 5, /* of every btrfs */
    PATH_ROOM = 1024,
    COMMAND_MAX = 2048,
};

/* What is known after all places were looked into. */
struct search {
    struct appliance *appliance;
    const char *device;
    struct disk_layout layout;
    struct root found;
    unsigned n_found;
    char names[160]; /* of the roots */
};

static void
subvolumes_free(struct guestfs_btrfssubvolume_list *list)
{
    if (list)
        guestfs_free_btrfssubvolume_list(list);
}
DEFINE_CLEANUP(struct guestfs_btrfssubvolume_list *, subvolumes_free);

static int
damaged(guestfs_h *g, const char *name, struct error *err)
{
    const char *text = guestfs_last_error(g);

    return error_problem(err, ERROR_DENIED, "image-damaged", "%.80s cannot be mounted: %.200s", name,
                         text ? text : "no reason given");
}

static int
device_name(const char *device, const struct disk_place *place, char ret[static DEVICE_MAX],
            struct error *err)
{
    char number[12] = "";
    int n;

    if (place->partition.number)
        snprintf(number, sizeof number, "%u", place->partition.number);
    n = place->lv[0] ? snprintf(ret, DEVICE_MAX, "%s", place->lv)
                     : snprintf(ret, DEVICE_MAX, "%s%s", device, number);
    if (n >= DEVICE_MAX)
        return error_set(err, ERROR_SYSTEM, "the device's name is too long");
    return 0;
}

static int
look_at_device(struct appliance *a, const char *name, struct volume *ret, struct error *err)
{
    struct appliance_disk disk = { a, name };
    struct disk_reader reader;

    if (appliance_reader(&disk, &reader, err) < 0)
        return -1;
    return volume_look(&reader, ret, err);
}

/* What the kernel shows under this name is what was found there. */
static int
check_same(struct appliance *a, const char *name, const struct volume *before, struct error *err)
{
    struct volume now;

    if (look_at_device(a, name, &now, err) < 0)
        return -1;
    if (now.kind != before->kind || memcmp(now.id, before->id, sizeof now.id) != 0)
        return error_problem(err, ERROR_DENIED, "image-layout",
                             "the disk reads differently in the appliance");
    return 0;
}

/* ---- LVM --------------------------------------------------------------------- */

static bool
has_lvm(const struct disk_layout *l)
{
    for (size_t i = 0; i < l->n; i++)
        if (l->places[i].volume.kind == VOLUME_LVM)
            return true;
    return false;
}

static int
activate(guestfs_h *g, bool on, struct error *err)
{
    if (guestfs_vg_activate_all(g, on) == 0)
        return 0;
    return error_problem(err, ERROR_DENIED, "image-layout", "LVM: %.200s",
                         guestfs_last_error(g) ? guestfs_last_error(g) : "cannot be used");
}

/* What LVM allows in names, and a shell passes on as it is. */
static bool
is_plain(const char *name)
{
    for (; *name; name++)
        if (!isalnum((unsigned char)*name) && !strchr("/+_.-", *name))
            return false;
    return true;
}

/*
 * The disk's drive is write-protected: only a mapping that is read-only itself can be made on it, and libguestfs
 * has no call for that.
 */
static int
activate_read_only(guestfs_h *g, struct error *err)
{
    char command[COMMAND_MAX] = "lvm vgchange -ay --config 'activation{read_only_volume_list=[";
    char *arguments[] = { command, NULL };
    size_t used = strlen(command);

    if (activate(g, false, err) < 0) /* udev may have been quicker */
        return -1;
    CLEANUP(text_list_free) char **groups = guestfs_vgs(g);

    if (!groups)
        return guestfs_failed(g, err, "listing volume groups");
    for (char **group = groups; *group; group++) {
        int n = snprintf(command + used, sizeof command - used, "%s\"%s\"", group == groups ? "" : ",",
                         *group);

        if (!is_plain(*group) || (size_t)n >= sizeof command - used)
            return error_problem(err, ERROR_DENIED, "image-layout", "LVM: impossible volume groups");
        used += (size_t)n;
    }
    if (used + sizeof "]}'" > sizeof command)
        return error_problem(err, ERROR_DENIED, "image-layout", "LVM: impossible volume groups");
    memcpy(command + used, "]}'", sizeof "]}'");
    CLEANUP(mem_free) char *said = guestfs_debug(g, "sh", arguments);

    if (!said)
        return error_problem(err, ERROR_DENIED, "image-layout", "LVM: %.200s", guestfs_last_error(g));
    return 0;
}

static int
add_lv(struct search *s, const char *name, struct error *err)
{
    struct disk_place *place = &s->layout.places[s->layout.n];
    guestfs_h *g = appliance_handle(s->appliance);
    struct error why;

    if (s->layout.n == PARTITIONS_MAX)
        return error_problem(err, ERROR_DENIED, "image-layout", "more than %d places to look at",
                             PARTITIONS_MAX);
    if (!is_plain(name) || strncmp(name, "/dev/", 5) != 0 || strlen(name) > DISK_LV_MAX)
        return error_problem(err, ERROR_DENIED, "image-layout", "a logical volume's name is none");
    *place = (struct disk_place){ .volume = { .kind = VOLUME_OTHER } };
    memcpy(place->lv, name, strlen(name) + 1);
    s->layout.n++;
    if (guestfs_blockdev_setro(g, name) == 0) {
        if (look_at_device(s->appliance, name, &place->volume, &why) == 0)
            return 0;
        if (why.code == ERROR_DENIED) {
            *err = why;
            return error_wrap(err, "%.100s", name);
        }
    }
    snprintf(place->volume.problem, sizeof place->volume.problem, "image-layout");
    snprintf(place->volume.text, sizeof place->volume.text,
             "a logical volume that cannot be used here (thin, cached or incomplete)");
    return 0;
}

static int
add_lvs(struct search *s, struct error *err)
{
    guestfs_h *g = appliance_handle(s->appliance);

    if (activate_read_only(g, err) < 0)
        return -1;
    CLEANUP(text_list_free) char **lvs = guestfs_lvs(g);

    if (!lvs)
        return guestfs_failed(g, err, "listing logical volumes");
    for (char **lv = lvs; *lv; lv++)
        if (add_lv(s, *lv, err) < 0)
            return -1;
    return 0;
}

/* ---- mounting ---------------------------------------------------------------- */

/* Read-only, nothing is replayed: xfs refuses a log that needs it, as the device cannot be written. */
static const char *
options(enum volume_kind kind, bool writable)
{
    if (writable)
        return "nodev,nosuid,noexec";
    return kind == VOLUME_EXT4 ? "ro,noload,nodev,nosuid,noexec" : "ro,nodev,nosuid,noexec";
}

static int
mount(guestfs_h *g, const char *name, const struct root *root, bool writable, struct error *err)
{
    enum volume_kind kind = root->place.volume.kind;
    char with[OPTIONS_MAX];

    snprintf(with, sizeof with, "%s", options(kind, writable));
    if (kind == VOLUME_BTRFS && root->subvolume)
        snprintf(with, sizeof with, "%s,subvolid=%llu", options(kind, writable),
                 (unsigned long long)root->subvolume);
    if (guestfs_mount_vfs(g, with, volume_type(kind), name, "/") < 0)
        return damaged(g, name, err);
    return 0;
}

static int
unmount(guestfs_h *g, struct error *err)
{
    return guestfs_umount(g, "/") < 0 ? guestfs_failed(g, err, "unmounting") : 0;
}

/* ---- whose root is it? ------------------------------------------------------- */

/* 0 and false: nothing is there, or something else than a folder is on the way. */
static int
is_there(guestfs_h *g, const char *folder, const char *name, bool *ret, struct error *err)
{
    char path[PATH_ROOM];
    struct guestfs_statns *st;
    int why;

    if (snprintf(path, sizeof path, "%s%s", folder, name) >= (int)sizeof path) {
        *ret = false;
        return 0;
    }
    st = guestfs_lstatns(g, path);
    *ret = st != NULL;
    guestfs_free_statns(st);
    why = st ? 0 : guestfs_last_errno(g);
    if (!st && why != ENOENT && why != ENOTDIR && why != ELOOP)
        return error_problem(err, ERROR_DENIED, "image-damaged", "%.80s cannot be read: %.200s", name,
                             guestfs_last_error(g));
    return 0;
}

/* Either os-release may be a link to the other: being there is enough. */
static int
has_os(guestfs_h *g, const char *folder, bool *ret, struct error *err)
{
    bool etc, release = false;

    if (is_there(g, folder, "/etc", &etc, err) < 0 ||
        is_there(g, folder, "/etc/os-release", &release, err) < 0 ||
        (!release && is_there(g, folder, "/usr/lib/os-release", &release, err) < 0))
        return -1;
    *ret = etc && release;
    return 0;
}

static void
add_root(struct search *s, const struct disk_place *place, uint64_t subvolume, const char *name)
{
    size_t used = strlen(s->names);

    s->n_found++;
    s->found = (struct root){ *place, subvolume };
    snprintf(s->names + used, sizeof s->names - used, "%s%s", used ? ", " : "", name);
}

static int
look_for_root(struct search *s, const struct disk_place *place, const char *name, struct error *err)
{
    guestfs_h *g = appliance_handle(s->appliance);
    struct root here = { .place = *place };
    bool os;

    if (mount(g, name, &here, false, err) < 0 || has_os(g, "", &os, err) < 0)
        return -1;
    if (os)
        add_root(s, place, 0, name);
    return unmount(g, err);
}

/* ---- btrfs ------------------------------------------------------------------- */

/* *ret: it is a snapshot that nobody may write. The top has no such mark. */
static int
is_read_only(guestfs_h *g, const char *path, uint64_t id, bool *ret, struct error *err)
{
    *ret = false;
    if (id == TOP_SUBVOLUME)
        return 0;
    CLEANUP(text_list_free) char **shown = guestfs_btrfs_subvolume_show(g, path);

    if (!shown)
        return damaged(g, "a btrfs subvolume", err);
    for (char **at = shown; at[0] && at[1]; at += 2)
        if (strcmp(at[0], "Flags") == 0 && strstr(at[1], "readonly"))
            *ret = true;
    return 0;
}

/* What boots where nothing else is named: openSUSE has its root there. */
static int
look_at_default_subvolume(struct search *s, const struct disk_place *place, const char *name,
                          struct error *err)
{
    guestfs_h *g = appliance_handle(s->appliance);
    struct root here = { .place = *place };
    bool os, read_only;
    int64_t id;

    if (mount(g, name, &here, false, err) < 0 || has_os(g, "", &os, err) < 0)
        return -1;
    if (!os)
        return unmount(g, err);
    id = guestfs_btrfs_subvolume_get_default(g, "/");
    if (id < 0)
        return damaged(g, "btrfs's default subvolume", err);
    if (is_read_only(g, "/", (uint64_t)id, &read_only, err) < 0)
        return -1;
    if (read_only)
        return error_problem(err, ERROR_DENIED, "image-read-only",
                             "the root is a read-only btrfs subvolume");
    add_root(s, place, (uint64_t)id, name);
    return unmount(g, err);
}

static int
look_at_subvolume(struct search *s, const struct disk_place *place,
                  const struct guestfs_btrfssubvolume *subvolume, struct error *err)
{
    guestfs_h *g = appliance_handle(s->appliance);
    char path[PATH_ROOM];
    bool os, read_only;

    if (snprintf(path, sizeof path, "/%s", subvolume->btrfssubvolume_path) >= (int)sizeof path)
        return error_problem(err, ERROR_DENIED, "image-layout", "a btrfs subvolume's path is too long");
    if (has_os(g, path, &os, err) < 0)
        return -1;
    if (!os)
        return 0;
    if (is_read_only(g, path, subvolume->btrfssubvolume_id, &read_only, err) < 0)
        return -1;
    if (!read_only)
        add_root(s, place, subvolume->btrfssubvolume_id, path);
    return 0;
}

/* Debian has @rootfs, Ubuntu @, Fedora root: told by its files, not by its name. */
static int
look_at_subvolumes(struct search *s, const struct disk_place *place, const char *name,
                   struct error *err)
{
    guestfs_h *g = appliance_handle(s->appliance);
    struct root top = { *place, TOP_SUBVOLUME };

    if (mount(g, name, &top, false, err) < 0)
        return -1;
    CLEANUP(subvolumes_free)
    struct guestfs_btrfssubvolume_list *list = guestfs_btrfs_subvolume_list(g, "/");

    if (!list)
        return damaged(g, "btrfs's list of subvolumes", err);
    if (list->len > SUBVOLUMES_MAX)
        return error_problem(err, ERROR_DENIED, "image-layout", "more than %d btrfs subvolumes",
                             SUBVOLUMES_MAX);
    for (uint32_t i = 0; i < list->len; i++)
        if (look_at_subvolume(s, place, &list->val[i], err) < 0)
            return -1;
    return unmount(g, err);
}

static int
look_for_btrfs_root(struct search *s, const struct disk_place *place, const char *name,
                    struct error *err)
{
    unsigned before = s->n_found;

    if (look_at_default_subvolume(s, place, name, err) < 0)
        return -1;
    return s->n_found > before ? 0 : look_at_subvolumes(s, place, name, err);
}

/* ---- all of the disk --------------------------------------------------------- */

static int
look_at_place(struct search *s, const struct disk_place *place, struct error *err)
{
    char name[DEVICE_MAX];

    if (place->volume.kind < VOLUME_EXT4)
        return 0;
    if (device_name(s->device, place, name, err) < 0)
        return -1;
    if (!place->lv[0] && check_same(s->appliance, name, &place->volume, err) < 0)
        return -1;
    if (place->volume.kind == VOLUME_LVM)
        return 0;
    return place->volume.kind == VOLUME_BTRFS ? look_for_btrfs_root(s, place, name, err)
                                              : look_for_root(s, place, name, err);
}

int
root_find(struct appliance *a, const char *device, const struct disk_layout *layout,
          bool never_ran, struct root *ret, struct error *err)
{
    struct search s = { .appliance = a, .device = device, .layout = *layout };

    if (has_lvm(layout) && add_lvs(&s, err) < 0)
        return -1;
    for (size_t i = 0; i < s.layout.n; i++)
        if (look_at_place(&s, &s.layout.places[i], err) < 0)
            return -1;
    if (s.n_found == 0)
        return disk_layout_refuse(&s.layout, "no-os", "no filesystem has an /etc and an os-release",
                                  err);
    if (s.n_found > 1)
        return error_problem(err, ERROR_DENIED, "two-roots", "%s", s.names);
    if (s.found.place.volume.kind == VOLUME_BTRFS && !never_ran)
        return error_problem(err, ERROR_DENIED, "image-unmarked",
                             "btrfs does not tell whether it was cleanly unmounted, and the VM ran before");
    *ret = s.found;
    return has_lvm(layout) ? activate(appliance_handle(a), false, err) : 0;
}

static int
activate_for(guestfs_h *g, const char *name, bool writable, struct error *err)
{
    if (!writable) {
        if (activate_read_only(g, err) < 0)
            return -1;
        return guestfs_blockdev_setro(g, name) < 0 ? guestfs_failed(g, err, name) : 0;
    }
    /* Off first: what udev has made may lie on the disk as it was attached before. */
    return activate(g, false, err) < 0 || activate(g, true, err) < 0 ? -1 : 0;
}

int
root_mount(struct appliance *a, const char *device, const struct root *root, bool writable,
           struct error *err)
{
    guestfs_h *g = appliance_handle(a);
    char name[DEVICE_MAX];

    if (device_name(device, &root->place, name, err) < 0)
        return -1;
    if (root->place.lv[0] && activate_for(g, name, writable, err) < 0)
        return -1;
    if (check_same(a, name, &root->place.volume, err) < 0)
        return -1;
    return mount(g, name, root, writable, err);
}

int
root_unmount(struct appliance *a, const struct root *root, struct error *err)
{
    guestfs_h *g = appliance_handle(a);

    if (unmount(g, err) < 0)
        return -1;
    return root->place.lv[0] ? activate(g, false, err) : 0;
}
