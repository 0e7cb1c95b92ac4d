/*
 * vtpm.h - a new vTPM state, made aside: EKs, their certificates, the NV index
 *
 * Runs swtpm (as we are: never root in virtid-hostd) on a folder of its own and speaks to it over
 * sockets in that folder.  No existing state is touched: whether a VM has one, and putting
 * the new one in its place, is virtid-privd's (PLACE_VTPM).
 */
#pragma once

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "lib/common/error.h"
#include "lib/tpm/tpm_data.h"
#include "lib/wire/vm_uuid.h"

enum { VTPM_EK_MAX = 512, VTPM_PATH_MAX = 200, VTPM_CERT_MAX = 2048 };

/*
 * The certificate of an EK (its TPMT_PUBLIC), DER, at most VTPM_CERT_MAX bytes.
 * -1: can not be had now; it is then left out, and making goes on.
 */
typedef int vtpm_certify(void *self, const struct vm_uuid *uuid, const uint8_t *ek, size_t ek_len,
                         uint8_t *ret_der, size_t *ret_len, struct error *err);

struct vtpm_made {
    char path[VTPM_PATH_MAX];    /* of tpm2-00.permall, durable */
    uint8_t ek[VTPM_EK_MAX];     /* TPMT_PUBLIC of the P-384 EK */
    size_t ek_len;
    uint8_t x0[32];              /* content of the NV index */
    bool ek_cert;                /* the P-384 EK has its certificate */
};

/*
 * Make a state for `uuid` in folder/<uuid>/, which is wiped first: what a crash left there is
 * never used.  `folder` exists and is ours; at most 55 characters, because sockets lie below it
 * (unix(7): 107).  `swtpm`: the program; NULL for the one found at build time.  `certify` may be NULL.
 * swtpm has `limit_ms` to get ready, then each answer of its at most half a minute (tpm_device.h).
 * On failure nothing is left in folder/<uuid>/.
 */
int vtpm_make(const char *folder, const struct vm_uuid *uuid, const char *swtpm,
              vtpm_certify *certify, void *self, int64_t limit_ms, struct vtpm_made *ret,
              struct error *err);

/* Remove folder/<uuid>/ and what is in it; not being there is fine. */
int vtpm_forget(const char *folder, const struct vm_uuid *uuid, struct error *err);
