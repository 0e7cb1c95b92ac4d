#include "config.h"

#include "plugin/inject/appliance.h"

#include <guestfs.h>
#include <limits.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>

#include "lib/common/clock.h"
#include "lib/common/fdio.h"
#include "plugin/inject/appliance_parts.h"
#include "plugin/inject/guestfs_error.h"
#include "plugin/inject/qmp.h"

enum {
    MEMORY_MIB = 512,
    QMP_MS = 600 * 1000, /* privd's deadline ends us much earlier */
    DEVICE_MS = 30 * 1000,
    POLL_NS = 20 * 1000 * 1000,
    DEVICES_MAX = 16,
    READ_MAX = 1 << 20, /* of one libguestfs message of at most 4 MiB */
};

struct appliance {
    guestfs_h *g;
    struct qmp *qmp;
    unsigned next_fdset;
    char qmp_path[108];
};

struct guestfs_h *
appliance_handle(struct appliance *a)
{
    return a->g;
}

void
text_list_free(char **list)
{
    for (char **at = list; at && *at; at++)
        free(*at);
    free(list);
}

void
appliance_kill(struct appliance *a)
{
    if (!a)
        return;
    qmp_close(a->qmp);
    if (a->g)
        guestfs_close(a->g);
    free(a);
}

static int
set_folders(const char *cache_dir, const char *run_dir, struct error *err)
{
    if (setenv("TMPDIR", run_dir, 1) < 0 || setenv("XDG_RUNTIME_DIR", run_dir, 1) < 0 ||
        setenv("HOME", run_dir, 1) < 0 || setenv("LIBGUESTFS_CACHEDIR", cache_dir, 1) < 0)
        return error_set(err, ERROR_SYSTEM, "out of memory");
    return 0;
}

/* With our init, if libguestfs is laid out as we know it; else as it comes. */
static int
use_own_init(struct appliance *a, const char *cache_dir)
{
    char init[PATH_MAX], parts[PATH_MAX];
    const char *stock = guestfs_get_path(a->g);

    if (!stock || !appliance_parts_init(init, sizeof init) ||
        !appliance_parts_make(stock, init, cache_dir, parts, sizeof parts))
        return 0;
    return guestfs_set_path(a->g, parts);
}

static int
configure(struct appliance *a, const char *accel, const char *cache_dir, const char *run_dir,
          struct error *err)
{
    static char force_tcg[] = "force_tcg";
    char *tcg[] = { force_tcg, NULL }, *none[] = { NULL };
    bool emulated = strcmp(accel, "kvm") != 0;
    char qmp[160], sockets[160], *environment[] = { sockets, NULL };

    snprintf(qmp, sizeof qmp, "unix:%s,server=on,wait=off", a->qmp_path);
    snprintf(sockets, sizeof sockets, "XDG_RUNTIME_DIR=%s", run_dir);
    guestfs_set_error_handler(a->g, NULL, NULL);
    /* There is no other way to say where its sockets go; without it they go to /tmp. */
    if (guestfs_parse_environment_list(a->g, environment) < 0 ||
        guestfs_set_cachedir(a->g, cache_dir) < 0 || guestfs_set_tmpdir(a->g, run_dir) < 0 ||
        guestfs_set_backend(a->g, "direct") < 0 ||
        guestfs_set_backend_settings(a->g, emulated ? tcg : none) < 0 ||
        use_own_init(a, cache_dir) < 0 ||
        /* An emulated processor does not speculate. */
        guestfs_set_append(a->g, emulated ? "mitigations=off" : NULL) < 0 ||
        guestfs_set_network(a->g, 0) < 0 || guestfs_set_memsize(a->g, MEMORY_MIB) < 0 ||
        guestfs_set_autosync(a->g, 1) < 0 || guestfs_config(a->g, "-qmp", qmp) < 0 ||
        guestfs_config(a->g, "-sandbox",
                       "on,obsolete=deny,elevateprivileges=deny,spawn=deny,resourcecontrol=deny") < 0)
        return guestfs_failed(a->g, err, "setting up the appliance");
    /* A launch wants a drive; the real ones come later, as descriptors. */
    if (guestfs_add_drive_opts(a->g, "/dev/null", GUESTFS_ADD_DRIVE_OPTS_FORMAT, "raw",
                               GUESTFS_ADD_DRIVE_OPTS_READONLY, 1, -1) < 0)
        return guestfs_failed(a->g, err, "setting up the appliance");
    return 0;
}

int
appliance_start(const char *accel, const char *cache_dir, const char *run_dir,
                struct appliance **ret_appliance, struct error *err)
{
    CLEANUP(appliance_kill) struct appliance *a = calloc(1, sizeof *a);

    if (!a)
        return error_set(err, ERROR_SYSTEM, "out of memory");
    if (snprintf(a->qmp_path, sizeof a->qmp_path, "%s/qmp", run_dir) >= (int)sizeof a->qmp_path)
        return error_set(err, ERROR_INPUT, "the folder's name is too long for a socket");
    if (set_folders(cache_dir, run_dir, err) < 0)
        return -1;
    a->g = guestfs_create_flags(GUESTFS_CREATE_NO_ENVIRONMENT);
    if (!a->g)
        return error_set(err, ERROR_SYSTEM, "out of memory");
    if (configure(a, accel, cache_dir, run_dir, err) < 0)
        return -1;
    if (guestfs_launch(a->g) < 0)
        return guestfs_failed(a->g, err, "launching the appliance");
    if (qmp_open(a->qmp_path, clock_monotonic_ms() + QMP_MS, &a->qmp, err) < 0)
        return -1;
    *ret_appliance = STEAL(a);
    return 0;
}

static int
add_fd(struct appliance *a, int fd, unsigned *ret_set, struct error *err)
{
    char command[128];

    *ret_set = ++a->next_fdset;
    snprintf(command, sizeof command,
             "{\"execute\":\"add-fd\",\"arguments\":{\"fdset-id\":%u}}\n", *ret_set);
    return qmp_do(a->qmp, command, fd, err);
}

/*
 * One node of the chain.  Locks are privd's, taken on these very open files; QEMU's own would
 * only undo them.  A qcow2 without backing says so: else QEMU would follow its header.
 */
static int
add_node(struct appliance *a, char kind, size_t i, const struct image_chain *chain, int fd,
         bool writable, struct error *err)
{
    const char *format = chain->files[i].format, *read_only = writable ? "false" : "true";
    char command[640], backing[48] = "";
    unsigned set;

    if (add_fd(a, fd, &set, err) < 0)
        return -1;
    if (i + 1 < chain->n)
        snprintf(backing, sizeof backing, "\"backing\":\"%c%zu\",", kind, i + 1);
    else if (strcmp(format, "qcow2") == 0)
        snprintf(backing, sizeof backing, "\"backing\":null,");
    snprintf(command, sizeof command,
             "{\"execute\":\"blockdev-add\",\"arguments\":{\"node-name\":\"%c%zu\","
             "\"driver\":\"%s\",%s\"read-only\":%s,\"cache\":{\"direct\":false,\"no-flush\":false},"
             "\"file\":{\"driver\":\"%s\",\"filename\":\"/dev/fdset/%u\",\"read-only\":%s,"
             "\"locking\":\"off\"}}}\n",
             kind, i, format, backing, read_only, chain->files[i].device ? "host_device" : "file",
             set, read_only);
    return qmp_do(a->qmp, command, -1, err);
}

/* While udev moves its links about, the list cannot be had for a moment. */
static char **
list_devices(struct appliance *a, struct error *err)
{
    int64_t deadline = clock_monotonic_ms() + DEVICE_MS;
    struct timespec pause = { .tv_nsec = POLL_NS };
    char **list;

    while (!(list = guestfs_list_devices(a->g)) && clock_monotonic_ms() < deadline)
        (void)nanosleep(&pause, NULL);
    if (!list)
        guestfs_failed(a->g, err, "listing devices");
    return list;
}

/* The names that `after` has and `before` has not; NULL if there is none. */
static const char *
find_new(char **before, char **after)
{
    for (; *after; after++) {
        char **b = before;

        while (*b && strcmp(*b, *after) != 0)
            b++;
        if (!*b)
            return *after;
    }
    return NULL;
}

static int
wait_device(struct appliance *a, char **before, char ret_device[static 16], struct error *err)
{
    int64_t deadline = clock_monotonic_ms() + DEVICE_MS;
    struct timespec pause = { .tv_nsec = POLL_NS };

    do {
        CLEANUP(text_list_free) char **now = list_devices(a, err);
        const char *name = now ? find_new(before, now) : NULL;

        if (!now)
            return -1;
        if (name && strlen(name) < 16 && strncmp(name, "/dev/sd", 7) == 0) {
            memcpy(ret_device, name, strlen(name) + 1);
            return 0;
        }
        (void)nanosleep(&pause, NULL);
    } while (clock_monotonic_ms() < deadline);
    return error_set(err, ERROR_SYSTEM, "the disk did not appear in the appliance");
}

static int
check_mode(struct appliance *a, const char *device, bool writable, struct error *err)
{
    int read_only = guestfs_blockdev_getro(a->g, device);

    if (read_only < 0)
        return guestfs_failed(a->g, err, "looking at the disk");
    if (!read_only != writable)
        return error_set(err, ERROR_SYSTEM, "the appliance has the disk in the wrong mode");
    return 0;
}

int
appliance_attach(struct appliance *a, const struct image_chain *chain, int write_fd,
                 char ret_device[static 16], struct error *err)
{
    CLEANUP(text_list_free) char **before = list_devices(a, err);
    char kind = write_fd >= 0 ? 'w' : 'r', command[200];

    if (!before)
        return -1;
    for (size_t i = chain->n; i-- > 0;) {
        bool writable = i == 0 && write_fd >= 0;
        int fd = writable ? write_fd : chain->files[i].fd;

        if (add_node(a, kind, i, chain, fd, writable, err) < 0)
            return -1;
    }
    /* QEMU's own way with a full volume is to stop the guest until somebody makes room: nobody is there. */
    snprintf(command, sizeof command,
             "{\"execute\":\"device_add\",\"arguments\":{\"driver\":\"scsi-hd\",\"id\":\"disk-%c\","
             "\"bus\":\"scsi.0\",\"drive\":\"%c0\",\"werror\":\"report\",\"rerror\":\"report\"}}\n",
             kind, kind);
    if (qmp_do(a->qmp, command, -1, err) < 0 || wait_device(a, before, ret_device, err) < 0)
        return -1;
    return check_mode(a, ret_device, write_fd >= 0, err);
}

static bool
is_listed(char **list, const char *name)
{
    for (; *list; list++)
        if (strcmp(*list, name) == 0)
            return true;
    return false;
}

int
appliance_detach(struct appliance *a, const char *device, struct error *err)
{
    int64_t deadline = clock_monotonic_ms() + DEVICE_MS;
    struct timespec pause = { .tv_nsec = POLL_NS };

    if (qmp_do(a->qmp, "{\"execute\":\"device_del\",\"arguments\":{\"id\":\"disk-r\"}}\n", -1, err) < 0)
        return -1;
    do {
        CLEANUP(text_list_free) char **now = list_devices(a, err);

        if (!now)
            return -1;
        if (!is_listed(now, device))
            return 0;
        (void)nanosleep(&pause, NULL);
    } while (clock_monotonic_ms() < deadline);
    return error_set(err, ERROR_SYSTEM, "the appliance did not let go of the disk");
}

static int
read_device(void *self, uint64_t at, void *ret, size_t len, struct error *err)
{
    struct appliance_disk *disk = self;
    guestfs_h *g = disk->appliance->g;

    for (size_t done = 0; done < len;) {
        size_t want = len - done < READ_MAX ? len - done : READ_MAX, n = 0;
        CLEANUP(mem_free)
        char *bytes = guestfs_pread_device(g, disk->device, (int)want, (int64_t)(at + done), &n);

        if (!bytes)
            return guestfs_failed(g, err, "reading the disk");
        if (n == 0 || n > want)
            return error_set(err, ERROR_SYSTEM, "reading the disk: %zu bytes instead of %zu", n, want);
        memcpy((char *)ret + done, bytes, n);
        done += n;
    }
    return 0;
}

int
appliance_reader(struct appliance_disk *disk, struct disk_reader *ret, struct error *err)
{
    int64_t size = guestfs_blockdev_getsize64(disk->appliance->g, disk->device);

    if (size < 0)
        return guestfs_failed(disk->appliance->g, err, "the size of the disk");
    *ret = (struct disk_reader){ .read = read_device, .self = disk, .size = (uint64_t)size };
    return 0;
}

int
appliance_check_host(struct appliance *a, struct error *err)
{
    bool full;

    if (!qmp_io_failed(a->qmp, &full))
        return 0;
    return error_problem(err, ERROR_SYSTEM, full ? "host-disk-full" : "host-disk-error", "%s",
                         full ? "the host's volume became full while the disk was written"
                              : "the host could not read or write a part of the disk");
}

int
appliance_end(struct appliance *a, struct error *err)
{
    if (guestfs_shutdown(a->g) < 0)
        return guestfs_failed(a->g, err, "ending the appliance");
    return 0;
}
