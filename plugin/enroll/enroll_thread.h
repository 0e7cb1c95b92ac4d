/*
 * enroll_thread.h - the one thread that talks lease with the token service
 *
 * Jobs are done one after the other, urgent ones (a start waits for them)
 * first, so reports leave in the order of their `seq`.  A job is answered
 * exactly once, also at the end.
 *
 * Not here: VMs. A job carries its report and gets its results.
 */
#pragma once

#include <stdbool.h>
#include <stddef.h>

#include "lib/common/cleanup.h"
#include "lib/common/error.h"
#include "lib/wire/lease_msg.h"
#include "plugin/enroll/enroll.h"

enum enroll_job_kind { ENROLL_JOB_REPORT, ENROLL_JOB_BUNDLE, ENROLL_JOB_RENEW, ENROLL_JOB_VM, ENROLL_JOB_RECEIPTS };

struct enroll_job {
    enum enroll_job_kind kind;
    bool urgent;
    long timeout_ms;
    int64_t sent_ms;                     /* clock_monotonic_ms just before it left */
    struct lease_report report;
    struct lease_result results[LEASE_VMS_MAX];
    size_t n_results;
    bool has_clock;                      /* of a report: ahead_ms was measured (enroll_clock) */
    int64_t ahead_ms;
    int64_t tokens_since_ms;             /* of a report: enroll_tokens_since() */
    uint64_t bundle_serial;              /* of a report: enroll_bundle_serial() */
    uint64_t after;                      /* of ENROLL_JOB_BUNDLE: what is held */
    uint8_t bundle[BUNDLE_MAX];
    size_t bundle_len;
    struct enroll_receipts *receipts;    /* of ENROLL_JOB_RECEIPTS; the job's owner's */
    struct vm_uuid uuid;                 /* of ENROLL_JOB_VM */
    uint64_t epoch;                      /* of its run here, 0 none: has another host it since a fence? */
    json_t *vm;                          /* what the service knows of it; the job's owner's */
    int failed;                          /* -1 with `error` */
    struct error error;
    void (*done)(struct enroll_job *take_job); /* called on the thread */
    void *context;
    struct enroll_job *next;
};

struct enroll_thread;

/* The identity is loaded from `state_dir`, and again when another one is stored there. */
int enroll_thread_start(const char *state_dir, struct enroll_thread **ret, struct error *err);
/* Waits for the request under way; jobs that are left fail with ERROR_BUSY. */
void enroll_thread_stop(struct enroll_thread *thread);
DEFINE_CLEANUP(struct enroll_thread *, enroll_thread_stop);
/* Takes the job. Any thread. */
void enroll_thread_submit(struct enroll_thread *thread, struct enroll_job *take_job);
