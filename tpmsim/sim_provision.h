/*
 * sim_provision.h - what the host does to a simulated VM before its first start
 *
 * As plugin/provision_steps.c with a real one: a TPM state with EK certificates, a
 * secret and the trust bundle on the disk, an account.  What exists is never replaced;
 * repeats go on where it ended.
 */
#pragma once

#include <stdbool.h>
#include <stdint.h>

#include "plugin/enroll/host_identity.h"
#include "tpmsim/sim_host.h"
#include "tpmsim/sim_record.h"

struct sim_provision {
    const char *folder; /* of the VM; the TPM state lies in folder/<uuid>/ */
    const char *record_path;
    struct sim_record *record;
    const char *swtpm; /* NULL: the one found at build time */
    uint64_t epoch;    /* of the lease that the host holds */
    bool no_tpm, no_secret;
};

/* Is there a TPM state for the record's UUID? */
bool sim_provision_has_tpm(const struct sim_provision *p);
int sim_provision_run(struct sim_host *host, const struct sim_provision *p,
                      struct error *err);
