#include "config.h"

#include "lib/http/http_limit.h"

#include <errno.h>
#include <netinet/in.h>
#include <stdlib.h>
#include <string.h>

#include "lib/crypto/hash.h"
#include "lib/crypto/random.h"

enum { KEY_LEN = 8, WAYS = 4, SETS = 512 };

struct http_limit_place {
    bool used;
    uint8_t key[KEY_LEN];
    unsigned connections;
    int64_t milli_requests; /* still allowed, in thousandths */
    int64_t seen_ms;
};

struct http_limit {
    unsigned connections_max, per_second;
    uint8_t seed[16]; /* nobody outside knows who shares a set with whom */
    struct http_limit_place places[SETS][WAYS];
    struct http_limit_place shared;
};

int
http_limit_new(unsigned connections_per_address, unsigned requests_per_second,
               struct http_limit **ret, struct error *err)
{
    CLEANUP(http_limit_free) struct http_limit *limit = calloc(1, sizeof *limit);

    if (!limit)
        return error_sys(err, ENOMEM, "limits");
    limit->connections_max = connections_per_address;
    limit->per_second = requests_per_second;
    limit->shared.milli_requests = 1000 * (int64_t)requests_per_second;
    if (random_bytes(limit->seed, sizeof limit->seed, err) < 0)
        return -1;
    *ret = STEAL(limit);
    return 0;
}

void
http_limit_free(struct http_limit *limit)
{
    free(limit);
}

/* An IPv6 customer owns a /64; an IPv4 address mapped into IPv6 counts as itself. */
static void
key_of(const struct sockaddr *address, uint8_t ret[static KEY_LEN])
{
    memset(ret, 0, KEY_LEN);
    if (address->sa_family == AF_INET) {
        memcpy(ret + 4, &((const struct sockaddr_in *)(const void *)address)->sin_addr,
               4);
    } else if (address->sa_family == AF_INET6) {
        const struct in6_addr *a =
            &((const struct sockaddr_in6 *)(const void *)address)->sin6_addr;

        if (IN6_IS_ADDR_V4MAPPED(a))
            memcpy(ret + 4, a->s6_addr + 12, 4);
        else
            memcpy(ret, a->s6_addr, KEY_LEN);
    }
}

static unsigned
set_of(const struct http_limit *limit, const uint8_t key[static KEY_LEN])
{
    uint8_t bytes[sizeof limit->seed + KEY_LEN], hash[SHA256_LEN] = { 0 };
    struct error ignored = { 0 };

    memcpy(bytes, limit->seed, sizeof limit->seed);
    memcpy(bytes + sizeof limit->seed, key, KEY_LEN);
    (void)hash_sha256(bytes, sizeof bytes, hash,
                      &ignored); /* failing: one set for all */
    return ((unsigned)hash[0] << 8 | hash[1]) % SETS;
}

static struct http_limit_place *
find_place(struct http_limit *limit, const uint8_t key[static KEY_LEN], int64_t now_ms)
{
    struct http_limit_place *set = limit->places[set_of(limit, key)], *oldest = NULL;

    for (unsigned i = 0; i < WAYS; i++) {
        if (set[i].used && memcmp(set[i].key, key, KEY_LEN) == 0)
            return &set[i];
        if (set[i].connections == 0 &&
            (!oldest || !set[i].used ||
             (oldest->used && set[i].seen_ms < oldest->seen_ms)))
            oldest = &set[i];
    }
    if (!oldest)
        return &limit->shared;
    *oldest = (struct http_limit_place){
        .used = true,
        .milli_requests = 1000 * (int64_t)limit->per_second,
        .seen_ms = now_ms,
    };
    memcpy(oldest->key, key, KEY_LEN);
    return oldest;
}

struct http_limit_place *
http_limit_enter(struct http_limit *limit, const struct sockaddr *address,
                 int64_t now_ms)
{
    struct http_limit_place *place;
    uint8_t key[KEY_LEN];

    key_of(address, key);
    place = find_place(limit, key, now_ms);
    if (limit->connections_max > 0 && place->connections >= limit->connections_max)
        return NULL;
    place->connections++;
    return place;
}

void
http_limit_leave(struct http_limit_place *place)
{
    if (place && place->connections > 0)
        place->connections--;
}

bool
http_limit_request(const struct http_limit *limit, struct http_limit_place *place,
                   int64_t now_ms)
{
    int64_t full = 1000 * (int64_t)limit->per_second, passed = now_ms - place->seen_ms;

    if (limit->per_second == 0)
        return true;
    if (passed < 0)
        passed = 0;
    if (passed > 1000)
        passed = 1000;
    place->milli_requests += passed * limit->per_second;
    place->seen_ms = now_ms;
    if (place->milli_requests > full)
        place->milli_requests = full;
    if (place->milli_requests < 1000)
        return false;
    place->milli_requests -= 1000;
    return true;
}
