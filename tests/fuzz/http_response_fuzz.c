#include "config.h"

#include <assert.h>
#include <stddef.h>
#include <stdint.h>

#include "lib/wire/http_message.h"

int LLVMFuzzerTestOneInput(const uint8_t *bytes, size_t len);

int
LLVMFuzzerTestOneInput(const uint8_t *bytes, size_t len)
{
    static struct http_message m;
    struct error err = { 0 };
    bool done;

    if (http_parse(bytes, len, false, HTTP_BODY_MAX, &m, &done, &err) < 0 || !done)
        return 0;
    assert(m.status >= 200 && m.status <= 599);
    assert(m.head_len + m.body_len <= len);
    assert(http_retry_after(http_header(&m, "retry-after")) <= HTTP_RETRY_MAX);
    return 0;
}
