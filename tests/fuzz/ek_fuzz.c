/*
 * ek_fuzz.c - an EK's public area, as a guest or a host sends it
 */
#include "config.h"

#include <stdlib.h>

#include "lib/tpm/tpm_data.h"

int LLVMFuzzerTestOneInput(const uint8_t *bytes, size_t len);

int
LLVMFuzzerTestOneInput(const uint8_t *bytes, size_t len)
{
    CLEANUP(buf_clear) struct buf spki = BUF(1024);
    struct credential_ek ek;
    struct error err;

    if (tpm_ek_check(bytes, len, &ek, &err) < 0)
        return 0;
    if (len > 512)
        abort();
    /* What made a point good makes it good again; of a modulus OpenSSL asks SP 800-56B's test, with random bases. */
    if (tpm_ek_spki(&ek, &spki, &err) < 0 && ek.kind != CREDENTIAL_EK_RSA2048)
        abort();
    return 0;
}
