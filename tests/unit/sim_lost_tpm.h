/*
 * sim_lost_tpm.h - a VM of api_fixture.h whose TPM was lost with its host, or on the way to another
 */
#pragma once

#include "tests/unit/sim_stepper.h"

/* Hosts "a", where the VM runs and has stepped, "b" and "c"; from the loss on, its old TPM and the key that was in it. */
struct sim_lost {
    struct sim_host a, b, c;
    struct sim_stepper s;
    struct soft_tpm old_tpm;
    struct key *old_key;
};
void sim_lost_new(struct sim_lost *g);
void sim_lost_clear(struct sim_lost *g);
#define sim_lost_clear_at sim_lost_clear

/* An EK of nobody else. */
void sim_lost_ek(struct soft_tpm *tpm);
/* It is off, and its TPM is gone: what the VM has now is what a start without one would make. */
void sim_lost_happens(struct sim_lost *g);
/* The old TPM and its key for the new ones; once more, and back. */
void sim_lost_is_back(struct sim_lost *g);

/* `virtid place --new-vtpm`; with what else is in the body, and nobody asked first. Status. */
int sim_lost_place(struct sim_lost *g, struct sim_host *h);
int sim_lost_post_place(const struct sim_vm *vm, const struct sim_host *h, json_t *take_body);
/* A start there, which has the lease. */
void sim_lost_begin(struct sim_stepper *s, struct sim_host *h);
void sim_lost_placed(struct sim_lost *g, struct sim_host *h); /* both */
/* What its host's daemon says: the TPM that it made; no secret of this VM's is its to make. Status. */
int sim_lost_tell(struct sim_vm *vm, struct sim_host *h);
/* ACTIVATE, RESOLVE, then a step as in each run: asserts all of it. */
void sim_lost_proves(struct sim_lost *g, struct sim_host *h);

int64_t sim_lost_gen(const struct sim_vm *vm);
bool sim_lost_answer_has(const char *text);
bool sim_lost_audit_has(const char *text);
