/*
 * run_id.h - which run of a domain is this? Its libvirt id and QEMU's start time
 */
#pragma once

#include "lib/wire/vm_uuid.h"
#include "plugin/journal.h"

/*
 * "ID@TICKS": TICKS since boot from /proc of the process that has `-uuid UUID` on its command line,
 * 0 where /proc is hidden from us.
 */
void run_id_find(const struct vm_uuid *uuid, int domain_id, char ret[static RUN_ID_MAX + 1]);
