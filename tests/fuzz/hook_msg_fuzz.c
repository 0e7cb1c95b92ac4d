#include "config.h"

#include <stddef.h>
#include <stdint.h>

#include "lib/wire/hook_msg.h"

int LLVMFuzzerTestOneInput(const uint8_t *bytes, size_t len);

/* A request as the daemon reads it, and an answer as the hook reads it. */
int
LLVMFuzzerTestOneInput(const uint8_t *bytes, size_t len)
{
    char reason[HOOK_REASON_MAX + 1];
    enum hook_verdict verdict;
    struct hook_msg msg;
    struct error err;
    bool done;

    if (hook_msg_decode(bytes, len, &msg, &done, &err) == 0 && done) {
        (void)hook_op_waits(msg.op);
        (void)hook_op_known(msg.op);
    }
    (void)hook_answer_decode((const char *)bytes, len, &verdict, reason, &err);
    return 0;
}
