/*
 * http_worker.h - one thread that does the work, one after the other, and two bounded queues before it
 *
 * Urgent jobs have three turns of four, so that a flood of one kind does not stop the other.
 * A job is run on the worker thread and then handed back to the loop thread; one that has to wait for
 * another is parked meanwhile.
 * Not here: what a job is (http_connection.c, http_server_post()).
 */
#pragma once

#include <stdbool.h>
#include <stdint.h>

#include "lib/common/cleanup.h"
#include "lib/common/error.h"

struct event_base;
struct http_worker;

struct http_job {
    void (*run)(struct http_job *job);  /* on the worker thread */
    void (*done)(struct http_job *job); /* on the loop thread; frees the job */
    void (*drop)(struct http_job *job); /* never run: the worker ends; frees the job */
    bool urgent;                        /* first, and not shed for what is not */
    unsigned park_ms;                   /* set by run(): run me again after so long, or when woken */
    const char *park_key;               /* by this name; valid as long as it is parked */
    int64_t until_ms;                   /* the worker's own, as are the next two */
    bool told;
    struct http_job *next;
};

int http_worker_new(struct event_base *base, struct http_worker **ret, struct error *err);
/* Waits for the running job, calls done() for it, drops the rest. Loop thread. */
void http_worker_free(struct http_worker *worker);
DEFINE_CLEANUP(struct http_worker *, http_worker_free);

/* From any thread. False: its queue is full; the job stays the caller's. */
bool http_worker_add(struct http_worker *worker, struct http_job *job);
/* Run each parked job again, now, and each that is parked from here on once more at once: its run() can see that it is
 * the end.  From any thread. */
void http_worker_drain(struct http_worker *worker);
/* Run the parked jobs of this key again, now. From any thread. */
void http_worker_wake(struct http_worker *worker, const char *key);
