#include "config.h"

#include "lib/wire/priv_msg.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

int
LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    struct priv_answer a;
    struct error err;

    (void)priv_answer_decode(data, size, &a, &err);
    return 0;
}
