#include "config.h"

#include "tokenservice/mint/key_ring.h"

#include <string.h>

#include "lib/common/encode.h"
#include "lib/wire/fields.h"

#define RING_LABEL "virtid-keys-1"

enum mint_key_purpose
key_ring_purpose(enum key_ring_kind kind)
{
    return kind == RING_BOUND ? MINT_KEY_BOUND : MINT_KEY_TOKEN;
}

static int
make_entry(const struct key *key, enum mint_key_state state, int64_t made, int64_t since, struct ring_key *ret,
           struct error *err)
{
    uint8_t point[KEY_POINT_LEN], thumbprint[KEY_THUMBPRINT_LEN];

    *ret = (struct ring_key){ .state = state, .made = made, .since = since };
    key_point(key, point);
    if (key_thumbprint(point, thumbprint, err) < 0)
        return -1;
    key_private(key, ret->scalar);
    b64url_encode(thumbprint, sizeof thumbprint, ret->kid);
    return 0;
}

int
key_ring_begin(const struct key *key, int64_t now, struct key_ring *ret, struct error *err)
{
    *ret = (struct key_ring){ .n = 1 };
    return make_entry(key, MINT_KEY_ACTIVE, now, now, &ret->keys[0], err);
}

static struct ring_key *
find(struct key_ring *ring, enum mint_key_state state)
{
    for (size_t i = 0; i < ring->n; i++) {
        if (ring->keys[i].state == state)
            return &ring->keys[i];
    }
    return NULL;
}

const struct ring_key *
key_ring_find(const struct key_ring *ring, enum mint_key_state state)
{
    return find((struct key_ring *)(uintptr_t)ring, state);
}

static bool
is_dead(const struct ring_key *key, int64_t now)
{
    return key->state == MINT_KEY_RETIRING && now >= key->since + KEY_RETIRE_SECONDS;
}

int64_t
key_ring_step_at(const struct key_ring *ring, const struct ring_key *key, int64_t interval)
{
    const struct ring_key *active = key_ring_find(ring, MINT_KEY_ACTIVE);
    const struct ring_key *next = key_ring_find(ring, MINT_KEY_NEXT);
    int64_t turn = active ? active->since + interval : 0;

    if (key->state == MINT_KEY_RETIRING)
        return key->since + KEY_RETIRE_SECONDS;
    if (next && turn < next->since + KEY_PUBLISH_SECONDS)
        turn = next->since + KEY_PUBLISH_SECONDS;
    return turn;
}

enum ring_move
key_ring_due(const struct key_ring *ring, int64_t interval, int64_t now)
{
    const struct ring_key *next = key_ring_find(ring, MINT_KEY_NEXT);

    if (ring->n == 0)
        return RING_BEGINS;
    for (size_t i = 0; i < ring->n; i++) {
        if (is_dead(&ring->keys[i], now))
            return RING_DROPS;
    }
    if (next && now >= key_ring_step_at(ring, next, interval))
        return RING_ROTATES;
    return !next && ring->n < KEY_RING_MAX ? RING_PUBLISHES : RING_STAYS;
}

static void
remove_at(struct key_ring *ring, size_t i)
{
    ring->n--;
    memmove(&ring->keys[i], &ring->keys[i + 1], (ring->n - i) * sizeof ring->keys[0]);
    explicit_bzero(&ring->keys[ring->n], sizeof ring->keys[0]);
}

void
key_ring_drop(struct key_ring *ring, int64_t now)
{
    for (size_t i = ring->n; i-- > 0;) {
        if (is_dead(&ring->keys[i], now))
            remove_at(ring, i);
    }
}

static int
add(struct key_ring *ring, const struct key *key, enum mint_key_state state, int64_t now, struct error *err)
{
    if (ring->n == KEY_RING_MAX || find(ring, state))
        return error_set(err, ERROR_BUSY, "there are %zu keys that sign tokens already", ring->n);
    if (make_entry(key, state, now, now, &ring->keys[ring->n], err) < 0)
        return -1;
    ring->n++;
    return 0;
}

int
key_ring_publish(struct key_ring *ring, const struct key *key, int64_t now, struct error *err)
{
    return add(ring, key, MINT_KEY_NEXT, now, err);
}

int
key_ring_rotate(struct key_ring *ring, int64_t now, struct error *err)
{
    struct ring_key *next = find(ring, MINT_KEY_NEXT), *active = find(ring, MINT_KEY_ACTIVE);
    int64_t left = next ? next->since + KEY_PUBLISH_SECONDS - now : KEY_PUBLISH_SECONDS;

    if (!next || left > 0)
        return error_problem(err, ERROR_BUSY, "key-young",
                             "verifiers may not have seen the next key yet: it can sign in %lld min",
                             (long long)(left + 59) / 60);
    if (active) {
        active->state = MINT_KEY_RETIRING;
        active->since = now;
    }
    next->state = MINT_KEY_ACTIVE;
    next->since = now;
    return 0;
}

int
key_ring_revoke(struct key_ring *ring, const char *kid, const struct key *fresh, int64_t now, struct error *err)
{
    bool found = false;

    for (size_t i = ring->n; i-- > 0;) {
        if (kid[0] == '\0' || strcmp(ring->keys[i].kid, kid) == 0) {
            remove_at(ring, i);
            found = true;
        }
    }
    if (!found)
        return error_problem(err, ERROR_MISSING, "not-found", "no key that signs tokens has this name");
    return find(ring, MINT_KEY_ACTIVE) ? 0 : add(ring, fresh, MINT_KEY_ACTIVE, now, err);
}

static int64_t
shifted(int64_t at, int64_t seconds)
{
    return seconds < -at ? 0 : at + seconds;
}

void
key_ring_shift(struct key_ring *ring, int64_t seconds)
{
    for (size_t i = 0; i < ring->n; i++) {
        ring->keys[i].made = shifted(ring->keys[i].made, seconds);
        ring->keys[i].since = shifted(ring->keys[i].since, seconds);
    }
}

void
key_ring_clamp(struct key_ring *ring, int64_t now)
{
    for (size_t i = 0; i < ring->n; i++) {
        if (ring->keys[i].made > now)
            ring->keys[i].made = now;
        if (ring->keys[i].since > now)
            ring->keys[i].since = now;
    }
}

void
key_ring_republish(struct key_ring *ring, int64_t now)
{
    struct ring_key *next = find(ring, MINT_KEY_NEXT);

    if (next)
        next->since = now;
}

static void
encode_ring(const struct key_ring *ring, enum mint_key_purpose purpose, struct buf *into)
{
    for (size_t i = 0; i < ring->n; i++) {
        fields_add_u8(into, (uint8_t)purpose);
        fields_add_u8(into, (uint8_t)ring->keys[i].state);
        fields_add(into, ring->keys[i].scalar, sizeof ring->keys[i].scalar);
        fields_add_u64(into, (uint64_t)ring->keys[i].made);
        fields_add_u64(into, (uint64_t)ring->keys[i].since);
    }
}

int
key_rings_encode(const struct key_rings *rings, uint64_t seq, struct buf *into, struct error *err)
{
    fields_add_text(into, RING_LABEL);
    fields_add_u64(into, seq);
    fields_add_u8(into, (uint8_t)(rings->of[RING_TOKEN].n + rings->of[RING_BOUND].n));
    for (enum key_ring_kind k = RING_TOKEN; k < KEY_RINGS; k++)
        encode_ring(&rings->of[k], key_ring_purpose(k), into);
    return buf_ok(into) ? 0 : error_set(err, buf_error_code(into), "keys: too long");
}

static struct key_ring *
ring_of(struct key_rings *rings, uint8_t purpose)
{
    for (enum key_ring_kind k = RING_TOKEN; k < KEY_RINGS; k++) {
        if (purpose == key_ring_purpose(k) && rings->of[k].n < KEY_RING_MAX)
            return &rings->of[k];
    }
    return NULL;
}

static int
decode_key(struct fields *f, struct key_rings *rings, struct error *err)
{
    CLEANUP(key_free) struct key *key = NULL;
    uint8_t purpose, state, scalar[KEY_PRIVATE_LEN];
    struct key_ring *ring;
    uint64_t made, since;
    int rc;

    if (fields_take_u8(f, &purpose, err) < 0 || fields_take_u8(f, &state, err) < 0 ||
        fields_take_exact(f, scalar, sizeof scalar, err) < 0 || fields_take_u64(f, &made, err) < 0 ||
        fields_take_u64(f, &since, err) < 0)
        return -1;
    rc = key_from_private(scalar, &key, err);
    explicit_bzero(scalar, sizeof scalar);
    if (rc < 0)
        return -1;
    ring = ring_of(rings, purpose);
    if (!ring || state < MINT_KEY_NEXT || state > MINT_KEY_RETIRING || made > INT64_MAX / 2 || since > INT64_MAX / 2)
        return error_set(err, ERROR_INPUT, "keys: a key of purpose %u in state %u", purpose, state);
    return make_entry(key, (enum mint_key_state)state, (int64_t)made, (int64_t)since, &ring->keys[ring->n++], err);
}

/* One that signs, one at most that will. */
static int
check_ring(const struct key_ring *ring, struct error *err)
{
    size_t n_of[MINT_KEY_RETIRING + 1] = { 0 };

    for (size_t i = 0; i < ring->n; i++)
        n_of[ring->keys[i].state]++;
    if (n_of[MINT_KEY_ACTIVE] != 1 || n_of[MINT_KEY_NEXT] > 1)
        return error_set(err, ERROR_INPUT, "keys: %zu are active, %zu next", n_of[MINT_KEY_ACTIVE], n_of[MINT_KEY_NEXT]);
    return 0;
}

static int
check_rings(const struct key_rings *rings, struct error *err)
{
    const struct ring_key *seen[KEY_RINGS * KEY_RING_MAX];
    size_t n = 0;

    for (size_t k = 0; k < KEY_RINGS; k++) {
        const struct key_ring *ring = &rings->of[k];

        if ((k == RING_TOKEN || ring->n > 0) && check_ring(ring, err) < 0)
            return -1;
        for (size_t i = 0; i < ring->n; i++) {
            for (size_t j = 0; j < n; j++) {
                if (strcmp(ring->keys[i].kid, seen[j]->kid) == 0)
                    return error_set(err, ERROR_INPUT, "keys: one is there twice");
            }
            seen[n++] = &ring->keys[i];
        }
    }
    return 0;
}

int
key_rings_decode(const uint8_t *bytes, size_t len, struct key_rings *ret, uint64_t *ret_seq, struct error *err)
{
    struct fields f = { .at = bytes, .left = len };
    struct key_rings rings = { 0 };
    char label[sizeof RING_LABEL];
    uint8_t n;
    int rc = 0;

    if (fields_take_text(&f, 1, sizeof label - 1, label, err) < 0 || fields_take_u64(&f, ret_seq, err) < 0 ||
        fields_take_u8(&f, &n, err) < 0)
        return -1;
    if (strcmp(label, RING_LABEL) != 0)
        return error_set(err, ERROR_INPUT, "keys: of another version");
    for (uint8_t i = 0; rc == 0 && i < n; i++)
        rc = decode_key(&f, &rings, err);
    if (rc == 0)
        rc = fields_end(&f, err) < 0 || check_rings(&rings, err) < 0 ? -1 : 0;
    if (rc == 0)
        *ret = rings;
    explicit_bzero(&rings, sizeof rings);
    return rc;
}
