/*
 * fake_tpm.h - a TPM that has bad days: a proxy in front of a box that answers some commands itself
 *
 * FlushContext is always passed on: a TPM that can not even forget is no use to a test.
 */
#pragma once

#include <stdint.h>

#include "lib/common/cleanup.h"
#include "lib/common/error.h"
#include "tpmsim/swtpm_box.h"

enum fake_fault {
    FAKE_CODE,    /* answer with `code` */
    FAKE_GARBAGE, /* a header that promises 4 GiB */
    FAKE_CUT,     /* half a header, then the end */
    FAKE_SILENCE, /* no answer */
};

struct fake_plan {
    enum fake_fault fault;
    uint32_t code;        /* e.g. 0x922: TPM_RC_RETRY */
    uint32_t command;     /* only this command code; 0: any */
    unsigned after, times; /* spare the first `after` of them, then fault `times` */
};

struct fake_tpm;

/* The box's TPM, seen through a proxy process that dies with us. */
int fake_tpm_start(const struct swtpm_box *box, const struct fake_plan *plan,
                   struct fake_tpm **ret, struct error *err);
const char *fake_tpm_tcti(const struct fake_tpm *fake);
void fake_tpm_stop(struct fake_tpm *fake);
DEFINE_CLEANUP(struct fake_tpm *, fake_tpm_stop);
