/*
 * sim_put_back.h - a VM of sim_stepper.h with its host, to which a state of one step before is put back
 */
#pragma once

#include "tests/unit/sim_stepper.h"

struct sim_put_back {
    struct sim_host h;
    struct sim_stepper s;
    struct key *old, *now;
    uint8_t old_x[32], now_x[32];
};

/* Enrolled with what it `has`; nothing has stepped. */
void sim_put_back_begin(struct sim_put_back *c, int has);
/* With TPM and secret, stepped twice, and what was after the first step put back: the key, the index, both. */
void sim_put_back_new(struct sim_put_back *c, bool key, bool x);
void sim_put_back_clear(struct sim_put_back *c);
#define sim_put_back_clear_at sim_put_back_clear

/* Another run, in which both step. */
void sim_put_back_run(struct sim_put_back *c);
/* From now on it shows the old key, the old index. */
void sim_put_back_show(struct sim_put_back *c, bool old_key, bool old_x);
/* Its proof is refused as that. */
void sim_put_back_refused(struct sim_put_back *c, const char *problem);
int64_t sim_put_back_gen(const struct sim_put_back *c);

struct key *sim_key_copy(const struct key *key);
