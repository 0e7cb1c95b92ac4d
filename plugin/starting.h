/*
 * starting.h - a VM is about to start: may it, and with which lease?
 *
 * prepare, migrate and restore.  Nothing here waits for libvirt: its hook waits for us.
 */
#pragma once

#include "plugin/hookd.h"
#include "plugin/hostd.h"

/* Exactly one hook_call_answer() follows, now or later. */
void starting_begin(struct hostd *hostd, struct hook_call *call, const struct hook_msg *msg);

/* The provisioning that a start waited for is over; the lease is still held if vm->record.e. */
void starting_provisioned(struct vm *vm);
