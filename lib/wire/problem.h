/*
 * problem.h - the stable names of refusals (RFC 9457 "type": urn:virtid:problem:NAME)
 *
 * One table: name, HTTP status, title, and what an operator can do about it.
 */
#pragma once

#include <stddef.h>

#include "lib/common/buf.h"
#include "lib/common/error.h"

enum { PROBLEMS_MAX = 160 }; /* entries, at most */

struct problem {
    const char *name;
    int status;
    const char *title;
    const char *repair; /* for `virtid why`; NULL if there is none */
};

/* NULL: unknown name. */
const struct problem *problem_find(const char *name);
/* Every entry; NULL-named end. */
const struct problem *problem_table(void);

/* That of err->problem, or of its code. */
const struct problem *problem_of(const struct error *err);
/* application/problem+json of problem_of(err); detail only when `detail` is not NULL. */
int problem_body(const struct error *err, const char *detail, struct buf *into);
/* The other way: a refusal read from a peer. Fills err with its code, problem and title; always -1. */
int problem_read(int status, const char *body, size_t len, struct error *err);
