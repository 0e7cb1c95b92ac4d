/*
 * guestfs_error.h - libguestfs's last error as ours
 */
#pragma once

#include "lib/common/error.h"

struct guestfs_h;

/* Fills *err (ERROR_SYSTEM, or image-damaged, image-full) and returns -1.  What the guest's disk put into the text is
 * cut and escaped when it is sent. */
int guestfs_failed(struct guestfs_h *g, struct error *err, const char *what);
