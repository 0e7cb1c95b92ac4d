#include "config.h"

#include "lib/wire/fields.h"

#include <string.h>

void
fields_add(struct buf *into, const void *bytes, size_t len)
{
    if (len > FIELD_MAX) {
        into->failed = true;
        return;
    }
    buf_add_u16(into, (uint16_t)len);
    buf_add(into, bytes, len);
}

void
fields_add_text(struct buf *into, const char *text)
{
    fields_add(into, text, strlen(text));
}

void
fields_add_u8(struct buf *into, uint8_t v)
{
    buf_add_u16(into, 1);
    buf_add_u8(into, v);
}

void
fields_add_u32(struct buf *into, uint32_t v)
{
    buf_add_u16(into, 4);
    buf_add_u32(into, v);
}

void
fields_add_u64(struct buf *into, uint64_t v)
{
    buf_add_u16(into, 8);
    buf_add_u64(into, v);
}

int
fields_take(struct fields *f, size_t min, size_t max, const uint8_t **ret,
            size_t *ret_len, struct error *err)
{
    size_t len;

    if (f->left < 2)
        return error_set(err, ERROR_INPUT, "a field is missing");
    len = (size_t)f->at[0] << 8 | f->at[1];
    if (len > f->left - 2)
        return error_set(err, ERROR_INPUT, "a field of %zu bytes where %zu are left",
                         len, f->left - 2);
    if (len < min || len > max)
        return error_set(err, ERROR_INPUT, "a field of %zu bytes, not %zu to %zu", len,
                         min, max);
    *ret = f->at + 2;
    *ret_len = len;
    f->at += 2 + len;
    f->left -= 2 + len;
    return 0;
}

int
fields_take_exact(struct fields *f, void *ret, size_t len, struct error *err)
{
    const uint8_t *bytes;
    size_t got;

    if (fields_take(f, len, len, &bytes, &got, err) < 0)
        return -1;
    memcpy(ret, bytes, len);
    return 0;
}

int
fields_take_text(struct fields *f, size_t min, size_t max, char *ret, struct error *err)
{
    struct fields ahead = *f;
    const uint8_t *bytes;
    size_t len;

    if (fields_take(&ahead, min, max, &bytes, &len, err) < 0)
        return -1;
    for (size_t i = 0; i < len; i++) {
        if (bytes[i] < 0x20 || bytes[i] > 0x7e)
            return error_set(err, ERROR_INPUT, "a text with byte 0x%02x", bytes[i]);
    }
    memcpy(ret, bytes, len);
    ret[len] = '\0';
    *f = ahead;
    return 0;
}

static int
take_integer(struct fields *f, size_t len, uint64_t *ret, struct error *err)
{
    uint8_t bytes[8];
    uint64_t v = 0;

    if (fields_take_exact(f, bytes, len, err) < 0)
        return -1;
    for (size_t i = 0; i < len; i++)
        v = v << 8 | bytes[i];
    *ret = v;
    return 0;
}

int
fields_take_u8(struct fields *f, uint8_t *ret, struct error *err)
{
    uint64_t v;

    if (take_integer(f, 1, &v, err) < 0)
        return -1;
    *ret = (uint8_t)v;
    return 0;
}

int
fields_take_u32(struct fields *f, uint32_t *ret, struct error *err)
{
    uint64_t v;

    if (take_integer(f, 4, &v, err) < 0)
        return -1;
    *ret = (uint32_t)v;
    return 0;
}

int
fields_take_u64(struct fields *f, uint64_t *ret, struct error *err)
{
    return take_integer(f, 8, ret, err);
}

int
fields_end(const struct fields *f, struct error *err)
{
    if (f->left)
        return error_set(err, ERROR_INPUT, "%zu bytes behind the last field", f->left);
    return 0;
}
