/*
 * priv_worker.h - the injection worker's process: started, talked to, ended with all that it started
 */
#pragma once

#include <stdbool.h>
#include <stdint.h>
#include <sys/types.h>

#include "lib/common/error.h"
#include "lib/wire/inject_msg.h"
#include "plugin/priv/priv_open_image.h"
#include "plugin/priv/priv_settings.h"

struct priv_worker {
    pid_t pid;  /* 0: none; leads its own process group */
    int pidfd;  /* readable when it ended */
    int socket; /* seqpacket */
};
#define PRIV_WORKER() ((struct priv_worker){ .pidfd = -1, .socket = -1 })

/* Under inject_user, with the payload and the image as descriptors; the job is sent. */
int priv_worker_start(const struct priv_settings *s, const struct inject_msg *job, int payload,
                      const struct priv_image *image, struct priv_worker *ret, struct error *err);

/* One packet, with a descriptor if `fd` >= 0. */
int priv_worker_send(const struct priv_worker *w, const struct inject_msg *m, int fd,
                     struct error *err);
/* ERROR_MISSING: it closed its end. */
int priv_worker_receive(const struct priv_worker *w, struct inject_msg *ret, struct error *err);

/* SIGKILL to its whole group; priv_worker_reap() is next. */
void priv_worker_kill(const struct priv_worker *w);

/*
 * Wait for it and for everything it left behind (we are the subreaper: whatever escaped its group
 * is our child now).  Afterwards nothing of it runs, and *w is empty.
 */
void priv_worker_reap(struct priv_worker *w);

/* Have it build its appliance; only pid and pidfd are set. */
int priv_worker_prepare(const struct priv_settings *s, struct priv_worker *ret, struct error *err);
/* Is there an appliance of an earlier build? (The worker finds out itself whether it is too old.) */
bool priv_worker_is_prepared(const struct priv_settings *s);

/* Remove what a killed worker left in its folder, as inject_user. */
void priv_worker_clean(const struct priv_settings *s);

/* "kvm" or "tcg", by running the probe as inject_user; "tcg" when it cannot tell. */
void priv_worker_probe(const struct priv_settings *s, char ret_accel[static 8]);

/* cache_dir of root, and in it the worker's folder of inject_user. */
int priv_worker_cache(const struct priv_settings *s, struct error *err);
