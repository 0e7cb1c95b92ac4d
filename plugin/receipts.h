/*
 * receipts.h - what the service signed for us of each VM, kept for the day on which it has lost it
 *
 * docs/PROTOCOL-lease.md, Receipts.  The newest is in the VM's journal; each report names its versions, and a service
 * whose database is older asks to be shown it (`show`) before it takes in anything else of that VM.
 */
#pragma once

#include "plugin/hostd.h"

/* From an answer to a report. true: vm->record has changed, and is to be saved. */
bool receipts_take(struct vm *vm, const struct lease_result *result);

/* Show those that were asked for, some at a time; the VMs are reported again when that is done. */
void receipts_show(struct hostd *hostd);
