/*
 * swtpm_run.h - one swtpm process on one state folder, over Unix sockets
 */
#pragma once

#include <stdint.h>

#include "lib/common/cleanup.h"
#include "lib/common/error.h"

struct swtpm_run;

/*
 * Start `program` (NULL: the one found at build time) on the state in `folder` (made if
 * empty), which also gets the sockets "s" and "s.ctrl"; wait until it answers.  The child dies
 * with us.  ERROR_BUSY: not ready by `deadline_ms` (clock_monotonic_ms).
 * `folder`: at most 100 characters (unix(7)).
 */
int swtpm_run_start(const char *program, const char *folder, int64_t deadline_ms,
                    struct swtpm_run **ret, struct error *err);

/* "swtpm:path=FOLDER/s": for tpm_open, TPM2TOOLS_TCTI and the like. */
const char *swtpm_run_tcti(const struct swtpm_run *run);
int swtpm_run_pid(const struct swtpm_run *run);

/* SIGTERM, and wait: the state is written.  Past the deadline it is killed: ERROR_BUSY. */
int swtpm_run_stop(struct swtpm_run *take_run, int64_t deadline_ms, struct error *err);
/* SIGKILL, wait, free. */
void swtpm_run_kill(struct swtpm_run *run);
DEFINE_CLEANUP(struct swtpm_run *, swtpm_run_kill);
