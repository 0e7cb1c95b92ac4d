/*
 * observing.h - mode observe: nothing is refused and nothing written; what would have been is noted
 *
 * The service is asked what a claim would be answered (it changes nothing
 * there), privd whether a TPM state lies there, the XML whether the disk
 * would be written.  The hook never waits for any of it.
 *
 * Not here: the record (observed.h).
 */
#pragma once

#include "plugin/hostd.h"
#include "plugin/lease.h"

/* The hook was called for an operation that waits, and has had its `go`. */
void observing_operation(struct vm *vm, const char *op);
/* A start was let go; so the service would have answered it. */
void observing_answered(struct vm *vm, enum lease_outcome outcome, const char *why);
/* It is off: what would be done with it now?  Looked at once for each definition and mode. */
void observing_consider(struct vm *vm);
/* What an earlier run of the daemon noted. */
void observing_load(struct vm *vm);
void observing_forget(struct vm *vm);
