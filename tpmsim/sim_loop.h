/*
 * sim_loop.h - the one event loop of a host and its VMs, and how something is waited
 * for in it
 *
 * While anybody waits, everything else is served: channels, reports, ends of processes.
 */
#pragma once

#include <stdbool.h>
#include <stdint.h>

#include "lib/common/cleanup.h"
#include "lib/common/error.h"

struct event_base;
struct sim_loop;

int sim_loop_new(struct sim_loop **ret, struct error *err);
void sim_loop_free(struct sim_loop *loop);
DEFINE_CLEANUP(struct sim_loop *, sim_loop_free);

struct event_base *sim_loop_base(struct sim_loop *loop);
/* The signal that came first, or 0. */
int sim_loop_signal(const struct sim_loop *loop);

/*
 * Serve everything until *done, at most until `deadline_ms` (ERROR_BUSY; INT64_MAX: no
 * limit).  Ends early at INT, TERM and HUP, which are noted from the first call on, and
 * with what sim_loop_fail() was told.
 */
int sim_loop_wait(struct sim_loop *loop, const bool *done, int64_t deadline_ms,
                  struct error *err);
/* The same where neither a signal nor a failure may cut it short: at the end. */
int sim_loop_finish(struct sim_loop *loop, const bool *done, struct error *err);
/* Something ended that must not: the wait under way and all later ones return this. */
void sim_loop_fail(struct sim_loop *loop, const struct error *why);
