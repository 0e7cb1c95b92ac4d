/* A slot as it may lie on a disk. */
#include "config.h"

#include <stddef.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>

#include "lib/wire/slot.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

int
LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    uint8_t again[SLOT_MAX];
    struct error err = { 0 };
    struct slot s;

    if (slot_decode(data, size, &s, &err) == 0 &&
        (slot_encode(&s, again) != size || memcmp(again, data, size) != 0))
        abort();
    return 0;
}
