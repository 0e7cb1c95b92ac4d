/*
 * service_work.h - the token service of a folder, for work that is cut at each of its calls (fault_run.h)
 *
 * The endpoints, the store and a signer's thread in one process that is forked for each call; hosts and VMs are of
 * the test's own memory, as in tests/unit/api_*_test.c.
 */
#pragma once

#include "tests/unit/api_fixture.h"

/* The service of `folder` and its signer; *seq is the newest number of its hosts' reports. */
int service_work_open(const char *folder, uint64_t *seq, struct error *err);
/* In order: what is closed has been answered. */
void service_work_close(uint64_t *seq);

/* A process may not fork beside the signer's thread: `prepare` of a case ends with this. */
void service_work_end_prepare(void);

/* Of a group of tests. */
int service_work_set_up(void **state);
int service_work_tear_down(void **state);
