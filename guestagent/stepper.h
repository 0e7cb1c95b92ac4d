/*
 * stepper.h - the guest's half of the two ratchets: steps G0, G1 and G4b of docs/PROTOCOL-proof.md, 3
 *
 * What is kept here lives in this process alone: that the next key is fresh (made by it, in this run), that x
 * is durable, that this run has its token.  v is never kept anywhere.
 * Not here: files (slots.h), messages (prover.h), the service's half (tokenservice/attest/ratchet.h).
 */
#pragma once

#include <stdbool.h>
#include <stdint.h>

#include "guestagent/guest_channel.h"
#include "guestagent/slots.h"
#include "lib/common/error.h"
#include "lib/tpm/tpm_device.h"
#include "lib/wire/proof_msg.h"

/* All zero: a process that begins. */
struct stepper {
    uint64_t epoch;  /* of the run */
    bool done;       /* it has its token: no next key is made until the service asks for one */
    bool synced;     /* the host has made the vTPM durable since x last changed */
    bool has_fresh;
    uint8_t fresh[65]; /* the next key, made by us in this run ... */
    uint32_t reset_count, restart_count; /* ... of the TPM */
};

/* G0: with another epoch a new run begins, and what the slots are now is made durable. */
int stepper_begin(struct stepper *s, struct slots *slots, uint64_t epoch, struct error *err);

/*
 * G1: a next key, where there is none; `tpm` may be NULL.  Durable when this returns; *ret_new is the slot, to be
 * shown with stepper_made() when its point is known.
 */
int stepper_make(struct stepper *s, struct slots *slots, const struct greeting *greeting,
                 struct tpm_device *tpm, struct secret **ret_new, struct error *err);
void stepper_made(struct stepper *s, const uint8_t point[static 65]);

/* May a proof with this next key say that it is fresh? */
bool stepper_is_fresh(const struct stepper *s, const uint8_t point[static 65]);
/* The TPM counts as it did when the next key was made. If not, the next key is fresh no more. */
bool stepper_same_run(struct stepper *s, uint32_t reset_count, uint32_t restart_count);

/* RESOLVE: a step is to be made. TOKEN: it is made. */
void stepper_resolved(struct stepper *s);
void stepper_finished(struct stepper *s);

/*
 * G4b: if x is `from`, extend it by v, once.  ERROR_INPUT: v does not lead from `from` to `to`.  Afterwards x
 * is not durable (s->synced).
 */
int stepper_extend(struct stepper *s, struct tpm_device *tpm, const struct answer *extend,
                   struct error *err);
