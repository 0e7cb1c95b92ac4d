#include "config.h"

#include <assert.h>
#include <string.h>

#include "plugin/inject/qcow2_header.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

int
LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    struct qcow2_header h;
    struct error err;

    if (qcow2_header_read(data, size, &h, &err) == 0 && h.backing[0])
        assert(h.backing_format[0] && strncmp(h.backing, "json:", 5) != 0);
    return 0;
}
