#include "config.h"

#include "tokenservice/attest/nonce.h"

#include <string.h>

#include "lib/common/buf.h"
#include "lib/common/secret.h"
#include "lib/crypto/hash.h"
#include "lib/wire/fields.h"

enum { TIME_LEN = 8, MAC_LEN = 16, MESSAGE_MAX = 512 };

static const char label[] = "virtid-nonce-1";

static int64_t
nonce_time(const uint8_t *nonce)
{
    uint64_t t = 0;

    for (int i = 0; i < TIME_LEN; i++)
        t = t << 8 | nonce[i];
    return t > INT64_MAX ? INT64_MAX : (int64_t)t;
}

uint64_t
nonce_hour_now(int64_t now_ms)
{
    return now_ms < 0 ? 0 : (uint64_t)now_ms / NONCE_HOUR_MS;
}

static int
stale(struct error *err, const char *why)
{
    return error_problem(err, ERROR_DENIED, "stale", "nonce: %s", why);
}

int
nonce_hour(const uint8_t nonce[static NONCE_LEN], int64_t now_ms, uint64_t *ret_hour,
           struct error *err)
{
    int64_t made = nonce_time(nonce);

    if (made > now_ms + NONCE_SKEW_MS)
        return stale(err, "made in the future");
    if (made < now_ms - NONCE_TOKEN_MS)
        return stale(err, "too old");
    *ret_hour = nonce_hour_now(made);
    return 0;
}

/* The MAC over the first 24 bytes of `nonce`. */
static int
mac(const uint8_t *subkey, const char *issuer, const uint8_t *nonce,
    const struct nonce_bind *bind, uint8_t ret[static SHA256_LEN], struct error *err)
{
    CLEANUP(buf_clear) struct buf message = BUF(MESSAGE_MAX), whom = BUF(MESSAGE_MAX);

    if (bind) {
        fields_add(&whom, bind->uuid.bytes, sizeof bind->uuid.bytes);
        fields_add_u64(&whom, bind->epoch);
        fields_add(&whom, bind->ak_name, bind->has_ak ? TPM_NAME_LEN : 0);
    }
    fields_add_text(&message, label);
    fields_add_text(&message, issuer);
    fields_add(&message, nonce, TIME_LEN);
    fields_add(&message, nonce + TIME_LEN, NONCE_RANDOM_LEN);
    fields_add(&message, whom.data, whom.len);
    if (!buf_ok(&message) || !buf_ok(&whom))
        return error_set(err, ERROR_SYSTEM, "nonce: no room");
    return hash_hmac(subkey, NONCE_KEY_LEN, message.data, message.len, ret, err);
}

int
nonce_make(const uint8_t subkey[static NONCE_KEY_LEN], const char *issuer, int64_t now_ms,
           const uint8_t random[static NONCE_RANDOM_LEN], const struct nonce_bind *bind,
           uint8_t ret[static NONCE_LEN], struct error *err)
{
    uint8_t nonce[NONCE_LEN], full[SHA256_LEN];

    for (int i = 0; i < TIME_LEN; i++)
        nonce[i] = (uint8_t)((uint64_t)now_ms >> (56 - 8 * i));
    memcpy(nonce + TIME_LEN, random, NONCE_RANDOM_LEN);
    if (mac(subkey, issuer, nonce, bind, full, err) < 0)
        return -1;
    memcpy(nonce + TIME_LEN + NONCE_RANDOM_LEN, full, MAC_LEN);
    memcpy(ret, nonce, sizeof nonce);
    return 0;
}

static int
check_age(enum nonce_kind kind, int64_t age_ms, struct error *err)
{
    if (age_ms < -NONCE_SKEW_MS)
        return stale(err, "made in the future");
    if (age_ms > (kind == NONCE_CHALLENGE ? NONCE_CHALLENGE_MS : NONCE_TOKEN_MS))
        return stale(err, "too old");
    if (kind == NONCE_TOKEN && age_ms < NONCE_TOKEN_MS / 2)
        return stale(err, "of a token in the first half of its life");
    return 0;
}

int
nonce_check(const uint8_t subkey[static NONCE_KEY_LEN], const char *issuer, int64_t now_ms,
            const uint8_t nonce[static NONCE_LEN], const struct nonce_bind *bind,
            enum nonce_kind *ret_kind, struct error *err)
{
    const uint8_t *seen = nonce + TIME_LEN + NONCE_RANDOM_LEN;
    uint8_t challenge[SHA256_LEN], token[SHA256_LEN];
    int64_t made = nonce_time(nonce);
    enum nonce_kind kind;

    if (mac(subkey, issuer, nonce, NULL, challenge, err) < 0 ||
        mac(subkey, issuer, nonce, bind, token, err) < 0)
        return -1;
    if (secret_equal(seen, challenge, MAC_LEN))
        kind = NONCE_CHALLENGE;
    else if (bind && secret_equal(seen, token, MAC_LEN))
        kind = NONCE_TOKEN;
    else
        return stale(err, "not made by this service for this VM");
    if (check_age(kind, now_ms - made, err) < 0)
        return -1;
    *ret_kind = kind;
    return 0;
}

int
nonce_compare(const uint8_t a[static NONCE_LEN], const uint8_t b[static NONCE_LEN])
{
    return memcmp(a, b, TIME_LEN + NONCE_RANDOM_LEN); /* public values */
}
