#include "config.h"

#include "plugin/inject/inject.h"

#include <errno.h>
#include <stdio.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/stat.h>
#include <sys/statvfs.h>
#include <unistd.h>

#include "lib/common/fdio.h"
#include "lib/common/secret.h"
#include "lib/crypto/key.h"
#include "lib/wire/priv_msg.h"
#include "lib/wire/slot.h"
#include "plugin/inject/appliance.h"
#include "plugin/inject/disk_layout.h"
#include "plugin/inject/image_chain.h"
#include "plugin/inject/place.h"
#include "plugin/inject/privd_link.h"
#include "plugin/inject/root.h"
#include "plugin/inject/run_dir.h"

enum { VOLUME_SPARE = 8 << 20 };

struct job {
    int privd, write_fd;
    struct inject_msg order;
    struct image_chain chain;
    struct place_files files;
    struct root root;
    uint8_t point[KEY_POINT_LEN];
    struct secret *slot;
};

static void
job_clear(struct job *job)
{
    if (job->files.payload)
        munmap((void *)(uintptr_t)job->files.payload, job->files.payload_len);
    image_chain_clear(&job->chain);
    secret_free(job->slot);
    fd_close(job->write_fd);
}
#define job_clear_at job_clear

/* Whole and well formed before anything is started; sealed by hostd, which privd checked. */
static int
map_payload(struct job *job, int payload, struct error *err)
{
    struct payload_entry e;
    struct stat st;
    bool end = false;
    void *bytes;

    if (fstat(payload, &st) < 0)
        return error_sys(err, errno, "payload");
    if (st.st_size <= 0 || st.st_size > PRIV_PAYLOAD_MAX)
        return error_set(err, ERROR_INPUT, "payload of %lld bytes", (long long)st.st_size);
    bytes = mmap(NULL, (size_t)st.st_size, PROT_READ, MAP_PRIVATE, payload, 0);
    if (bytes == MAP_FAILED)
        return error_sys(err, errno, "payload");
    job->files.payload = bytes;
    job->files.payload_len = (size_t)st.st_size;
    for (size_t at = 0; !end;)
        if (payload_next(job->files.payload, job->files.payload_len, &at, &e, &end, err) < 0)
            return -1;
    return 0;
}

static int
read_file(void *self, uint64_t at, void *ret, size_t len, struct error *err)
{
    ssize_t n = pread(*(int *)self, ret, len, (off_t)at);

    if (n < 0)
        return error_sys(err, errno, "reading the image");
    /* The end of a sparse or odd-sized file reads as zeros, as QEMU shows it. */
    memset((char *)ret + n, 0, len - (size_t)n);
    return 0;
}

/* A raw file can be judged at once, which saves a launch for those that are left alone. */
static int
look_early(struct job *job, struct error *err)
{
    struct disk_reader disk = { .read = read_file, .self = &job->chain.files[0].fd };
    struct disk_layout layout;
    off_t end;

    if (strcmp(job->order.format, "raw") != 0)
        return 0;
    end = lseek(job->chain.files[0].fd, 0, SEEK_END); /* of a device, too */
    if (end < 0)
        return error_sys(err, errno, "image");
    disk.size = (uint64_t)end;
    return disk_layout_find(&disk, &layout, err);
}

/* Read-only all the way: device, mount, no journal replay. */
static int
look(struct job *job, struct appliance *a, struct error *err)
{
    struct disk_layout layout;
    char device[16];
    struct appliance_disk disk = { a, device };
    struct disk_reader reader;

    if (appliance_attach(a, &job->chain, -1, device, err) < 0 ||
        appliance_reader(&disk, &reader, err) < 0 || disk_layout_find(&reader, &layout, err) < 0 ||
        root_find(a, device, &layout, job->order.never_ran, &job->root, err) < 0 ||
        root_mount(a, device, &job->root, false, err) < 0 ||
        place_check(appliance_handle(a), &job->files, err) < 0 ||
        root_unmount(a, &job->root, err) < 0)
        return -1;
    return appliance_detach(a, device, err);
}

static int
make_secret(struct job *job, struct error *err)
{
    CLEANUP(key_free) struct key *key = NULL;
    struct slot slot = { .kind = SLOT_PRIVATE, .uuid = job->order.uuid };

    if (secret_new(SLOT_MAX, &job->slot, err) < 0 || key_generate(&key, err) < 0)
        return -1;
    key_point(key, job->point);
    key_private(key, slot.body);
    job->files.slot = job->slot->bytes;
    job->files.slot_len = slot_encode(&slot, job->slot->bytes);
    explicit_bzero(&slot, sizeof slot);
    return 0;
}

static int
write_disk(struct job *job, struct appliance *a, struct error *err)
{
    char device[16];

    if (appliance_attach(a, &job->chain, job->write_fd, device, err) < 0 ||
        root_mount(a, device, &job->root, true, err) < 0)
        return -1;
    if (place_write(appliance_handle(a), &job->files, err) < 0) {
        struct error ignored;

        (void)root_unmount(a, &job->root, &ignored); /* clean, though incomplete: without a slot it is not used */
        return -1;
    }
    return root_unmount(a, &job->root, err);
}

/* A file that may still grow gets what is written, and what qcow2 and a journal take for it, from its volume. */
static int
check_volume(const struct job *job, struct error *err)
{
    uint64_t needed = job->files.payload_len + job->files.payload_len / 8 + VOLUME_SPARE;
    struct statvfs fs;
    struct stat st;

    if (fstat(job->write_fd, &st) < 0 || fstatvfs(job->write_fd, &fs) < 0)
        return error_sys(err, errno, "the image's volume");
    if (!S_ISREG(st.st_mode) || (strcmp(job->order.format, "raw") == 0 && st.st_blocks * 512 >= st.st_size))
        return 0;
    if (fs.f_bavail < needed / fs.f_frsize)
        return error_problem(err, ERROR_BUSY, "host-disk-full",
                             "the image may grow by %llu bytes, and its volume has %llu left",
                             (unsigned long long)needed, (unsigned long long)fs.f_bavail * fs.f_frsize);
    return 0;
}

/* A disk of the host's that failed is the reason, whatever the guest's kernel made of it. */
static int
write_and_end(struct job *job, struct appliance *a, struct error *err)
{
    struct error why;
    int failed = write_disk(job, a, &why) < 0 || appliance_end(a, &why) < 0;

    if (appliance_check_host(a, err) < 0)
        return -1;
    if (failed)
        *err = why;
    return failed ? -1 : 0;
}

static int
make_durable(int fd, struct error *err)
{
    if (fsync(fd) == 0)
        return 0;
    return error_problem(err, ERROR_SYSTEM, errno == ENOSPC || errno == EDQUOT ? "host-disk-full" : "host-disk-error",
                         "making the image durable: %s", strerror(errno));
}

static int
do_job(struct job *job, int payload, int take_read_fd, struct error *err)
{
    CLEANUP(run_dir_clear) struct run_dir dir = { "" };
    CLEANUP(appliance_kill) struct appliance *a = NULL;

    if (image_chain_open(job->privd, take_read_fd, job->order.format, &job->chain, err) < 0 ||
        map_payload(job, payload, err) < 0 || look_early(job, err) < 0 ||
        run_dir_make(job->order.path, &dir, err) < 0 ||
        appliance_start(job->order.accel, job->order.path, dir.path, &a, err) < 0 ||
        look(job, a, err) < 0 || check_volume(job, err) < 0 || make_secret(job, err) < 0 ||
        privd_link_ready(job->privd, err) < 0 || write_and_end(job, a, err) < 0)
        return -1;
    return make_durable(job->write_fd, err);
}

static void
tell_skip(const struct error *err, struct inject_msg *done)
{
    snprintf(done->result, sizeof done->result, "skipped");
    snprintf(done->problem, sizeof done->problem, "%s",
             err->problem[0] ? err->problem : "inject-failed");
    snprintf(done->text, sizeof done->text, "%.*s", (int)sizeof done->text - 1, err->text);
}

int
inject_run(int privd, int payload, int write_fd, int read_fd, struct error *err)
{
    CLEANUP(job_clear) struct job job = { .privd = privd, .write_fd = write_fd };
    CLEANUP(fd_close) int owned_payload = payload, owned_read = read_fd;
    struct inject_msg done = { .kind = INJECT_DONE };
    struct error why;

    if (privd_link_job(privd, &job.order, err) < 0)
        return -1;
    run_dir_clean_all(job.order.path);
    if (do_job(&job, owned_payload, fd_steal(&owned_read), &why) < 0) {
        tell_skip(&why, &done);
    } else {
        snprintf(done.result, sizeof done.result, "injected");
        memcpy(done.point, job.point, sizeof done.point);
        done.point_len = sizeof done.point;
    }
    return privd_link_done(privd, &done, err);
}

int
inject_prepare(const char *accel, const char *cache_dir, struct error *err)
{
    CLEANUP(run_dir_clear) struct run_dir dir = { "" };
    CLEANUP(appliance_kill) struct appliance *a = NULL;

    run_dir_clean_all(cache_dir);
    if (run_dir_make(cache_dir, &dir, err) < 0 ||
        appliance_start(accel, cache_dir, dir.path, &a, err) < 0)
        return -1;
    return appliance_end(a, err);
}

void
inject_clean(const char *cache_dir)
{
    run_dir_clean_all(cache_dir);
}
