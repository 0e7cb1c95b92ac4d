/*
 * pulls.h - reports that the service wants from a host now, and who waits for them
 *
 * PROTOCOL-LEASE's pull: before a hand-over the source is asked what its VM does. A host keeps one
 * request open (GET /v1/host/pull), which is answered as soon as something is wanted; its report then
 * names the pull. In memory only: after a restart of the service all is asked again.
 */
#pragma once

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "lib/common/cleanup.h"
#include "lib/common/error.h"
#include "lib/wire/lease_msg.h"

enum {
    PULLS_MAX = 256,
    PULL_MS = 1000,       /* a hand-over waits this long for its source */
    PULL_POLL_MS = 25000, /* a host's open request is answered with nothing after this */
};

enum pull_state {
    PULL_ASKED,    /* wait: the answer comes within PULL_MS of the first call */
    PULL_ANSWERED, /* the source has reported; asked for no more */
    PULL_SILENT,   /* it has not; asked for no more */
};

struct pulls;

int pulls_new(int64_t now_ms, struct pulls **ret, struct error *err);
void pulls_free(struct pulls *pulls);
DEFINE_CLEANUP(struct pulls *, pulls_free);

/*
 * `asker` waits for a report of `host` about `uuid`; to be called again until it is no more
 * PULL_ASKED. *ret_new: the host is to be told. `now_ms` is monotonic. Full: PULL_SILENT.
 */
enum pull_state pulls_ask(struct pulls *pulls, const char *host, const struct vm_uuid *uuid,
                          const char *asker, int64_t now_ms, bool *ret_new);

/* What `host` was not yet told of: the lowest pulls above `after`, as many as `ret` holds. */
void pulls_wanted(const struct pulls *pulls, const char *host, uint64_t after, struct lease_pull *ret);

/* `report` has been taken in. For each that waited for it `wake` is called with the asker's name. */
void pulls_take(struct pulls *pulls, const struct lease_report *report,
                void (*wake)(void *context, const char *asker), void *context);
