/*
 * provision_steps.h - the steps of provisioning one VM, in a worker thread
 *
 * Works on copies: nothing of the daemon's state is touched but through `note`,
 * which journals a step in the main loop and returns when it is durable.
 */
#pragma once

#include <stdatomic.h>
#include <stdbool.h>
#include <stdint.h>

#include "plugin/domain/domain.h"
#include "plugin/hostd.h"
#include "plugin/journal.h"

struct provision_work {
    struct hostd_settings settings;        /* as they were when it began; their texts stay for the process's life */
    struct vm_record record;               /* steps, ek, x0, point: changed here, copied by note() */
    struct domain domain;
    uint64_t e;
    bool running;                          /* the VM runs: account only */
    bool inside_start;                     /* what does not fit is skipped, not retried */
    int64_t deadline_ms;                   /* for everything but a write under way */
    atomic_bool hurry;
    bool lease_lost;                       /* set by note(): no lease, no write */
    void (*note)(void *context);
    void *context;
};

/* A number for the name and format of the disk that a secret goes into; 0: there is none. */
uint64_t provision_disk_number(const struct domain *domain);

/*
 * What would be done while the VM is off, into steps vtpm and inject of work->record: DONE would be, SKIPPED
 * would not, FAILED can not be said.  Touches nothing; needs settings, record and domain only.
 */
void provision_steps_foresee(struct provision_work *work);

/* -1 with *err: to be tried again later.  Skips are no failure. */
int provision_steps_run(struct provision_work *work, struct error *err);
