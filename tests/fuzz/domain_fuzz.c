#include "config.h"

#include <stddef.h>
#include <stdint.h>

#include "plugin/domain/domain.h"

int LLVMFuzzerTestOneInput(const uint8_t *bytes, size_t len);

int
LLVMFuzzerTestOneInput(const uint8_t *bytes, size_t len)
{
    struct domain domain;
    struct error err;

    (void)domain_parse((const char *)bytes, len, &domain, &err);
    return 0;
}
