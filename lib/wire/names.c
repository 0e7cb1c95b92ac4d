#include "config.h"

#include "lib/wire/names.h"

#include <stdint.h>
#include <string.h>

static bool
is_all_of(const char *s, size_t len, const char *alphabet)
{
    return strspn(s, alphabet) >= len;
}

/* [a-z0-9.-]{1,max}, no '.' or '-' at either end. */
static bool
is_label_like(const char *s, size_t len, size_t max)
{
    static const char edges[] = "abcdefghijklmnopqrstuvwxyz0123456789";
    static const char inside[] = "abcdefghijklmnopqrstuvwxyz0123456789.-";

    return len > 0 && len <= max && is_all_of(s, len, inside) &&
           is_all_of(s, 1, edges) && is_all_of(s + len - 1, 1, edges);
}

bool
name_is_trust_domain(const char *s)
{
    return is_label_like(s, strnlen(s, NAME_TRUST_DOMAIN_MAX + 1),
                         NAME_TRUST_DOMAIN_MAX);
}

bool
name_is_host(const char *s)
{
    return is_label_like(s, strnlen(s, NAME_HOST_MAX + 1), NAME_HOST_MAX);
}

bool
name_is_pool(const char *s)
{
    return is_label_like(s, strnlen(s, NAME_POOL_MAX + 1), NAME_POOL_MAX);
}

bool
name_is_audience(const char *s)
{
    size_t len = strnlen(s, NAME_AUDIENCE_MAX + 1);

    if (len == 0 || len > NAME_AUDIENCE_MAX || strncmp(s, "pop:", 4) == 0)
        return false;
    for (size_t i = 0; i < len; i++) {
        if (s[i] <= 0x20 || s[i] >= 0x7f || s[i] == '"')
            return false;
    }
    return true;
}

/* Decimal, 1..65535, no leading zero; up to '/' or the end. */
static const char *
skip_port(const char *s)
{
    unsigned port = 0;
    size_t len = strspn(s, "0123456789");

    if (len == 0 || len > 5 || *s == '0')
        return NULL;
    for (size_t i = 0; i < len; i++)
        port = port * 10 + (unsigned)(s[i] - '0');
    return port <= 65535 ? s + len : NULL;
}

/* A DNS name, an IPv4 address or a bracketed IPv6 address. */
static const char *
skip_host(const char *s)
{
    size_t len;

    if (*s == '[') {
        len = strspn(s + 1, "0123456789abcdef:.");
        return len >= 2 && len <= 45 && s[1 + len] == ']' ? s + len + 2 : NULL;
    }
    len = strcspn(s, ":/");
    return is_label_like(s, len, 253) ? s + len : NULL;
}

/* Segments of unreserved characters; no empty one, no "." or "..". */
static bool
is_path(const char *s)
{
    static const char allowed[] = "abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ"
                                  "0123456789-._~";

    while (*s == '/') {
        size_t len = strspn(s + 1, allowed);

        if (len == 0 || (len == 1 && s[1] == '.') ||
            (len == 2 && s[1] == '.' && s[2] == '.'))
            return false;
        s += 1 + len;
    }
    return *s == '\0';
}

bool
name_is_issuer(const char *s)
{
    static const char scheme[] = "https://";

    if (strnlen(s, NAME_ISSUER_MAX + 1) > NAME_ISSUER_MAX ||
        strncmp(s, scheme, sizeof scheme - 1) != 0)
        return false;
    s = skip_host(s + sizeof scheme - 1);
    if (s && *s == ':')
        s = skip_port(s + 1);
    return s && is_path(s);
}

/* Bytes of the UTF-8 character at `s` (RFC 3629), 0 if there is none; *ret is its code
 * point. */
static size_t
decode_utf8(const unsigned char *s, uint32_t *ret)
{
    static const uint32_t least[] = { 0, 0, 0x80, 0x800, 0x10000 };
    size_t n = *s < 0x80       ? 1
               : *s >> 5 == 6  ? 2
               : *s >> 4 == 14 ? 3
               : *s >> 3 == 30 ? 4
                               : 0;
    uint32_t c = n == 1 ? *s : n ? *s & (0x7fu >> n) : 0;

    for (size_t i = 1; i < n; i++) {
        if (s[i] >> 6 != 2) /* also the NUL at the end */
            return 0;
        c = c << 6 | (s[i] & 0x3f);
    }
    if (n == 0 || c < least[n] || c > 0x10ffff || (c >= 0xd800 && c <= 0xdfff))
        return 0;
    *ret = c;
    return n;
}

bool
name_is_domain(const char *s)
{
    size_t len = strnlen(s, NAME_DOMAIN_MAX + 1), n;
    uint32_t c;

    if (len == 0 || len > NAME_DOMAIN_MAX)
        return false;
    for (size_t at = 0; at < len; at += n) {
        n = decode_utf8((const unsigned char *)s + at, &c);
        if (n == 0 || c < 0x20 || (c >= 0x7f && c < 0xa0) || c == '/')
            return false;
    }
    return true;
}
