/*
 * priv_vtpm.h - a new vTPM state into libvirt's place for it
 *
 * libvirt makes a state of its own only where the folder <uuid>/tpm2 is missing: so it appears
 * whole or not at all.  No state is ever replaced or deleted here.
 */
#pragma once

#include <stdbool.h>

#include "lib/common/error.h"
#include "lib/wire/vm_uuid.h"
#include "plugin/priv/priv_settings.h"

/*
 * Copy the state in `state_fd` (a regular file of at most PRIV_VTPM_MAX bytes that begins as swtpm's
 * states do).  *ret_placed = false: there is a state already, and nothing was touched.
 */
int priv_vtpm_place(const struct priv_settings *s, const struct vm_uuid *uuid, int state_fd,
                    bool *ret_placed, struct error *err);

/* Is there a folder <uuid>/tpm2? */
int priv_vtpm_exists(const struct priv_settings *s, const struct vm_uuid *uuid, bool *ret_exists,
                     struct error *err);

/*
 * What <uuid>'s state file holds now, and its name, survive a power loss when this returns: swtpm replaces the
 * file by rename and makes nothing durable.  Nothing is written.  ERROR_MISSING: there is no such file.
 */
int priv_vtpm_sync(const struct priv_settings *s, const struct vm_uuid *uuid, struct error *err);
