#include "config.h"

#include "tokenservice/api/counts.h"

#include <stddef.h>

size_t
counts_factors_place(uint8_t factors)
{
    return (factors & FACTOR_VTPM ? 1 : 0) + (factors & FACTOR_SECRET ? 2 : 0);
}

const char *
counts_factors_name(size_t place)
{
    static const char *const NAMES[COUNT_FACTORS] = { "host", "host+vtpm", "host+secret", "host+vtpm+secret" };

    return NAMES[place];
}

const char *
counts_answer_name(enum answer_type answer)
{
    static const char *const NAMES[] = { [ANSWER_TOKEN] = "token",
                                         [ANSWER_RESOLVE] = "resolve",
                                         [ANSWER_EXTEND] = "extend",
                                         [ANSWER_ACTIVATE] = "activate" };

    return NAMES[answer];
}

void
counts_proof(struct counts *c, enum answer_type answer, bool bound, uint8_t factors)
{
    c->proofs[answer]++;
    if (answer == ANSWER_TOKEN)
        c->tokens[bound][counts_factors_place(factors)]++;
}

int
counts_proof_refused(struct counts *c, const struct error *why)
{
    c->proofs_refused++;
    c->refused[problem_of(why) - problem_table()]++;
    return -1;
}

void
counts_refusal(struct counts *c, unsigned listener, const struct error *why)
{
    c->refusals[listener][problem_of(why) - problem_table()]++;
}

void
counts_leases(struct counts *c, enum lease_op op, const struct lease_result *results, size_t n)
{
    for (size_t i = 0; i < n; i++)
        c->leases[op][results[i].answer]++;
}
