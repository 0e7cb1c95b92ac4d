/*
 * ratchet.h - the two ratchets of a VM: what a proof that passed C1 to C3 does to them
 *
 * Rows S1 to S6 and check C4 of docs/PROTOCOL-proof.md, 4, as tests/model/ratchet.pml has them (its
 * `service()`), on plain values.  Disk (key) and vTPM (index) are two ratchets in one row; which of them a VM
 * has are its `halves`.
 *
 * Not here: whether the proof is one (proof_check.h), and what is stored (api).
 */
#pragma once

#include <stdbool.h>
#include <stdint.h>

#include "lib/common/error.h"
#include "lib/wire/proof_msg.h"
#include "tokenservice/attest/grant.h"

enum { RATCHET_KEY = 1, RATCHET_INDEX = 2 };

/* The service's half of it. All zero: a VM that has shown neither. */
struct ratchet {
    bool on; /* for good, once an agent that can step has proved itself */
    bool has_cur, has_x;
    uint8_t cur[65], xcur[32];
    bool has_next, has_xnext; /* a step is under way */
    uint8_t next[65], xnext[32];
    uint8_t v[32]; /* zero unless xnext is there */
    struct proof_run pend_run, done_run;
    struct grant grant; /* an operator's word; ends with any accepted proof */
};

/* What a proof shows. */
struct ratchet_shown {
    bool has_cur, has_new, has_x, fresh;
    uint8_t cur[65], new_[65], x[32];
    struct proof_run run;
};

struct ratchet_answer {
    enum answer_type type; /* ANSWER_TOKEN, _RESOLVE or _EXTEND */
    bool has_kid;
    uint8_t kid[32];  /* of TOKEN and RESOLVE: SHA-256 of the current point */
    uint8_t from[32]; /* of EXTEND, with v and xnext of the ratchet */
    unsigned stepped; /* of TOKEN: the halves that have stepped in this run */
    bool completed;   /* this very proof finished a step */
};

/* C4, each half. */
bool ratchet_key_fits(const struct ratchet *r, const struct ratchet_shown *shown);
bool ratchet_index_fits(const struct ratchet *r, const struct ratchet_shown *shown);

/*
 * The proof did not pass C4 in the halves `behind`, and the grant lets it in: these are what it shows from now
 * on, the others are settled as in S2, nothing is pending, and no run has stepped.  ratchet_step() follows.
 */
void ratchet_accept(struct ratchet *r, unsigned behind, const struct ratchet_shown *shown);

/*
 * One proof that passed C4 in each of `halves`; a grant has ended with it.  `random`: 32 bytes that nobody knows,
 * taken as v if a step begins.  -1: out of memory or crypto; *r is then not to be stored.
 */
int ratchet_step(struct ratchet *r, unsigned halves, const struct ratchet_shown *shown,
                 const uint8_t random[static 32], struct ratchet_answer *ret, struct error *err);

bool proof_run_equal(const struct proof_run *a, const struct proof_run *b);
