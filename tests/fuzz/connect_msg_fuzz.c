#include "config.h"

#include <assert.h>
#include <string.h>

#include "lib/wire/connect_msg.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

int
LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    static struct connect_answer answer;
    CLEANUP(buf_clear) struct buf again = BUF(CONNECT_MSG_MAX + 2);
    struct connect_ask ask;
    struct error err;
    bool done;

    if (connect_ask_decode(data, size, &ask, &done, &err) == 0 && done) {
        assert(connect_ask_encode(&ask, &again, &err) == 0);
        assert(again.len == size && memcmp(again.data, data, size) == 0);
    }
    again.len = 0;
    if (connect_answer_decode(data, size, &answer, &done, &err) == 0 && done) {
        assert(connect_answer_encode(&answer, &again, &err) == 0);
        assert(again.len == size && memcmp(again.data, data, size) == 0);
    }
    return 0;
}
