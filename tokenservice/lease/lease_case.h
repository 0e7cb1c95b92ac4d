/*
 * lease_case.h - what a lease's record means to an operator, and what settles it
 *
 * docs/PROTOCOL-lease.md, 6: the awkward cases have the names of that table (K1 to K7), and `repair` is
 * its command.  Pure, as the record is.
 *
 * Not here: which of the service's words about a VM are shown beside it (api/vm_show.c).
 */
#pragma once

#include "tokenservice/lease/lease_record.h"

enum { LEASE_CASE_TEXT = 240 };

struct lease_case {
    const char *state; /* "ok", "waiting", "moving", "lapsed", "doubt", "unproved", "left", "refused", "no right" */
    const char *name;  /* "K1" ..., or "" where the table has no number for it */
    char seen[LEASE_CASE_TEXT], repair[LEASE_CASE_TEXT];
    const char *expected;
};

/* The record as a whole. */
void lease_case(const struct lease_record *r, const struct lease_now *now, struct lease_case *ret);
/* What the host at place `i` of r->seen says, where lease_case() has not told it all; false: nothing to add. */
bool lease_case_other(const struct lease_record *r, size_t i, struct lease_case *ret);
