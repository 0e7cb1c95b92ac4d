/*
 * buf.h - bytes that grow up to a limit known beforehand
 *
 *     struct buf b = BUF(16384);
 *
 * An append that does not fit, or finds no memory, marks the buffer failed
 * and leaves it so: append freely, ask once with buf_ok() at the end.
 */
#pragma once

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "lib/common/cleanup.h"
#include "lib/common/error.h"

struct buf {
    uint8_t *data;
    size_t len, room, max;
    bool failed, no_memory; /* the second says why */
};

#define BUF(max_bytes) ((struct buf){ .max = (max_bytes) })

/* Wipes the bytes before they are given back. */
void buf_clear(struct buf *b);
#define buf_clear_at buf_clear /* CLEANUP(buf_clear) struct buf b = BUF(n); */

void buf_add(struct buf *b, const void *bytes, size_t len);
void buf_add_text(struct buf *b, const char *text);
void buf_printf(struct buf *b, const char *fmt, ...) __attribute__((format(printf, 2, 3)));
void buf_add_u8(struct buf *b, uint8_t v);
void buf_add_u16(struct buf *b, uint16_t v); /* big-endian, as all integers here */
void buf_add_u32(struct buf *b, uint32_t v);
void buf_add_u64(struct buf *b, uint64_t v);

/* Drop the first `len` bytes (len <= b->len). */
void buf_drop(struct buf *b, size_t len);

/* `len` writable bytes behind the content, or NULL; buf_grew() takes them in. */
uint8_t *buf_room(struct buf *b, size_t len);
void buf_grew(struct buf *b, size_t len);

/* The content as a NUL-terminated string (the NUL is not counted), or NULL if failed. */
const char *buf_text(struct buf *b);

static inline bool
buf_ok(const struct buf *b)
{
    return !b->failed;
}

/* Whose fault it is that it failed: what was to be held was too long, or we have no memory. */
static inline enum error_code
buf_error_code(const struct buf *b)
{
    return b->no_memory ? ERROR_SYSTEM : ERROR_INPUT;
}
