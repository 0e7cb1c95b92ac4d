#include "config.h"

#include "lib/wire/bundle.h"

#include <errno.h>
#include <string.h>

#include "lib/crypto/key.h"
#include "lib/crypto/x509.h"
#include "lib/wire/fields.h"

static const char label[] = "virtid-bundle-1";

int
bundle_message(const struct bundle *b, struct buf *into, struct error *err)
{
    if (!name_is_issuer(b->issuer) || b->serial == 0 || b->guest_listener[0] == '\0' ||
        b->ca_now_len == 0)
        return error_set(err, ERROR_INPUT, "incomplete trust bundle");
    fields_add_text(into, label);
    fields_add_text(into, b->issuer);
    fields_add_u64(into, b->serial);
    fields_add_text(into, b->guest_listener);
    fields_add(into, b->ca_now, b->ca_now_len);
    fields_add(into, b->ca_next, b->ca_next_len);
    if (!buf_ok(into))
        return error_set(err, buf_error_code(into), "trust bundle too long");
    return 0;
}

static int
take_ca(struct fields *f, size_t min, uint8_t ret[static BUNDLE_CA_MAX],
        size_t *ret_len, struct error *err)
{
    const uint8_t *der;

    if (fields_take(f, min, BUNDLE_CA_MAX, &der, ret_len, err) < 0)
        return -1;
    memcpy(ret, der, *ret_len);
    return 0;
}

static int
take_all(struct fields *f, struct bundle *ret, struct error *err)
{
    char got[sizeof label];

    if (fields_take_text(f, sizeof label - 1, sizeof label - 1, got, err) < 0 ||
        fields_take_text(f, 1, NAME_ISSUER_MAX, ret->issuer, err) < 0 ||
        fields_take_u64(f, &ret->serial, err) < 0 ||
        fields_take_text(f, 1, sizeof ret->guest_listener - 1, ret->guest_listener,
                         err) < 0 ||
        take_ca(f, 1, ret->ca_now, &ret->ca_now_len, err) < 0 ||
        take_ca(f, 0, ret->ca_next, &ret->ca_next_len, err) < 0)
        return -1;
    if (strcmp(got, label) != 0)
        return error_set(err, ERROR_INPUT, "another label");
    if (!name_is_issuer(ret->issuer) || ret->serial == 0)
        return error_set(err, ERROR_INPUT, "no issuer URL or no serial");
    if (f->left != KEY_SIGNATURE_LEN)
        return error_set(err, ERROR_INPUT, "signature of %zu bytes", f->left);
    return 0;
}

int
bundle_decode(const uint8_t *bytes, size_t len, struct bundle *ret, struct error *err)
{
    struct fields f = { bytes, len };
    CLEANUP(mem_free) struct bundle *b = NULL;

    if (len > BUNDLE_MAX)
        return error_set(err, ERROR_INPUT, "trust bundle of %zu bytes", len);
    b = calloc(1, sizeof *b);
    if (!b)
        return error_sys(err, ENOMEM, "trust bundle");
    if (take_all(&f, b, err) < 0)
        return error_wrap(err, "trust bundle");
    *ret = *b;
    return 0;
}

/* Signed by this CA?  A CA of ours in every field; its time is not looked at: a guest's
 * clock may be wrong. */
static int
check_signature(const uint8_t *ca, size_t ca_len, const uint8_t *bytes, size_t len,
                struct error *err)
{
    struct x509_der trusted = { ca, ca_len };
    struct x509_info info;
    CLEANUP(key_free) struct key *key = NULL;

    if (x509_read(ca, ca_len, &info, err) < 0 ||
        x509_verify(ca, ca_len, X509_CA_HOST, &trusted, 1, info.not_before, &info,
                    err) < 0 ||
        key_from_point(info.point, &key, err) < 0)
        return -1;
    return key_verify(key, bytes, len - KEY_SIGNATURE_LEN,
                      bytes + len - KEY_SIGNATURE_LEN, err);
}

static int
check_successor(const struct bundle *held, const struct bundle *next,
                const uint8_t *bytes, size_t len, struct error *err)
{
    if (strcmp(held->issuer, next->issuer) != 0)
        return error_problem(err, ERROR_DENIED, "bundle-refused",
                             "trust bundle of issuer %s, held is %s", next->issuer,
                             held->issuer);
    if (next->serial <= held->serial)
        return error_problem(err, ERROR_DENIED, "bundle-refused",
                             "trust bundle with serial %llu, held is %llu",
                             (unsigned long long)next->serial,
                             (unsigned long long)held->serial);
    if (check_signature(held->ca_now, held->ca_now_len, bytes, len, err) == 0)
        return 0;
    if (held->ca_next_len > 0 &&
        check_signature(held->ca_next, held->ca_next_len, bytes, len, err) == 0)
        return 0;
    return error_problem(err, ERROR_DENIED, "bundle-refused",
                         "trust bundle not signed by a CA of the one held");
}

int
bundle_accept(const struct bundle *held, const uint8_t *bytes, size_t len,
              struct bundle *ret, struct error *err)
{
    CLEANUP(mem_free) struct bundle *next = calloc(1, sizeof *next);

    if (!next)
        return error_sys(err, ENOMEM, "trust bundle");
    if (bundle_decode(bytes, len, next, err) < 0)
        return -1;
    if (held && check_successor(held, next, bytes, len, err) < 0)
        return -1;
    if (!held && check_signature(next->ca_now, next->ca_now_len, bytes, len, err) < 0)
        return error_problem(err, ERROR_DENIED, "bundle-refused",
                             "trust bundle not signed by its own CA");
    *ret = *next;
    return 0;
}
