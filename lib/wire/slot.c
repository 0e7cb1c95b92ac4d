#include "config.h"

#include "lib/wire/slot.h"

#include <string.h>

static size_t
body_len(uint8_t kind)
{
    switch (kind) {
    case SLOT_UNIQUE:
        return SLOT_UNIQUE_LEN;
    case SLOT_PRIVATE:
        return SLOT_PRIVATE_LEN;
    default:
        return 0;
    }
}

size_t
slot_encode(const struct slot *s, uint8_t ret[static SLOT_MAX])
{
    size_t len = body_len(s->kind);

    ret[0] = s->kind;
    memcpy(ret + 1, s->uuid.bytes, sizeof s->uuid.bytes);
    memcpy(ret + 1 + sizeof s->uuid.bytes, s->body, len);
    return 1 + sizeof s->uuid.bytes + len;
}

int
slot_decode(const uint8_t *bytes, size_t len, struct slot *ret, struct error *err)
{
    struct slot slot = { 0 };
    size_t want = len > 0 ? body_len(bytes[0]) : 0;

    if (want == 0)
        return error_set(err, ERROR_INPUT, "slot of an unknown kind");
    if (len != 1 + sizeof slot.uuid.bytes + want)
        return error_set(err, ERROR_INPUT, "slot of kind %u with %zu bytes", bytes[0], len);
    slot.kind = bytes[0];
    memcpy(slot.uuid.bytes, bytes + 1, sizeof slot.uuid.bytes);
    memcpy(slot.body, bytes + 1 + sizeof slot.uuid.bytes, want);
    *ret = slot;
    explicit_bzero(&slot, sizeof slot);
    return 0;
}
