/*
 * encode.h - hex and base64url, both ways, canonical only
 *
 * Decoders refuse padding, white space, upper-case hex and bits set in the
 * unused tail of the last base64url character: one value, one spelling
 * (RFC 7515, 2; RFC 4648, 3.5).
 */
#pragma once

#include <stddef.h>
#include <stdint.h>

#include "lib/common/error.h"

#define HEX_LEN(bytes) (2 * (bytes))
#define B64URL_LEN(bytes) ((4 * (bytes) + 2) / 3)

/* `ret_text` has room for HEX_LEN(len) or B64URL_LEN(len) characters and a NUL. */
void hex_encode(const uint8_t *bytes, size_t len, char *ret_text);
void b64url_encode(const uint8_t *bytes, size_t len, char *ret_text);

/*
 * Decode `text_len` characters into at most `max` bytes.
 * ERROR_INPUT: not canonical, or longer than `max`.
 */
int hex_decode(const char *text, size_t text_len, uint8_t *ret, size_t max,
               size_t *ret_len, struct error *err);
int b64url_decode(const char *text, size_t text_len, uint8_t *ret, size_t max,
                  size_t *ret_len, struct error *err);

/* Standard base64 with padding, for PEM-like and DER-in-JSON uses: encode only. */
void b64_encode(const uint8_t *bytes, size_t len, char *ret_text /* 4*((len+2)/3)+1 */);
