#include "config.h"

#include "tokenservice/api/served_name.h"

#include <arpa/inet.h>
#include <string.h>
#include <strings.h>

/* A part of a longer text. */
struct part {
    const char *text;
    size_t len;
};

static bool
is_port(const char *text, size_t len)
{
    return len > 0 && len <= 5 && strspn(text, "0123456789") >= len;
}

/* "NAME", "NAME:PORT", "[ADDRESS]", "[ADDRESS]:PORT". */
static bool
split(const char *authority, size_t len, struct part *ret_name)
{
    const char *end = authority + len, *colon;

    if (len > 0 && authority[0] == '[') {
        const char *bracket = memchr(authority, ']', len);

        if (!bracket || (bracket + 1 != end && bracket[1] != ':'))
            return false;
        *ret_name = (struct part){ authority + 1, (size_t)(bracket - authority - 1) };
        colon = bracket + 1;
    } else {
        colon = memchr(authority, ':', len);
        if (!colon)
            colon = end;
        *ret_name = (struct part){ authority, (size_t)(colon - authority) };
    }
    return ret_name->len > 0 &&
           (colon == end || is_port(colon + 1, (size_t)(end - colon - 1)));
}

static bool
same(const struct part *a, const struct part *b)
{
    return a->len == b->len && strncasecmp(a->text, b->text, a->len) == 0;
}

/* An IPv6 address has several spellings. */
static bool
read_ipv6(const struct part *p, struct in6_addr *ret)
{
    char text[INET6_ADDRSTRLEN];

    if (p->len >= sizeof text)
        return false;
    memcpy(text, p->text, p->len);
    text[p->len] = '\0';
    return inet_pton(AF_INET6, text, ret) == 1;
}

static bool
same_name(const struct part *a, const struct part *b)
{
    struct in6_addr x, y;

    return same(a, b) ||
           (read_ipv6(a, &x) && read_ipv6(b, &y) && memcmp(&x, &y, sizeof x) == 0);
}

/* HOST[:PORT] under which clients know the listener. */
static struct part
advertised(const struct service *s, enum route_listener on)
{
    const char *text = on == ON_HOSTS    ? s->hosts_advertised
                       : on == ON_GUESTS ? s->info.guests
                                         : s->info.issuer + strlen("https://");

    return (struct part){ text, strcspn(text, "/") };
}

static bool
in_certificate(const struct service *s, const struct part *name)
{
    for (const char *at = s->info.names; *at;) {
        struct part own = { at, strcspn(at, ",") };

        if (same_name(name, &own))
            return true;
        at += own.len + (at[own.len] == ',');
    }
    return false;
}

bool
served_name(const struct service *s, enum route_listener on, const char *host)
{
    struct part there = advertised(s, on), name, own;

    if (!host || !split(host, strlen(host), &name))
        return false;
    if (name.len > 1 && name.text[name.len - 1] == '.')
        name.len--; /* the same host, spelled from the root */
    return in_certificate(s, &name) ||
           (split(there.text, there.len, &own) && same_name(&name, &own));
}
