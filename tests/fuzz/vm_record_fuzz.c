#include "config.h"

#include <stddef.h>
#include <stdint.h>

#include "plugin/journal.h"

int LLVMFuzzerTestOneInput(const uint8_t *bytes, size_t len);

int
LLVMFuzzerTestOneInput(const uint8_t *bytes, size_t len)
{
    struct vm_record record;
    struct error err;

    (void)vm_record_decode((const char *)bytes, len, &record, &err);
    return 0;
}
