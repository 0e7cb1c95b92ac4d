#include "config.h"

#include "lib/wire/vm_uuid.h"

#include "lib/common/encode.h"

static bool
is_dash(int i)
{
    return i == 8 || i == 13 || i == 18 || i == 23;
}

int
vm_uuid_parse(const char *text, struct vm_uuid *ret, struct error *err)
{
    char hex[HEX_LEN(16)];
    size_t n = 0, len;
    struct vm_uuid uuid;

    if (strnlen(text, VM_UUID_TEXT) != VM_UUID_TEXT - 1)
        return error_set(err, ERROR_INPUT, "a UUID has %d characters",
                         VM_UUID_TEXT - 1);
    for (int i = 0; i < VM_UUID_TEXT - 1; i++) {
        if (is_dash(i) != (text[i] == '-'))
            return error_set(err, ERROR_INPUT, "a UUID is written 8-4-4-4-12");
        if (text[i] != '-')
            hex[n++] = text[i];
    }
    if (hex_decode(hex, n, uuid.bytes, sizeof uuid.bytes, &len, err) < 0)
        return error_wrap(err, "UUID");
    *ret = uuid;
    return 0;
}

void
vm_uuid_print(const struct vm_uuid *uuid, char ret[static VM_UUID_TEXT])
{
    char hex[HEX_LEN(16) + 1];
    const char *from = hex;

    hex_encode(uuid->bytes, sizeof uuid->bytes, hex);
    for (int i = 0; i < VM_UUID_TEXT - 1; i++)
        ret[i] = is_dash(i) ? '-' : *from++;
    ret[VM_UUID_TEXT - 1] = '\0';
}
