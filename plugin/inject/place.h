/*
 * place.h - our files into a mounted guest filesystem, whatever lies there already
 *
 * Every folder on the way is looked at with lstat and must be a folder; a
 * symbolic link is never followed, a file of another kind never replaced.
 * Nobody else changes this filesystem meanwhile: the VM is off.
 */
#pragma once

#include <stddef.h>
#include <stdint.h>

#include "lib/common/error.h"
#include "plugin/inject/guest_init.h"

struct guestfs_h;

/* What goes in: the payload of priv_msg.h, already walked through once, and the slot. */
struct place_files {
    const uint8_t *payload;
    size_t payload_len;
    const uint8_t *slot; /* may be NULL while checking */
    size_t slot_len;
    enum guest_init init; /* found by place_check(): which sections of the payload go in */
};

/*
 * On a read-only mount: would place_write() succeed?  Writes nothing.  ERROR_DENIED with a problem name:
 * image-unsafe (something else stands where ours goes), image-full;
 * with the agent also what guest_init_choose() says.
 */
int place_check(struct guestfs_h *g, struct place_files *files, struct error *err);

/*
 * Write all of it: each file to a temporary name, root:root, then renamed; the slot
 * (/etc/virtid/slots/inject, 0600) last, after everything else was synced.
 */
int place_write(struct guestfs_h *g, const struct place_files *files, struct error *err);
