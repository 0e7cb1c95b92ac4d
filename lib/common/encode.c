#include "config.h"

#include "lib/common/encode.h"

static const char hex_digits[] = "0123456789abcdef";
static const char url_alphabet[] =
    "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789-_";
static const char std_alphabet[] =
    "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789+/";

void
hex_encode(const uint8_t *bytes, size_t len, char *ret_text)
{
    for (size_t i = 0; i < len; i++) {
        *ret_text++ = hex_digits[bytes[i] >> 4];
        *ret_text++ = hex_digits[bytes[i] & 15];
    }
    *ret_text = '\0';
}

static size_t
encode_64(const char *alphabet, const uint8_t *bytes, size_t len, char *ret_text)
{
    size_t out = 0;
    uint32_t bits = 0;
    int n = 0;

    for (size_t i = 0; i < len; i++) {
        bits = bits << 8 | bytes[i];
        for (n += 8; n >= 6; n -= 6)
            ret_text[out++] = alphabet[bits >> (n - 6) & 63];
    }
    if (n > 0)
        ret_text[out++] = alphabet[bits << (6 - n) & 63];
    ret_text[out] = '\0';
    return out;
}

void
b64url_encode(const uint8_t *bytes, size_t len, char *ret_text)
{
    encode_64(url_alphabet, bytes, len, ret_text);
}

void
b64_encode(const uint8_t *bytes, size_t len, char *ret_text)
{
    size_t out = encode_64(std_alphabet, bytes, len, ret_text);

    while (out % 4)
        ret_text[out++] = '=';
    ret_text[out] = '\0';
}

static int
hex_value(char c)
{
    if (c >= '0' && c <= '9')
        return c - '0';
    if (c >= 'a' && c <= 'f')
        return c - 'a' + 10;
    return -1;
}

int
hex_decode(const char *text, size_t text_len, uint8_t *ret, size_t max, size_t *ret_len,
           struct error *err)
{
    if (text_len % 2 || text_len / 2 > max)
        return error_set(err, ERROR_INPUT, "hex of %zu characters", text_len);
    for (size_t i = 0; i < text_len; i += 2) {
        int high = hex_value(text[i]), low = hex_value(text[i + 1]);

        if (high < 0 || low < 0)
            return error_set(err, ERROR_INPUT, "not lower-case hex");
        ret[i / 2] = (uint8_t)(high << 4 | low);
    }
    *ret_len = text_len / 2;
    return 0;
}

static int
url_value(char c)
{
    if (c >= 'A' && c <= 'Z')
        return c - 'A';
    if (c >= 'a' && c <= 'z')
        return c - 'a' + 26;
    if (c >= '0' && c <= '9')
        return c - '0' + 52;
    return c == '-' ? 62 : c == '_' ? 63 : -1;
}

int
b64url_decode(const char *text, size_t text_len, uint8_t *ret, size_t max,
              size_t *ret_len, struct error *err)
{
    size_t len = text_len / 4 * 3 + (text_len % 4 ? text_len % 4 - 1 : 0);
    uint32_t bits = 0;
    size_t out = 0;
    int n = 0;

    if (text_len % 4 == 1 || len > max)
        return error_set(err, ERROR_INPUT, "base64url of %zu characters", text_len);
    for (size_t i = 0; i < text_len; i++) {
        int v = url_value(text[i]);

        if (v < 0)
            return error_set(err, ERROR_INPUT, "not base64url");
        bits = bits << 6 | (uint32_t)v;
        n += 6;
        if (n >= 8) {
            n -= 8;
            ret[out++] = (uint8_t)(bits >> n);
        }
    }
    if (n > 0 && (bits & ((1u << n) - 1)))
        return error_set(err, ERROR_INPUT, "base64url with bits in its tail");
    *ret_len = out;
    return 0;
}
