#include "config.h"

#include "lib/common/buf.h"

#include <assert.h>
#include <stdarg.h>
#include <stdio.h>
#include <string.h>

void
buf_clear(struct buf *b)
{
    if (b->data)
        explicit_bzero(b->data, b->room);
    free(b->data);
    b->data = NULL;
    b->len = b->room = 0;
    b->failed = b->no_memory = false;
}

/* Grown by hand, not by realloc, which would leave a copy of a secret behind. */
uint8_t *
buf_room(struct buf *b, size_t len)
{
    if (b->failed || len > b->max - b->len) {
        b->failed = true;
        return NULL;
    }
    if (b->len + len + 1 > b->room) {
        size_t room = b->room ? b->room : 256;
        uint8_t *data;

        while (room < b->len + len + 1)
            room *= 2;
        data = malloc(room);
        if (!data) {
            b->failed = b->no_memory = true;
            return NULL;
        }
        if (b->data) {
            memcpy(data, b->data, b->len);
            explicit_bzero(b->data, b->room);
            free(b->data);
        }
        b->data = data;
        b->room = room;
    }
    return b->data + b->len;
}

void
buf_grew(struct buf *b, size_t len)
{
    assert(b->len + len < b->room);
    b->len += len;
}

void
buf_add(struct buf *b, const void *bytes, size_t len)
{
    uint8_t *to = buf_room(b, len);

    if (!to)
        return;
    if (len)
        memcpy(to, bytes, len);
    b->len += len;
}

void
buf_add_text(struct buf *b, const char *text)
{
    buf_add(b, text, strlen(text));
}

void
buf_printf(struct buf *b, const char *fmt, ...)
{
    va_list ap;
    int n;
    uint8_t *to;

    va_start(ap, fmt);
    n = vsnprintf(NULL, 0, fmt, ap);
    va_end(ap);
    if (n < 0) {
        b->failed = true;
        return;
    }
    to = buf_room(b, (size_t)n);
    if (!to)
        return;
    va_start(ap, fmt);
    vsnprintf((char *)to, (size_t)n + 1, fmt, ap);
    va_end(ap);
    b->len += (size_t)n;
}

static void
add_integer(struct buf *b, uint64_t v, size_t bytes)
{
    uint8_t out[8];

    for (size_t i = 0; i < bytes; i++)
        out[i] = (uint8_t)(v >> (8 * (bytes - 1 - i)));
    buf_add(b, out, bytes);
}

void
buf_add_u8(struct buf *b, uint8_t v)
{
    add_integer(b, v, 1);
}

void
buf_add_u16(struct buf *b, uint16_t v)
{
    add_integer(b, v, 2);
}

void
buf_add_u32(struct buf *b, uint32_t v)
{
    add_integer(b, v, 4);
}

void
buf_add_u64(struct buf *b, uint64_t v)
{
    add_integer(b, v, 8);
}

void
buf_drop(struct buf *b, size_t len)
{
    assert(len <= b->len);
    if (len == 0)
        return;
    memmove(b->data, b->data + len, b->len - len);
    b->len -= len;
}

const char *
buf_text(struct buf *b)
{
    if (!buf_room(b, 0))
        return NULL;
    b->data[b->len] = '\0';
    return (const char *)b->data;
}
