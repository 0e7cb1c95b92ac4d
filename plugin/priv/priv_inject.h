/*
 * priv_inject.h - injections: one at a time, the others wait for their turn
 *
 * A job goes  waiting -> looking -> writing -> ended.  Until it writes it can be cancelled,
 * by request, by its client's leaving or by its deadline; then it is finished.
 */
#pragma once

#include <poll.h>
#include <stdbool.h>
#include <stdint.h>

#include "lib/common/cleanup.h"
#include "lib/common/error.h"
#include "lib/wire/priv_msg.h"
#include "plugin/priv/priv_settings.h"

enum { PRIV_INJECT_WAITING_MAX = 64, PRIV_INJECT_MS_MAX = 600 * 1000, PRIV_INJECT_POLLFDS = 2 };

struct priv_inject;

/* Called once for every job that priv_inject_add() took: the answer for client `who`. */
typedef void priv_inject_answer(void *context, uint64_t who, const struct priv_answer *answer);

/* `s` is borrowed for life. */
int priv_inject_new(const struct priv_settings *s, priv_inject_answer *answer, void *context,
                    struct priv_inject **ret, struct error *err);
/* Kills what runs. */
void priv_inject_free(struct priv_inject *q);
DEFINE_CLEANUP(struct priv_inject *, priv_inject_free);

/*
 * A request of client `who`; `take_payload` is consumed, also on failure.  `now` is monotonic ms.
 * ERROR_INPUT: not a sealed memfd of 1..PRIV_PAYLOAD_MAX bytes; ERROR_BUSY: too many wait.
 */
int priv_inject_add(struct priv_inject *q, const struct priv_request *r, int take_payload,
                    uint64_t who, int64_t now, struct error *err);

/* "cancelled", "too-late" (it writes) or "none". */
const char *priv_inject_cancel(struct priv_inject *q, const struct vm_uuid *uuid);

/* The client left: its jobs end without an answer, unless one writes already. */
void priv_inject_gone(struct priv_inject *q, uint64_t who);

/* Nothing runs and nothing waits. */
bool priv_inject_idle(const struct priv_inject *q);
/* Shutting down: give up everything that does not write yet. */
void priv_inject_give_up(struct priv_inject *q);

/* What to poll (fd -1: nothing) and for how long (-1: no deadline); then step with the same array. */
void priv_inject_poll(const struct priv_inject *q, struct pollfd ret[static PRIV_INJECT_POLLFDS],
                      int64_t now, int *ret_timeout_ms);
void priv_inject_step(struct priv_inject *q, const struct pollfd fds[static PRIV_INJECT_POLLFDS],
                      int64_t now);
