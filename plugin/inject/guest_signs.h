/*
 * guest_signs.h - what a mounted guest shows of its init system
 *
 * Looks only: names are asked for inside the appliance's root, nothing of the guest is run, and of its files
 * twenty bytes of the shell are read.  Not here: what it means (guest_init.h).
 */
#pragma once

#include "plugin/inject/guest_init.h"

struct guestfs_h;

int guest_signs_read(struct guestfs_h *g, struct guest_signs *ret, struct error *err);
