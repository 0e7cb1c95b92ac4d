/*
 * fields.h - F(a, b, ...): the one encoding of everything hashed, signed, derived or framed
 *
 * Each field is a 2-byte big-endian length and its bytes; absent = length 0;
 * integers big-endian; any other number or length of fields is refused
 * (docs/PROTOCOL-proof.md, 2).
 */
#pragma once

#include <stddef.h>
#include <stdint.h>

#include "lib/common/buf.h"
#include "lib/common/error.h"

enum { FIELD_MAX = 65535 };

void fields_add(struct buf *into, const void *bytes, size_t len); /* fails the buf above FIELD_MAX */
void fields_add_text(struct buf *into, const char *text);
void fields_add_u8(struct buf *into, uint8_t v);
void fields_add_u32(struct buf *into, uint32_t v);
void fields_add_u64(struct buf *into, uint64_t v);

/* Read from the front; every take is bounded by what is there. */
struct fields {
    const uint8_t *at;
    size_t left;
};

/* One field of min..max bytes, borrowed. ERROR_INPUT: missing, or another length. */
int fields_take(struct fields *f, size_t min, size_t max, const uint8_t **ret, size_t *ret_len,
                struct error *err);
/* One field of exactly `len` bytes, copied. */
int fields_take_exact(struct fields *f, void *ret, size_t len, struct error *err);
/* Printable ASCII (0x20..0x7e) of min..max characters, copied with a NUL into ret[max + 1]. */
int fields_take_text(struct fields *f, size_t min, size_t max, char *ret, struct error *err);
int fields_take_u8(struct fields *f, uint8_t *ret, struct error *err);
int fields_take_u32(struct fields *f, uint32_t *ret, struct error *err);
int fields_take_u64(struct fields *f, uint64_t *ret, struct error *err);
/* ERROR_INPUT: something is left. */
int fields_end(const struct fields *f, struct error *err);
