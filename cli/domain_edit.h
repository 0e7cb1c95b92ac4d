/*
 * domain_edit.h - what `virtid enable` and `disable` change in a domain's XML
 *
 * Only what is missing is added, and only what is ours is taken away; all
 * else stays, to the order of elements.  The vTPM is never taken away: with
 * it would go the guest's keys.
 */
#pragma once

#include <stdbool.h>

#include "lib/common/buf.h"
#include "lib/common/error.h"

struct domain_change {
    bool marker, tpm, channel; /* what was added or removed */
    bool foreign_tpm;          /* a <tpm> is there that is no emulator of version 2.0: left as it is */
};

/* `xml` with the change applied, into `into`; no change leaves all of *ret false. */
int domain_edit_enable(const char *xml, struct buf *into, struct domain_change *ret,
                       struct error *err);
int domain_edit_disable(const char *xml, struct buf *into, struct domain_change *ret,
                        struct error *err);
