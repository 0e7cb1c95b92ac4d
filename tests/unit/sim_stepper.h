/*
 * sim_stepper.h - a VM of api_fixture.h whose agent can step: its key, the one it is about to step to, its TPM
 */
#pragma once

#include "tests/unit/api_fixture.h"

/* The one that a proof got last. */
extern struct answer the_answer;

struct sim_stepper {
    struct sim_vm vm;
    struct key *next;
};
void sim_stepper_clear(struct sim_stepper *s);
#define sim_stepper_clear_at sim_stepper_clear

/* A proof with the next key, which is made where there is none; `fresh`.  Status. */
int sim_stepper_prove(struct sim_stepper *s, const struct sim_host *h);
/* What the agent and its TPM do with EXTEND. */
void sim_stepper_extend(struct sim_stepper *s);
/* TOKEN: the next key is the current one. */
void sim_stepper_take(struct sim_stepper *s);
/* Both proofs of a run: asserts all of it. */
void sim_stepper_step(struct sim_stepper *s, const struct sim_host *h);

/* Does the token say that this factor has stepped? */
bool sim_says_fresh(const char *factor);
/* As `virtid info` has it. */
void sim_assert_shown(const struct sim_vm *vm, const char *member, const char *expected);
/* Of the newest proof, as `virtid why` has it. */
bool sim_why_says(const struct sim_vm *vm, const char *words);
