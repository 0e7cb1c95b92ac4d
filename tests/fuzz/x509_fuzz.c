#include "config.h"

#include <assert.h>

#include "lib/crypto/x509.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

/* A stranger's certificate trusts nobody: only a CA can be its own. */
int
LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    CLEANUP(buf_clear) struct buf der = BUF(X509_DER_MAX);
    struct x509_der itself = { data, size };
    struct x509_info info;
    struct error err;

    if (x509_read(data, size, &info, &err) == 0) {
        (void)x509_verify(data, size, X509_CA_HOST, &itself, 1, info.not_before, &info, &err);
        assert(x509_verify(data, size, X509_SERVER, &itself, 1, info.not_before, &info, &err) < 0);
    }
    (void)x509_from_pem((const char *)data, size, &der, &err);
    return 0;
}
