/*
 * rate.h - how much a host or a VM may ask for, so that none of them fills the disk or
 * keeps the others waiting
 *
 * Counted only for those that have shown who they are: a host by its certificate, a VM
 * by a good signature of its host (DESIGN 4).  In memory: after a restart all begin
 * with a full measure.  Not here: limits per address (lib/http/http_limit.h).
 */
#pragma once

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "lib/common/cleanup.h"
#include "lib/common/error.h"

enum rate_kind {
    RATE_HOST_REQUEST, /* 50 a second, 500 at once: 4096 renewals are 9 a second */
    RATE_HOST_RECORD,  /* audit records, 5 a second, 2000 at once: all VMs of a host
                          start, or one a second is made, enrolled and ended */
    RATE_VM_PROOF,     /* 1 a second, 200 at once: an agent has at most 64 audiences,
                          each asked for every 150 s */
};

struct rates;

int rates_new(struct rates **ret, struct error *err);
void rates_free(struct rates *rates);
DEFINE_CLEANUP(struct rates *, rates_free);

/* One less.  ERROR_BUSY "rate-limited", with retry_s: there was none. */
int rate_take(struct rates *rates, enum rate_kind kind, const void *who, size_t len,
              int64_t now_ms, struct error *err);
/* As above, and takes none. */
int rate_check(struct rates *rates, enum rate_kind kind, const void *who, size_t len,
               int64_t now_ms, struct error *err);
/* What has been done counts, also when there was none left. */
void rate_spend(struct rates *rates, enum rate_kind kind, const void *who, size_t len,
                int64_t now_ms);
