#include "config.h"

#include <assert.h>

#include "lib/wire/lease_msg.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

/* What decodes also encodes, and decodes again to the same. */
int
LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    CLEANUP(buf_clear) struct buf b = BUF(JSON_TEXT_MAX);
    static struct lease_report r, again;
    static struct lease_result results[LEASE_VMS_MAX];
    struct lease_pull pull, pulled;
    struct error err;
    size_t n;

    if (lease_pull_decode((const char *)data, size, &pull, &err) == 0) {
        assert(lease_pull_encode(&pull, &b, &err) == 0);
        assert(lease_pull_decode((const char *)b.data, b.len, &pulled, &err) == 0);
        assert(pulled.pull == pull.pull && pulled.n == pull.n);
        buf_clear(&b);
    }
    if (lease_report_decode((const char *)data, size, &r, &err) == 0) {
        assert(lease_report_encode(&r, &b, &err) == 0);
        assert(lease_report_decode((const char *)b.data, b.len, &again, &err) == 0);
        assert(again.n_vms == r.n_vms && again.seq == r.seq);
    }
    if (lease_results_decode((const char *)data, size, results, LEASE_VMS_MAX, &n,
                             &err) == 0) {
        buf_clear(&b);
        assert(lease_results_encode(results, n, &b, &err) == 0);
    }
    return 0;
}
