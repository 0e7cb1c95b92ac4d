/*
 * alloc_fault.h - allocations of this thread that fail: the n-th, or all from the n-th on
 *
 * A test that links alloc_fault.c has malloc() and its kin in front of everybody's, libraries'
 * too. What lies behind them is the sanitizer's where there is one, so that a leak or a use of
 * what was not there is seen.
 */
#pragma once

#include <stdbool.h>

struct alloc_case {
    const char *name;
    /* 0 done, -1 refused; the same work each time. What it makes it frees. Only what it does between
     * alloc_fault_on() and alloc_fault_off() is counted and fails. */
    int (*work)(void);
    /* After each try; `done` as the work said. Fails by assertion. NULL: nothing to see. */
    void (*check)(bool done);
    unsigned every; /* the sample, where it is not that of all the others; 0: theirs */
    unsigned least; /* of long work: no sample is closer than this; 0: 1 */
};

void alloc_fault_on(void);
void alloc_fault_off(void);

struct alloc_counts {
    unsigned allocations, runs, violations;
};

/* Once without a fault, and then with each n, once and from there on. VIRTID_FAULTS_EVERY as in fault_run.h. */
struct alloc_counts alloc_fault_run(const struct alloc_case *c);
