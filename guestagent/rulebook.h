/*
 * rulebook.h - the rules that hold now: workloads.conf as it was when it was last understood
 *
 * For any thread.  What is kept fresh and which files there are follows the rules.
 */
#pragma once

#include "guestagent/refresher.h"
#include "guestagent/token_files.h"
#include "guestagent/workloads.h"
#include "lib/common/conf.h"

struct rulebook;

struct rulebook_options { /* borrowed for ever */
    const char *path;        /* workloads.conf */
    const struct conf *conf; /* "agent.audiences" are kept fresh whatever the rules are */
    struct refresher *refresher;
    struct token_files *files;
};

/* Reads the rules.  A file that is not understood is no reason not to start: then the owner alone is served. */
int rulebook_new(const struct rulebook_options *options, struct rulebook **ret, struct error *err);
void rulebook_free(struct rulebook *book);
DEFINE_CLEANUP(struct rulebook *, rulebook_free);

/* Reads them again. -1: the rules of before hold, and rulebook_failure() says so too. */
int rulebook_reload(struct rulebook *book, struct error *err);
/* Why the last reading was not taken; code NONE: it was. */
void rulebook_failure(struct rulebook *book, struct error *ret);

/* ERROR_DENIED: `peer` may not have tokens for `audience`; NULL: for nobody. */
int rulebook_allow(struct rulebook *book, const struct peer *peer, const char *audience, struct error *err);
/* Calls `tell` for each audience that rules name for `peer`; for the owner: each that is named at all. */
void rulebook_list(struct rulebook *book, const struct peer *peer,
                   void (*tell)(void *context, const char *audience, bool has_file), void *context);
