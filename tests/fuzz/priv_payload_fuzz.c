#include "config.h"

#include <assert.h>
#include <string.h>

#include "lib/wire/priv_msg.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

/* Every path that is taken stays below the root. */
int
LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    struct payload_entry e;
    struct error err;
    bool end = false;

    for (size_t at = 0; !end;) {
        if (payload_next(data, size, &at, &e, &end, &err) < 0)
            return 0;
        if (end)
            return 0;
        assert(e.path_len > 1 && e.path[0] == '/' && !memmem(e.path, e.path_len, "/../", 4));
        assert(at <= size);
    }
    return 0;
}
