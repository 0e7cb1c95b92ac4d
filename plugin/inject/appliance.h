/*
 * appliance.h - one libguestfs appliance, for one VM, once
 *
 * Launched on an empty drive; disks come in over QMP as descriptors, with
 * explicit drivers, so that its QEMU probes no format and opens no path.
 * A crafted filesystem may take over the appliance's kernel: whatever it
 * answers is bounded, and it never serves a second VM.
 */
#pragma once

#include <stdbool.h>

#include "lib/common/cleanup.h"
#include "lib/common/error.h"
#include "plugin/inject/disk_reader.h"
#include "plugin/inject/image_chain.h"

struct appliance;
struct guestfs_h;

/* `accel` is "kvm" or "tcg"; `cache_dir` keeps the built appliance; `run_dir` is private to this process. */
int appliance_start(const char *accel, const char *cache_dir, const char *run_dir,
                    struct appliance **ret_appliance, struct error *err);
/* Kills what is left. */
void appliance_kill(struct appliance *a);
DEFINE_CLEANUP(struct appliance *, appliance_kill);

/*
 * Attach the chain.  `write_fd` -1: everything read-only; else the top is opened through it for
 * writing, the backing files stay read-only nodes.  At most one of each kind.
 * ret_device is the name in the appliance ("/dev/sdc").
 */
int appliance_attach(struct appliance *a, const struct image_chain *chain, int write_fd,
                     char ret_device[static 16], struct error *err);

/* Take the disk that is attached for reading away again: nothing on it may be mounted or active. */
int appliance_detach(struct appliance *a, const char *device, struct error *err);

/* Read the raw device; `device` is borrowed for the life of *ret. */
struct appliance_disk {
    struct appliance *appliance;
    const char *device;
};
int appliance_reader(struct appliance_disk *disk, struct disk_reader *ret, struct error *err);

/* What guestfs_list_devices() and its like return. */
void text_list_free(char **list);
DEFINE_CLEANUP(char **, text_list_free);

/* The handle, for root.c and place.c. */
struct guestfs_h *appliance_handle(struct appliance *a);

/*
 * At the end, also behind appliance_end(): was there a read or write that the host could not do?  Then -1.
 * The guest's kernel may have kept such a failure to itself: sync() has no errors.
 */
int appliance_check_host(struct appliance *a, struct error *err);

/* Flush, end QEMU and wait for its exit; ERROR_SYSTEM: it did not end cleanly. */
int appliance_end(struct appliance *a, struct error *err);
