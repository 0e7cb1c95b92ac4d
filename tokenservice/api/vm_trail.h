/*
 * vm_trail.h - where a VM was and is, as the audit has it
 *
 * "on A until t, on B since t": a stay begins with the host's first lease and goes on, through stops and
 * starts, until another host has it, or an operator ends it (placed elsewhere, fenced, retired).
 */
#pragma once

#include "lib/common/json.h"
#include "tokenservice/api/service_state.h"

enum {
    TRAIL_MAX = 32,           /* stays that are shown: the newest */
    TRAIL_RECORDS_MAX = 1000, /* of the audit that are looked at: the newest */
};

/*
 * *ret is an array, oldest first: {"host","since":ms,"until"?:ms,"end"?:"moved"|"placed"|"fenced"|"retired"};
 * the last has no "until" while the VM is there.  *ret_more: there were more before the first.
 */
int vm_trail(struct service *service, const struct vm_uuid *uuid, json_t **ret, bool *ret_more,
             struct error *err);
