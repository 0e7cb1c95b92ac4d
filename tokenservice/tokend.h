/*
 * tokend.h - the token service's process: its parts put together, started and ended
 */
#pragma once

#include "lib/common/cleanup.h"
#include "lib/common/error.h"
#include "tokenservice/tokend_conf.h"

struct tokend;

/* As the service's user: backup.db, a copy of the database beside it, in the place of an earlier one.  A service may run. */
int tokend_copy_database(const struct tokend_conf *conf, struct error *err);

/*
 * Starts the signer, drops the privileges of root, opens the store, listens.  Nothing
 * is answered before tokend_run().  `conf` is borrowed for the life of *ret, and changed by SIGHUP.
 */
int tokend_new(struct tokend_conf *conf, struct tokend **ret, struct error *err);
/*
 * Until SIGTERM or SIGINT: 0, as soon as those who are connected have their answers, at most DRAIN_MS later or with the
 * next of these signals.  When the signer or the store is gone: -1.
 */
int tokend_run(struct tokend *tokend, int ready_fd, struct error *err);
/* Finishes what the worker has under way, ends the signer. */
void tokend_free(struct tokend *tokend);
DEFINE_CLEANUP(struct tokend *, tokend_free);
