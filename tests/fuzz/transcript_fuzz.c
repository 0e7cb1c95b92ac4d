/* A transcript is never parsed: whatever a PROVE says, making one is bounded and does not fail halfway. */
#include "config.h"

#include <stddef.h>
#include <stdint.h>
#include <stdlib.h>

#include "lib/wire/proof_msg.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

int
LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    struct prove *p = calloc(1, sizeof *p);
    static const uint8_t exporter[32];
    struct transcript t;
    struct error err = { 0 };
    uint8_t h[32];

    if (p && prove_decode((const char *)data, size, p, &err) == 0 &&
        prove_transcript(p, "https://id.example.test", exporter, &t, &err) == 0 &&
        transcript_hash(&t, h, &err) < 0)
        abort();
    free(p);
    return 0;
}
