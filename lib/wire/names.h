/*
 * names.h - the grammars of names: trust domain, host, pool, audience, issuer (CHECKS C12)
 *
 * One canonical spelling each; others are refused, never normalised.
 */
#pragma once

#include <stdbool.h>

enum { NAME_TRUST_DOMAIN_MAX = 63, NAME_HOST_MAX = 63, NAME_POOL_MAX = 63, NAME_AUDIENCE_MAX = 255, NAME_ISSUER_MAX = 255,
       NAME_DOMAIN_MAX = 255, NAME_BOUND_MAX = 251 /* of an audience that stands as pop:NAME in tokens */ };

bool name_is_trust_domain(const char *s); /* [a-z0-9.-]{1,63}, no leading or trailing '.' or '-' */
bool name_is_host(const char *s);         /* the same grammar */
bool name_is_pool(const char *s);         /* the same grammar */
bool name_is_audience(const char *s);     /* printable ASCII without space and '"', 1..255; not "pop:..." */
bool name_is_issuer(const char *s);       /* https://HOST[:PORT][/path], no query, fragment, trailing '/' */
bool name_is_domain(const char *s);       /* a libvirt name as we show it: 1..255 bytes, UTF-8, no control characters, no '/' */
