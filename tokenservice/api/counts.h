/*
 * counts.h - what the service has answered since it started, in numbers
 *
 * Counted by the worker, which makes every answer, and read by it: no lock, no atomic.
 * All tables are as long as what they count has names; nothing in them is of a VM.
 * Not here: what there is now (store_totals()), and the page (api_metrics.c).
 */
#pragma once

#include <stdbool.h>
#include <stdint.h>

#include "lib/common/error.h"
#include "lib/common/metrics.h"
#include "lib/wire/lease_msg.h"
#include "lib/wire/problem.h"
#include "lib/wire/proof_msg.h"

enum { COUNT_LISTENERS = 8, COUNT_FACTORS = 4 };

struct counts {
    uint64_t proofs[ANSWER_ACTIVATE + 1];  /* that were taken, by enum answer_type */
    uint64_t proofs_refused, refused[PROBLEMS_MAX]; /* by the place in problem_table() */
    uint64_t tokens[2][COUNT_FACTORS];     /* bearer and bound; by the guest's factors: 1 vtpm, 2 secret */
    uint64_t leases[LEASE_OP_ASK + 1][LEASE_RETIRED + 1];
    uint64_t refusals[COUNT_LISTENERS][PROBLEMS_MAX]; /* by enum route_listener, proofs too */
    struct histogram took[COUNT_LISTENERS];
};

void counts_proof(struct counts *counts, enum answer_type answer, bool bound, uint8_t factors);
/* Always -1. */
int counts_proof_refused(struct counts *counts, const struct error *why);
void counts_refusal(struct counts *counts, unsigned listener, const struct error *why);
void counts_leases(struct counts *counts, enum lease_op op, const struct lease_result *results, size_t n);

/* The place in `tokens`, and its name: "host", "host+vtpm", "host+secret", "host+vtpm+secret". */
size_t counts_factors_place(uint8_t factors);
const char *counts_factors_name(size_t place);
const char *counts_answer_name(enum answer_type answer); /* "token", "resolve", "extend", "activate" */
