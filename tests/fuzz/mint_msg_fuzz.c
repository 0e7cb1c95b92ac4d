#include "config.h"

#include <assert.h>
#include <stddef.h>
#include <stdint.h>
#include <string.h>

#include "tokenservice/mint/mint_msg.h"

int LLVMFuzzerTestOneInput(const uint8_t *bytes, size_t len);

/* A request that decodes encodes to the same bytes; answers and info only have to hold
 * their bounds. */
int
LLVMFuzzerTestOneInput(const uint8_t *bytes, size_t len)
{
    CLEANUP(buf_clear) struct buf again = BUF(MINT_PACKET_MAX);
    struct mint_request request;
    static struct mint_info info;
    static struct mint_keys keys;
    struct audit_head head;
    struct error err = { 0 };
    const uint8_t *rest;
    size_t rest_len;
    bool broken;

    if (mint_request_decode(bytes, len, &request, &err) == 0) {
        assert(mint_request_encode(&request, &again, &err) == 0);
        assert(again.len == len && memcmp(again.data, bytes, len) == 0);
    }
    if (mint_answer_decode(bytes, len, &rest, &rest_len, &broken, &err) == 0)
        assert(rest + rest_len == bytes + len);
    (void)mint_info_decode(bytes, len, &info, &err);
    (void)mint_head_decode(bytes, len, &head, &err);
    if (mint_keys_decode(bytes, len, &keys, &err) == 0)
        assert(keys.n <= MINT_KEYS_MAX);
    return 0;
}
