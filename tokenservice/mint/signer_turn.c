#include "config.h"

#include "tokenservice/mint/signer_turn.h"

#include <string.h>

#include "lib/common/encode.h"
#include "lib/common/log.h"
#include "tokenservice/mint/signer_ca.h"

enum {
    CLOCK_STEP_SECONDS = 60, /* between two ticks: less is a clock that is steered, not set */
    MOVES_MAX = 8,           /* of one tick: drop, rotate, publish, and to spare */
};

/* On disk, then in use. */
static int
change(struct signer_keys *keys, const struct key_rings *rings, struct error *err)
{
    if (key_file_write(&keys->file, rings, err) < 0)
        return -1;
    keys->unsaved = false;
    return signer_keys_take(keys, rings, err);
}

static int
move_ring(struct key_ring *ring, enum ring_move due, int64_t now, struct error *err)
{
    CLEANUP(key_free) struct key *key = NULL;

    if ((due == RING_BEGINS || due == RING_PUBLISHES) && key_generate(&key, err) < 0)
        return -1;
    switch (due) {
    case RING_STAYS:
        return 0;
    case RING_BEGINS: /* nobody can have asked for its set before */
        return key_ring_begin(key, now, ring, err);
    case RING_DROPS:
        key_ring_drop(ring, now);
        return 0;
    case RING_ROTATES:
        return key_ring_rotate(ring, now, err);
    case RING_PUBLISHES:
        return key_ring_publish(ring, key, now, err);
    }
    return error_set(err, ERROR_SYSTEM, "no such move");
}

static int
move(struct signer_keys *keys, enum key_ring_kind kind, enum ring_move due, struct error *err)
{
    struct key_rings rings = keys->rings;
    int rc = move_ring(&rings.of[kind], due, keys->wall, err);

    if (rc == 0)
        rc = change(keys, &rings, err);
    explicit_bzero(&rings, sizeof rings);
    return rc;
}

/*
 * The first tick believes the time of day, since nothing else knows how long the signer was away; but no key is
 * of the future.  Where the file was cut in a change, nobody may have seen the next key yet.
 */
static void
begin(struct signer_keys *keys, int64_t now)
{
    bool cut = !slot_file_is_even(&keys->file);

    for (size_t k = 0; k < KEY_RINGS; k++) {
        key_ring_clamp(&keys->rings.of[k], now);
        if (cut)
            key_ring_republish(&keys->rings.of[k], now);
    }
    keys->unsaved |= cut;
}

static void
follow_clock(struct signer_keys *keys, int64_t now, int64_t passed)
{
    int64_t step = (now - keys->wall) - (passed - keys->passed);

    if (!keys->ticked) {
        begin(keys, now);
    } else if (step > CLOCK_STEP_SECONDS || step < -CLOCK_STEP_SECONDS) {
        log_notice("event=clock-set seconds=%lld: the keys stay as old as they were", (long long)step);
        for (size_t k = 0; k < KEY_RINGS; k++)
            key_ring_shift(&keys->rings.of[k], step);
        ca_set_shift(&keys->cas, step);
        keys->unsaved = keys->cas_unsaved = true;
    }
    keys->ticked = true;
    keys->wall = now;
    keys->passed = passed;
}

static int
turn(struct signer_keys *keys, enum key_ring_kind kind, struct error *err)
{
    for (int i = 0; i < MOVES_MAX; i++) {
        enum ring_move due = key_ring_due(&keys->rings.of[kind], keys->interval, keys->wall);

        if (due == RING_STAYS)
            break;
        if (move(keys, kind, due, err) < 0)
            return -1;
    }
    return 0;
}

static int
catch_up(struct signer_keys *keys, struct error *err)
{
    if (key_file_even(&keys->file, &keys->rings, err) < 0)
        return -1;
    if (keys->unsaved && key_file_write(&keys->file, &keys->rings, err) < 0)
        return -1;
    keys->unsaved = false;
    if (turn(keys, RING_TOKEN, err) < 0 || turn(keys, RING_BOUND, err) < 0)
        return -1;
    return signer_ca_tick(keys, keys->wall, err);
}

/* A disk that fails is told once, and once that it is in order. */
static void
do_what_is_due(struct signer_keys *keys)
{
    struct error trouble = { 0 };

    if (catch_up(keys, &trouble) == 0)
        trouble = (struct error){ 0 };
    if (trouble.code != ERROR_NONE && keys->trouble.code == ERROR_NONE)
        log_error(&trouble, "event=alarm the keys can not be changed; those of now go on");
    else if (trouble.code == ERROR_NONE && keys->trouble.code != ERROR_NONE)
        log_notice("event=keys-in-order");
    keys->trouble = trouble;
}

void
signer_tick(struct signer_keys *keys, int64_t now, int64_t passed)
{
    if (now < 0)
        return;
    follow_clock(keys, now, passed);
    do_what_is_due(keys);
}

int
signer_rotate(struct signer_keys *keys, enum key_ring_kind kind, struct error *err)
{
    if (move(keys, kind, RING_ROTATES, err) < 0)
        return -1;
    do_what_is_due(keys);
    return 0;
}

/* In each ring that has it; *found stays if none has. */
static int
revoke_in(struct key_ring *ring, const char *kid, int64_t now, bool *found, struct error *err)
{
    CLEANUP(key_free) struct key *fresh = NULL;
    struct error why;

    if (key_generate(&fresh, err) < 0)
        return -1;
    if (key_ring_revoke(ring, kid, fresh, now, &why) == 0) {
        *found = true;
        return 0;
    }
    if (why.code == ERROR_MISSING)
        return 0;
    *err = why;
    return -1;
}

int
signer_revoke(struct signer_keys *keys, const char *kid, struct error *err)
{
    struct key_rings rings = keys->rings;
    bool found = false;
    int rc = 0;

    for (size_t k = 0; rc == 0 && k < KEY_RINGS; k++)
        rc = revoke_in(&rings.of[k], kid, keys->wall, &found, err);
    if (rc == 0 && !found)
        rc = error_problem(err, ERROR_MISSING, "not-found", "no key that signs tokens has this name");
    if (rc == 0)
        rc = change(keys, &rings, err);
    explicit_bzero(&rings, sizeof rings);
    if (rc == 0)
        do_what_is_due(keys);
    return rc;
}

static int
add_fixed(struct mint_keys *list, enum mint_key_purpose purpose, const struct key *key, int64_t made, struct error *err)
{
    struct mint_key *entry = &list->keys[list->n++];
    uint8_t point[KEY_POINT_LEN], thumbprint[KEY_THUMBPRINT_LEN];

    *entry = (struct mint_key){ .purpose = purpose, .state = MINT_KEY_ACTIVE, .made = made, .since = made };
    key_point(key, point);
    if (key_thumbprint(point, thumbprint, err) < 0)
        return -1;
    b64url_encode(thumbprint, sizeof thumbprint, entry->kid);
    return 0;
}

/* The first CAs are of the same init as the receipts' key: 0 when they are known no more. */
static int64_t
receipt_made(const struct signer_keys *keys)
{
    return keys->cas.links < MINT_CAS_MAX - 1 ? keys->cas.of[0].made : 0;
}

static void
add_ring(struct mint_keys *list, const struct signer_keys *keys, enum key_ring_kind kind)
{
    const struct key_ring *ring = &keys->rings.of[kind];

    for (size_t i = 0; i < ring->n; i++) {
        const struct ring_key *k = &ring->keys[i];
        struct mint_key *entry = &list->keys[list->n++];

        *entry = (struct mint_key){ .purpose = key_ring_purpose(kind), .state = k->state, .made = k->made,
                                    .since = k->since, .step = key_ring_step_at(ring, k, keys->interval) };
        strcpy(entry->kid, k->kid);
    }
}

int
signer_key_list(const struct signer_keys *keys, struct mint_keys *ret, struct error *err)
{
    const struct mint_info *info = &keys->info;

    memset(ret, 0, sizeof *ret);
    strcpy(ret->jwks, info->jwks);
    strcpy(ret->kid, info->kid);
    strcpy(ret->bound_jwks, info->bound_jwks);
    strcpy(ret->bound_kid, info->bound_kid);
    add_ring(ret, keys, RING_TOKEN);
    add_ring(ret, keys, RING_BOUND);
    return signer_ca_list(keys, ret, err) < 0 ||
                   add_fixed(ret, MINT_KEY_RECEIPT, keys->receipt, receipt_made(keys), err) < 0 ||
                   add_fixed(ret, MINT_KEY_AUDIT, keys->audit, keys->head.made, err) < 0
               ? -1
               : 0;
}
