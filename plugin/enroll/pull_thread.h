/*
 * pull_thread.h - the thread that waits for the service's questions
 *
 * It keeps one request open (GET /v1/host/pull), so that the service can have a report at any time
 * although hosts call it and not the other way round.
 *
 * Not here: what is answered (plugin/lease.h).
 */
#pragma once

#include "plugin/enroll/enroll.h"

struct pull_thread;

/* `wanted` is called on the thread with what the service wants to hear of. */
typedef void pull_wanted(void *context, const struct lease_pull *pull);

int pull_thread_start(const char *state_dir, pull_wanted *wanted, void *context, struct pull_thread **ret,
                      struct error *err);
/* Within a second. */
void pull_thread_stop(struct pull_thread *thread);
DEFINE_CLEANUP(struct pull_thread *, pull_thread_stop);
