/*
 * priv_stop.h - a guest that another host has since this one was fenced
 *
 * What is done with it stands in privd.conf, which is root's: who asks cannot choose (docs/DECISIONS/021).
 */
#pragma once

#include "lib/common/error.h"
#include "lib/wire/vm_uuid.h"
#include "plugin/priv/priv_settings.h"

/*
 * Pause or destroy it through libvirt, as fence_action says: *ret_done "paused", "destroyed"; "report": nothing is looked
 * at and nothing done.  Again is harmless.  ERROR_DENIED "channel-foreign": no domain of ours; ERROR_MISSING: it does not
 * run; ERROR_BUSY, ERROR_SYSTEM: virsh, which may still do it.
 */
int priv_stop_guest(const struct priv_settings *s, const struct vm_uuid *uuid, const char *name, const char **ret_done,
                    struct error *err);
