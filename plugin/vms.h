/*
 * vms.h - the table of VMs, and the questions everybody asks of one
 */
#pragma once

#include <stdbool.h>

#include "plugin/hookd.h"
#include "plugin/hostd.h"

struct vm *vms_find(struct hostd *hostd, const struct vm_uuid *uuid);
/* Found or made (nothing is written). ERROR_BUSY: VMS_MAX. */
int vms_add(struct hostd *hostd, const struct vm_uuid *uuid, struct vm **ret, struct error *err);
void vms_drop(struct vm *vm);
void vms_free(struct hostd *hostd);

/* Is this domain ours to care for: its marker, the host's manage=all, or an earlier enrolment. */
bool vms_wants(const struct hostd *hostd, const struct vm *vm, const struct domain *domain);

/* As an operator set it, else as this host's configuration says. */
enum lease_mode vm_mode(const struct vm *vm);
bool vm_is_strict(const struct vm *vm); /* no lease, no start */
/* Mode observe, and not in a run that has a lease from before: nothing is done, nothing refused. */
bool vm_is_observed(const struct vm *vm);
/* Does it run, begin to run, or is it provisioned: the lease is to be kept. */
bool vm_needs_lease(const struct vm *vm);
/* It comes by migration, and its memory has not arrived. */
bool vm_is_incoming(const struct vm *vm);
/* A restore or an incoming migration was announced lately: its disk belongs to a memory we do not see. */
bool vm_memory_comes(const struct vm *vm);
bool vm_is_enrolled(const struct vm *vm); /* its account step is done */
/*
 * The newest hand-over of which we may say that it is over.  That there is no job ends one, so libvirt must have been
 * looked at since it was heard of: a daemon that has just started knows its number, and no job yet.  0: none.
 */
uint64_t vm_hand_over_judged(const struct vm *vm);
/* It came here lately by a migration that the service has not heard of: its guest has no epoch to prove itself in. */
bool vm_waits_for_source(const struct vm *vm, int64_t now_ms);
/* The service granted it: a paused rest that somebody let go on is the VM again. Not saved yet. */
void vm_begin_epoch(struct vm *vm, uint64_t e);
/* In short, for lists: "running", "off", "starting", "provisioning", "incoming". */
const char *vm_state_word(const struct vm *vm);

/*
 * Write the record.  After a failed write nothing more is acknowledged by this process: it says
 * so and ends the loop (a restart reads what is really there).
 */
void vm_save(struct vm *vm);

/*
 * The verdict of a hook that waits.  Not after a failed write: the hook then takes us for silent, goes by its own rule
 * (a strict VM does not start) and leaves its mark for the next process.
 */
void vm_answer_hook(const struct vm *vm, struct hook_call *call, enum hook_verdict verdict, const char *reason);

/* Epoch to sign in now, or 0 with a reason word. */
uint64_t vm_may_sign(const struct vm *vm, int64_t now_ms, const char **ret_reason);
