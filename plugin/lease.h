/*
 * lease.h - this host's half of PROTOCOL-LEASE: reports, acquires, ends
 *
 * Reports are the present state, repeated every 15 s and after each change;
 * an acquire is a report of one VM that a start waits for.
 */
#pragma once

#include "plugin/hostd.h"

enum lease_outcome {
    LEASE_GOT,     /* vm->record.e is the epoch */
    LEASE_REFUSED, /* held elsewhere: vm->holder, vm->answer */
    LEASE_NOBODY,  /* not joined, service down, no answer in time, grace, or it refused to speak with us */
};

/* Called in the main loop, exactly once. `why` is for the operator. */
typedef void lease_acquired(struct vm *vm, enum lease_outcome outcome, const char *why);

/* Take the lease.  Answered at once when the service is known to be down. */
void lease_claim(struct vm *vm, lease_acquired *done);

/* What would lease_claim() be answered?  Changes nothing, here or there; LEASE_GOT brings no epoch. */
void lease_ask(struct vm *vm, lease_acquired *done);

/*
 * It comes by migration: the source's host is asked by the service whether that is so.  LEASE_GOT: this host is a
 * candidate, and vm->record.e the epoch to sign in when it runs here.
 */
void lease_hand_over(struct vm *vm, lease_acquired *done);

/* The service wants to hear of this VM now (vm->pull), and libvirt was just looked at. */
void lease_answer_pull(struct vm *vm);
/* The same of a VM that is not managed here: it is not here. */
void lease_answer_unknown(struct hostd *hostd, const struct vm_uuid *uuid, uint64_t pull);

/* The run (or provisioning) of `vm` is over: journal it, give up the epoch, report. */
void lease_end(struct vm *vm, enum lease_view view);

/* Report what has changed, soon; everything every 15 s (lease_tick, once a second). */
void lease_report_soon(struct vm *vm);
void lease_tick(struct hostd *hostd, int64_t now_ms);
void lease_report_now(struct hostd *hostd);

/* What the service said of itself, for lists. */
const char *lease_service_word(const struct hostd *hostd);
