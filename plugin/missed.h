/*
 * missed.h - what libvirt's hook wrote down while nobody answered it
 *
 * run_dir/missed/UUID holds lines "OP TIME"; root writes them, we read and remove them.
 */
#pragma once

#include <stdbool.h>

#include "lib/common/error.h"
#include "lib/wire/vm_uuid.h"

struct missed {
    bool any;
    bool began;   /* prepare, restore or migrate: a run nobody watched */
    bool came_in; /* ... by migration */
    bool ended;   /* stopped or release */
};

/* Make the folder. */
int missed_open(const char *run_dir, struct error *err);
/* What was missed of this VM. */
struct missed missed_look(const char *run_dir, const struct vm_uuid *uuid);
/* The same, and the mark is gone afterwards. */
struct missed missed_take(const char *run_dir, const struct vm_uuid *uuid);
