#include "config.h"

#include <assert.h>
#include <stddef.h>
#include <stdint.h>
#include <string.h>

#include "lib/wire/http_message.h"

int LLVMFuzzerTestOneInput(const uint8_t *bytes, size_t len);

/* What was taken keeps its bounds, and a longer input does not change its meaning. */
int
LLVMFuzzerTestOneInput(const uint8_t *bytes, size_t len)
{
    static struct http_message m, again;
    struct error err = { 0 };
    char value[256];
    bool done;

    if (http_parse(bytes, len, true, HTTP_BODY_MAX, &m, &done, &err) < 0 || !done)
        return 0;
    assert(m.head_len + m.body_len <= len && m.body_len <= HTTP_BODY_MAX);
    assert(m.path[0] == '/' && http_header(&m, "host"));
    assert(!http_header(&m, "transfer-encoding"));
    (void)http_query(&m, "audience", value, sizeof value - 1, &err);
    assert(http_parse(bytes, m.head_len + m.body_len, true, HTTP_BODY_MAX, &again,
                      &done, &err) == 0 &&
           done && again.head_len == m.head_len && again.body_len == m.body_len);
    return 0;
}
