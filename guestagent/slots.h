/*
 * slots.h - the VM's secret on this disk: cur, new, inject, in an order that survives any crash
 *
 * Files of <state_dir>/slots (0600 in 0700): docs/PROTOCOL-proof.md, 3, steps G0 to G4.  A slot that names
 * another UUID is never used: it is set aside (NAME.other), and wiped when the service has accepted this
 * VM's own (slots_forget_others), or put back when that UUID is greeted again.
 * Used by one thread; the folder is locked against a second agent.
 */
#pragma once

#include <stdbool.h>
#include <stdint.h>

#include "lib/common/cleanup.h"
#include "lib/common/error.h"
#include "lib/common/secret.h"
#include "lib/wire/slot.h"
#include "lib/wire/vm_uuid.h"

enum slot_name { SLOT_CUR, SLOT_NEW };

struct slots;

/*
 * G0 and G0a: take the lock, remove leftovers, `inject` becomes `cur`, everything durable.
 * ERROR_BUSY: another agent holds the lock.
 */
int slots_open(const char *state_dir, struct slots **ret, struct error *err);
void slots_close(struct slots *slots);
DEFINE_CLEANUP(struct slots *, slots_close);

/* Told of each file that is gone now. */
typedef void (*slots_removed)(void *context, const char *name);
/*
 * For a template: every secret here, injected, set aside or damaged ones too, is overwritten and removed; durable
 * when this returns.  The folder stays locked until *ret is closed.  Where no agent ever was: 0, *ret NULL.
 * ERROR_BUSY: an agent runs.  ERROR_DENIED: there is a folder among the slots, or it is not this user's alone.
 */
int slots_seal(const char *state_dir, slots_removed removed, void *context, struct slots **ret,
               struct error *err);

/*
 * This VM is `uuid`: slots of another one are set aside (*ret_foreign tells), those of this one that
 * were set aside come back.
 */
int slots_claim(struct slots *slots, const struct vm_uuid *uuid, bool *ret_foreign,
                struct error *err);
/* The service accepted us: what was set aside is overwritten and removed. */
int slots_forget_others(struct slots *slots, struct error *err);

/* The encoded slot, checked. ERROR_MISSING: there is none; ERROR_INPUT: damaged. */
int slots_read(struct slots *slots, enum slot_name which, struct secret **ret,
               struct error *err);
/*
 * A fresh `cur` or `new` where there is none: kind SLOT_UNIQUE or SLOT_PRIVATE; durable when this returns.
 * `session`: of the greeting it is made in, so that it is another also where random numbers come again.
 */
int slots_make(struct slots *slots, enum slot_name which, uint8_t kind,
               const struct vm_uuid *uuid, uint64_t session, struct error *err);
/* G0 in a running agent: what the slots hold now is durable when this returns. */
int slots_sync(struct slots *slots, struct error *err);
/* A `cur` that can not be read is set aside as cur.bad. */
int slots_set_bad_aside(struct slots *slots, struct error *err);
/* G4a: keep = SLOT_NEW: rename new to cur; SLOT_CUR: unlink new.  Durable when this returns. */
int slots_resolve(struct slots *slots, enum slot_name keep, struct error *err);
