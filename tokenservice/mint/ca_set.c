#include "config.h"

#include "tokenservice/mint/ca_set.h"

#include <stdio.h>
#include <string.h>

#include "lib/common/encode.h"
#include "lib/crypto/random.h"
#include "lib/crypto/x509.h"
#include "lib/wire/fields.h"

#define CA_LABEL "virtid-cas-1"

enum { NAME_MAX_LEN = 64 /* of a common name: RFC 5280 */, TAIL_ROOM = 32, SERIAL_LEN = 16, SPKI_ROOM = 256 };

const struct ca_pair *
ca_set_find(const struct ca_set *set, enum mint_key_state state)
{
    for (size_t i = 0; i < set->n; i++) {
        if (set->of[i].state == state)
            return &set->of[i];
    }
    return NULL;
}

int
ca_kid(const struct mint_ca *cert, char ret[static MINT_KID_MAX + 1], struct error *err)
{
    uint8_t thumbprint[KEY_THUMBPRINT_LEN];
    struct x509_info info;

    if (x509_read(cert->der, cert->len, &info, err) < 0 || key_thumbprint(info.point, thumbprint, err) < 0)
        return -1;
    b64url_encode(thumbprint, sizeof thumbprint, ret);
    return 0;
}

/* ---- a generation ---- */

static int
make_cert(enum x509_kind kind, const char *name, const struct key *key, int64_t now, struct mint_ca *ret,
          struct error *err)
{
    CLEANUP(buf_clear) struct buf spki = BUF(SPKI_ROOM), der = BUF(sizeof ret->der);
    uint8_t point[KEY_POINT_LEN], serial[SERIAL_LEN];
    struct x509_request request = { .kind = kind, .name = name, .serial = serial, .now = now };

    if (random_bytes(serial, sizeof serial, err) < 0)
        return -1;
    serial[0] = (uint8_t)((serial[0] & 0x7f) | 0x40); /* positive, always 16 bytes */
    key_point(key, point);
    if (x509_spki_of_point(point, &spki, err) < 0)
        return -1;
    request.spki = spki.data;
    request.spki_len = spki.len;
    if (x509_compose(&request, key, NULL, 0, &der, err) < 0)
        return -1;
    if (!buf_ok(&der))
        return error_set(err, ERROR_SYSTEM, "the CA's certificate is too long");
    memcpy(ret->der, der.data, der.len);
    ret->len = der.len;
    return 0;
}

/*
 * Each generation has names of its own: some verifiers look for an issuer by its name alone.  A trust domain that is
 * too long for one is cut, not that.
 */
static void
name_ca(const struct ca_names *names, const char *what, uint64_t number, char ret[static NAME_MAX_LEN + 1])
{
    char tail[TAIL_ROOM];
    int len = number == 1 ? snprintf(tail, sizeof tail, " %s", what)
                          : snprintf(tail, sizeof tail, " %s %llu", what, (unsigned long long)number);

    (void)snprintf(ret, NAME_MAX_LEN + 1, "%.*s%s", NAME_MAX_LEN - len, names->trust_domain, tail);
}

static int
make_one(const struct ca_names *names, const char *what, uint64_t number, enum x509_kind kind, int64_t now,
         uint8_t ret_scalar[static KEY_PRIVATE_LEN], struct mint_ca *ret_cert, struct error *err)
{
    CLEANUP(key_free) struct key *key = NULL;
    char name[NAME_MAX_LEN + 1];

    name_ca(names, what, number, name);
    if (key_generate(&key, err) < 0 || make_cert(kind, name, key, now, ret_cert, err) < 0)
        return -1;
    key_private(key, ret_scalar);
    return 0;
}

static int
make_pair(const struct ca_names *names, uint64_t number, enum mint_key_state state, int64_t now, struct ca_pair *ret,
          struct error *err)
{
    memset(ret, 0, sizeof *ret);
    ret->state = state;
    ret->made = ret->since = now;
    if (make_one(names, "hosts", number, X509_CA_HOST, now, ret->host_scalar, &ret->host, err) < 0 ||
        make_one(names, "vTPMs", number, X509_CA_EK, now, ret->ek_scalar, &ret->ek, err) < 0 ||
        ca_kid(&ret->host, ret->kid, err) < 0) {
        explicit_bzero(ret, sizeof *ret);
        return -1;
    }
    return 0;
}

/* ---- the bundle ---- */

/* Of the set as it is; `by` is the host CA that was active before. */
static int
sign_bundle(struct ca_set *set, const struct ca_names *names, uint64_t serial, const uint8_t *by, struct error *err)
{
    const struct ca_pair *now = ca_set_find(set, MINT_KEY_ACTIVE), *next = ca_set_find(set, MINT_KEY_NEXT);
    CLEANUP(buf_clear) struct buf bytes = BUF(BUNDLE_MAX);
    CLEANUP(key_free) struct key *key = NULL;
    struct bundle bundle = { .serial = serial, .ca_now_len = now->host.len };
    uint8_t signature[KEY_SIGNATURE_LEN];

    memcpy(bundle.ca_now, now->host.der, now->host.len);
    if (next) {
        memcpy(bundle.ca_next, next->host.der, next->host.len);
        bundle.ca_next_len = next->host.len;
    }
    (void)snprintf(bundle.issuer, sizeof bundle.issuer, "%s", names->issuer);
    (void)snprintf(bundle.guest_listener, sizeof bundle.guest_listener, "%s", names->guests);
    if (key_from_private(by, &key, err) < 0 || bundle_message(&bundle, &bytes, err) < 0 ||
        key_sign(key, bytes.data, bytes.len, signature, err) < 0)
        return -1;
    buf_add(&bytes, signature, sizeof signature);
    if (!buf_ok(&bytes))
        return error_set(err, ERROR_SYSTEM, "the bundle is too long");
    memcpy(set->bundle, bytes.data, bytes.len);
    set->bundle_len = bytes.len;
    set->serial = serial;
    return 0;
}

int
ca_set_begin(const struct ca_names *names, int64_t now, struct ca_set *ret, struct error *err)
{
    memset(ret, 0, sizeof *ret);
    ret->n = 1;
    if (make_pair(names, 1, MINT_KEY_ACTIVE, now, &ret->of[0], err) < 0)
        return -1;
    return sign_bundle(ret, names, 1, ret->of[0].host_scalar, err);
}

/*
 * Of the time, so that a key folder that was restored gives no serial anew that hosts and guests hold already.
 */
static uint64_t
serial_behind(const struct ca_set *set, int64_t now)
{
    return now > 0 && (uint64_t)now > set->serial ? (uint64_t)now : set->serial + 1;
}

/* ---- what happens to it ---- */

static void
remove_at(struct ca_set *set, size_t i)
{
    set->n--;
    memmove(&set->of[i], &set->of[i + 1], (set->n - i) * sizeof set->of[0]);
    explicit_bzero(&set->of[set->n], sizeof set->of[0]);
}

int
ca_set_publish(struct ca_set *set, const struct ca_names *names, int64_t now, struct error *err)
{
    const struct ca_pair *active = ca_set_find(set, MINT_KEY_ACTIVE);

    if (ca_set_find(set, MINT_KEY_NEXT))
        return 0;
    if (set->n == MINT_CAS_MAX && set->of[0].host.len > 0)
        return error_problem(err, ERROR_BUSY, "ca-young", "hosts may have certificates by CA '%s' still, and no more "
                             "than %d before the one now are known: wait %d hours behind a rotation",
                             set->of[0].kid, MINT_CAS_MAX - 2, CA_RETIRE_SECONDS / 3600);
    if (set->n == MINT_CAS_MAX) {
        remove_at(set, 0); /* the oldest: EK certificates of that long ago are the host's word */
        active = ca_set_find(set, MINT_KEY_ACTIVE);
    }
    if (make_pair(names, set->links + 2, MINT_KEY_NEXT, now, &set->of[set->n], err) < 0)
        return -1;
    set->n++;
    return sign_bundle(set, names, serial_behind(set, now), active->host_scalar, err);
}

int
ca_set_vouch(struct ca_set *set, const struct ca_names *names, int64_t now, struct error *err)
{
    struct bundle bundle;
    struct error none;

    if (bundle_accept(NULL, set->bundle, set->bundle_len, &bundle, &none) == 0)
        return 0;
    return sign_bundle(set, names, serial_behind(set, now), ca_set_find(set, MINT_KEY_ACTIVE)->host_scalar, err);
}

int
ca_set_turn(struct ca_set *set, const struct ca_names *names, const char *kid, int64_t now, struct buf *into_link,
            struct error *err)
{
    struct ca_pair *active = (struct ca_pair *)ca_set_find(set, MINT_KEY_ACTIVE);
    struct ca_pair *next = (struct ca_pair *)ca_set_find(set, MINT_KEY_NEXT);
    uint8_t by[KEY_PRIVATE_LEN];
    int rc;

    if (strcmp(active->kid, kid) == 0)
        return 0;
    if (!next || strcmp(next->kid, kid) != 0)
        return error_problem(err, ERROR_MISSING, "not-found", "no next CA has this name");
    memcpy(by, active->host_scalar, sizeof by);
    explicit_bzero(active->host_scalar, sizeof active->host_scalar);
    explicit_bzero(active->ek_scalar, sizeof active->ek_scalar);
    active->state = MINT_KEY_RETIRING;
    next->state = MINT_KEY_ACTIVE;
    active->since = next->since = now;
    set->links++;
    /* Told again by a folder that was restored, the link has the serial that it had: whoever is past it passes it. */
    rc = sign_bundle(set, names, set->serial + 1, by, err);
    explicit_bzero(by, sizeof by);
    if (rc < 0)
        return -1;
    buf_add(into_link, set->bundle, set->bundle_len);
    return buf_ok(into_link) ? ca_set_vouch(set, names, now, err) : error_set(err, ERROR_SYSTEM, "no memory for a link");
}

int64_t
ca_set_step_at(const struct ca_pair *pair)
{
    return pair->state == MINT_KEY_RETIRING && pair->host.len > 0 ? pair->since + CA_RETIRE_SECONDS : 0;
}

void
ca_set_shift(struct ca_set *set, int64_t seconds)
{
    for (size_t i = 0; i < set->n; i++)
        set->of[i].since = seconds < -set->of[i].since ? 0 : set->of[i].since + seconds;
}

bool
ca_set_drop(struct ca_set *set, int64_t now)
{
    bool changed = false;

    for (size_t i = 0; i < set->n; i++) {
        int64_t at = ca_set_step_at(&set->of[i]);

        if (at == 0 || now < at)
            continue;
        set->of[i].host.len = 0;
        changed = true;
    }
    return changed;
}

/* ---- bytes ---- */

int
ca_set_encode(const struct ca_set *set, uint64_t seq, struct buf *into, struct error *err)
{
    fields_add_text(into, CA_LABEL);
    fields_add_u64(into, seq);
    fields_add_u64(into, set->links);
    fields_add(into, set->bundle, set->bundle_len);
    for (size_t i = 0; i < set->n; i++) {
        const struct ca_pair *p = &set->of[i];
        size_t scalar_len = p->state == MINT_KEY_RETIRING ? 0 : KEY_PRIVATE_LEN;

        fields_add_u8(into, (uint8_t)p->state);
        fields_add_u64(into, (uint64_t)p->made);
        fields_add_u64(into, (uint64_t)p->since);
        fields_add(into, p->host_scalar, scalar_len);
        fields_add(into, p->ek_scalar, scalar_len);
        fields_add(into, p->host.der, p->host.len);
        fields_add(into, p->ek.der, p->ek.len);
        fields_add_text(into, p->kid);
    }
    return buf_ok(into) ? 0 : error_set(err, buf_error_code(into), "CA keys: too long");
}

static int
take_cert(struct fields *f, size_t min, struct mint_ca *ret, struct error *err)
{
    const uint8_t *der;

    if (fields_take(f, min, sizeof ret->der, &der, &ret->len, err) < 0)
        return -1;
    memcpy(ret->der, der, ret->len);
    return 0;
}

/* The key of this certificate? */
static int
check_key(const uint8_t *scalar, const struct mint_ca *cert, enum x509_kind kind, struct error *err)
{
    CLEANUP(key_free) struct key *key = NULL;
    struct x509_der self = { cert->der, cert->len };
    uint8_t point[KEY_POINT_LEN];
    struct x509_info info;

    if (x509_read(cert->der, cert->len, &info, err) < 0 ||
        x509_verify(cert->der, cert->len, kind, &self, 1, info.not_before, &info, err) < 0 ||
        key_from_private(scalar, &key, err) < 0)
        return -1;
    key_point(key, point);
    return memcmp(point, info.point, sizeof point) == 0 /* public */
               ? 0
               : error_set(err, ERROR_INPUT, "a CA's key is not that of its certificate");
}

static int
check_pair(const struct ca_pair *p, struct error *err)
{
    char kid[MINT_KID_MAX + 1];

    if (p->host.len > 0 && (ca_kid(&p->host, kid, err) < 0 || strcmp(kid, p->kid) != 0))
        return error_set(err, ERROR_INPUT, "a CA's name is not that of its key");
    if (p->state == MINT_KEY_RETIRING)
        return 0;
    return check_key(p->host_scalar, &p->host, X509_CA_HOST, err) < 0 ||
                   check_key(p->ek_scalar, &p->ek, X509_CA_EK, err) < 0
               ? -1
               : 0;
}

static int
take_pair(struct fields *f, struct ca_pair *ret, struct error *err)
{
    uint8_t state;
    uint64_t made, since;
    bool gone;

    if (fields_take_u8(f, &state, err) < 0 || fields_take_u64(f, &made, err) < 0 || fields_take_u64(f, &since, err) < 0)
        return -1;
    if (state < MINT_KEY_NEXT || state > MINT_KEY_RETIRING || made > INT64_MAX / 2 || since > INT64_MAX / 2)
        return error_set(err, ERROR_INPUT, "CA keys: state %u", state);
    ret->state = (enum mint_key_state)state;
    ret->made = (int64_t)made;
    ret->since = (int64_t)since;
    gone = ret->state == MINT_KEY_RETIRING;
    if (fields_take_exact(f, ret->host_scalar, gone ? 0 : KEY_PRIVATE_LEN, err) < 0 ||
        fields_take_exact(f, ret->ek_scalar, gone ? 0 : KEY_PRIVATE_LEN, err) < 0 ||
        take_cert(f, gone ? 0 : 1, &ret->host, err) < 0 || take_cert(f, 1, &ret->ek, err) < 0 ||
        fields_take_text(f, MINT_KID_MAX, MINT_KID_MAX, ret->kid, err) < 0)
        return -1;
    return check_pair(ret, err);
}

/* One that issues, one at most that will; and the bundle names them. */
static int
check_set(struct ca_set *set, struct error *err)
{
    size_t n_of[MINT_KEY_RETIRING + 1] = { 0 };
    const struct ca_pair *active, *next;
    struct bundle bundle;

    for (size_t i = 0; i < set->n; i++)
        n_of[set->of[i].state]++;
    if (n_of[MINT_KEY_ACTIVE] != 1 || n_of[MINT_KEY_NEXT] > 1)
        return error_set(err, ERROR_INPUT, "CA keys: %zu are active, %zu next", n_of[MINT_KEY_ACTIVE],
                         n_of[MINT_KEY_NEXT]);
    active = ca_set_find(set, MINT_KEY_ACTIVE);
    next = ca_set_find(set, MINT_KEY_NEXT);
    if (bundle_decode(set->bundle, set->bundle_len, &bundle, err) < 0)
        return -1;
    if (bundle.ca_now_len != active->host.len || memcmp(bundle.ca_now, active->host.der, bundle.ca_now_len) != 0 ||
        bundle.ca_next_len != (next ? next->host.len : 0) ||
        (next && memcmp(bundle.ca_next, next->host.der, bundle.ca_next_len) != 0))
        return error_set(err, ERROR_INPUT, "the trust bundle is of other CAs than the keys");
    set->serial = bundle.serial;
    return 0;
}

static int
take_set(struct fields *f, struct ca_set *ret, struct error *err)
{
    char label[sizeof CA_LABEL];
    const uint8_t *bundle;
    uint64_t seq;

    if (fields_take_text(f, sizeof label - 1, sizeof label - 1, label, err) < 0 || fields_take_u64(f, &seq, err) < 0 ||
        fields_take_u64(f, &ret->links, err) < 0 ||
        fields_take(f, 1, sizeof ret->bundle, &bundle, &ret->bundle_len, err) < 0)
        return -1;
    if (strcmp(label, CA_LABEL) != 0)
        return error_set(err, ERROR_INPUT, "CA keys: of another version");
    memcpy(ret->bundle, bundle, ret->bundle_len);
    while (f->left > 0) {
        if (ret->n == MINT_CAS_MAX)
            return error_set(err, ERROR_INPUT, "CA keys: too many");
        if (take_pair(f, &ret->of[ret->n++], err) < 0)
            return -1;
    }
    return check_set(ret, err);
}

int
ca_set_decode(const uint8_t *bytes, size_t len, struct ca_set *ret, struct error *err)
{
    struct fields f = { .at = bytes, .left = len };

    memset(ret, 0, sizeof *ret);
    if (take_set(&f, ret, err) == 0)
        return 0;
    explicit_bzero(ret, sizeof *ret);
    return -1;
}

int
ca_set_adopt(const struct key *host, const struct key *ek, const struct mint_ca *host_cert,
             const struct mint_ca *ek_cert, const struct buf *bundle, struct ca_set *ret, struct error *err)
{
    struct ca_pair *pair = &ret->of[0];
    struct x509_info info;

    memset(ret, 0, sizeof *ret);
    ret->n = 1;
    pair->state = MINT_KEY_ACTIVE;
    key_private(host, pair->host_scalar);
    key_private(ek, pair->ek_scalar);
    pair->host = *host_cert;
    pair->ek = *ek_cert;
    if (!buf_ok(bundle) || bundle->len > sizeof ret->bundle)
        return error_set(err, ERROR_INPUT, "the trust bundle is too long");
    memcpy(ret->bundle, bundle->data, bundle->len);
    ret->bundle_len = bundle->len;
    if (x509_read(host_cert->der, host_cert->len, &info, err) < 0 || ca_kid(host_cert, pair->kid, err) < 0)
        return -1;
    pair->made = pair->since = info.not_before > 0 ? info.not_before : 0;
    return check_pair(pair, err) < 0 || check_set(ret, err) < 0 ? -1 : 0;
}

int
ca_set_pem(const struct ca_set *set, struct buf *into, struct error *err)
{
    const struct ca_pair *now = ca_set_find(set, MINT_KEY_ACTIVE), *next = ca_set_find(set, MINT_KEY_NEXT);

    if (x509_to_pem(now->host.der, now->host.len, into, err) < 0)
        return -1;
    return next ? x509_to_pem(next->host.der, next->host.len, into, err) : 0;
}
