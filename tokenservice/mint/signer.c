#include "config.h"

#include "tokenservice/mint/signer.h"

#include <stdio.h>
#include <string.h>

#include "lib/common/secret.h"
#include "lib/crypto/hash.h"
#include "lib/crypto/random.h"
#include "lib/crypto/x509.h"
#include "lib/wire/fields.h"
#include "lib/wire/names.h"
#include "lib/wire/token.h"
#include "lib/wire/transcript.h"
#include "tokenservice/mint/signer_ca.h"
#include "tokenservice/mint/signer_claims.h"
#include "tokenservice/mint/signer_heads.h"
#include "tokenservice/mint/signer_turn.h"

#define NONCE_LABEL "virtid-subkey-nonce-1"
#define ACTIVATE_LABEL "virtid-subkey-activate-1"

enum { SPKI_MAX = 512, SERIAL_LEN = 16, URI_MAX = 255, SECONDS_PER_HOUR = 3600 };

/* The subject's key as SubjectPublicKeyInfo; only an EK may be of another kind than
 * P-256. */
static int
subject_spki(const struct mint_request *r, struct buf *into, struct error *err)
{
    if (r->public_len == KEY_POINT_LEN)
        return x509_spki_of_point(r->public_, into, err);
    if (r->kind != MINT_KIND_EK)
        return error_set(err, ERROR_DENIED,
                         "the subject's key is not a point of P-256");
    if (r->public_len == 96)
        return x509_spki_of_p384(r->public_, r->public_ + 48, into, err);
    if (r->public_len == 256)
        return x509_spki_of_rsa(r->public_, r->public_len, into, err);
    return error_set(err, ERROR_DENIED, "an EK of %zu bytes", r->public_len);
}

/* Our own words for the subject: the name that came is checked, and is only a part of
 * it. */
static int
subject_name(const struct mint_info *info, const struct mint_request *r, char *ret,
             size_t room, enum x509_kind *ret_kind, struct error *err)
{
    struct vm_uuid uuid;

    switch (r->kind) {
    case MINT_KIND_SERVER:
        *ret_kind = X509_SERVER;
        if (r->name[0])
            return error_set(err, ERROR_DENIED,
                             "the server's names are not for asking");
        (void)snprintf(ret, room, "%s", info->names);
        return 0;
    case MINT_KIND_HOST_TLS:
    case MINT_KIND_HOST_PROOF:
        *ret_kind = r->kind == MINT_KIND_HOST_TLS ? X509_HOST_TLS : X509_HOST_PROOF;
        if (!name_is_host(r->name))
            return error_set(err, ERROR_INPUT, "host name");
        (void)snprintf(ret, room, "spiffe://%s/host/%s", info->trust_domain, r->name);
        return 0;
    case MINT_KIND_EK:
        *ret_kind = X509_EK;
        if (vm_uuid_parse(r->name, &uuid, err) < 0)
            return -1;
        (void)snprintf(ret, room, "%s", r->name);
        return 0;
    }
    return error_set(err, ERROR_DENIED, "no such kind of certificate");
}

static int
certify(const struct signer_keys *keys, const struct mint_request *r, int64_t now,
        struct buf *into, struct error *err)
{
    CLEANUP(buf_clear) struct buf spki = BUF(SPKI_MAX), der = BUF(MINT_CERT_MAX);
    const struct mint_info *info = &keys->info;
    bool ek = r->kind == MINT_KIND_EK;
    char name[MINT_NAMES_MAX + 1];
    uint8_t serial[SERIAL_LEN];
    struct x509_request request = { .name = name, .serial = serial, .now = now };

    if (subject_name(info, r, name, sizeof name, &request.kind, err) < 0 ||
        subject_spki(r, &spki, err) < 0 || random_bytes(serial, sizeof serial, err) < 0)
        return -1;
    serial[0] = (uint8_t)((serial[0] & 0x7f) | 0x40); /* positive, always 16 bytes */
    request.spki = spki.data;
    request.spki_len = spki.len;
    if (x509_compose(&request, ek ? keys->ek_ca : keys->host_ca,
                     ek ? info->ek_ca : info->host_ca,
                     ek ? info->ek_ca_len : info->host_ca_len, &der, err) < 0)
        return -1;
    fields_add(into, der.data, der.len);
    return 0;
}

static int
row_mac(const struct signer_keys *keys, const uint8_t *row, size_t len,
        uint8_t ret[static ROW_MAC_LEN], struct error *err)
{
    return hash_hmac(keys->row->bytes, keys->row->len, row, len, ret, err);
}

/* Only what decodes is MACed: the key makes no MAC over anything but rows. */
static int
mac_row(const struct signer_keys *keys, const struct mint_request *r, struct buf *into,
        struct error *err)
{
    struct identity_row row;
    uint8_t mac[ROW_MAC_LEN];

    if (identity_row_decode(r->row, r->row_len, &row, err) < 0 ||
        row_mac(keys, r->row, r->row_len, mac, err) < 0)
        return -1;
    fields_add(into, mac, sizeof mac);
    return 0;
}

static int
check_row(const struct signer_keys *keys, const struct mint_request *r,
          struct error *err)
{
    uint8_t mac[ROW_MAC_LEN];

    if (row_mac(keys, r->row, r->row_len, mac, err) < 0)
        return -1;
    if (!secret_equal(mac, r->mac, sizeof mac))
        return error_problem(err, ERROR_DENIED, "row-forged",
                             "the identity row was not written by this service");
    return 0;
}

static int
make_token(const struct signer_keys *keys, const struct mint_request *r, int64_t now,
           struct buf *into, struct error *err)
{
    CLEANUP(buf_clear) struct buf token = BUF(MINT_TOKEN_MAX);
    CLEANUP(json_decref) json_t *claims = NULL;
    enum key_ring_kind kind = r->token.flags & MINT_BOUND ? RING_BOUND : RING_TOKEN;
    struct identity_row row;

    if (!keys->signs[kind])
        return error_problem(err, ERROR_BUSY, "unavailable", "no key for bound tokens could be made yet");
    if (check_row(keys, r, err) < 0 ||
        identity_row_decode(r->row, r->row_len, &row, err) < 0)
        return -1;
    if (r->token.now < now - SIGNER_SKEW_SECONDS ||
        r->token.now > now + SIGNER_SKEW_SECONDS)
        return error_set(err, ERROR_DENIED, "a token is made now, not at another time");
    if (signer_claims(&keys->info, &row, &r->token, &claims, err) < 0 ||
        token_sign(claims, keys->signs[kind], &token, err) < 0)
        return -1;
    fields_add(into, token.data, token.len);
    return 0;
}

static int
make_receipt(const struct signer_keys *keys, const struct mint_request *r,
             struct buf *into, struct error *err)
{
    CLEANUP(buf_clear) struct buf receipt = BUF(MINT_RECEIPT_MAX);
    uint8_t signature[KEY_SIGNATURE_LEN];

    fields_add_text(&receipt, MINT_RECEIPT_LABEL);
    fields_add(&receipt, r->record, r->record_len);
    if (!buf_ok(&receipt))
        return error_set(err, buf_error_code(&receipt), "the record is too long");
    if (key_sign(keys->receipt, receipt.data, receipt.len, signature, err) < 0)
        return -1;
    buf_add(&receipt, signature, sizeof signature);
    if (!buf_ok(&receipt))
        return error_set(err, buf_error_code(&receipt), "the record is too long");
    fields_add(into, receipt.data, receipt.len);
    return 0;
}

static int
derive_subkey(const struct signer_keys *keys, const struct mint_request *r, int64_t now,
              struct buf *into, struct error *err)
{
    CLEANUP(buf_clear) struct buf label = BUF(NAME_ISSUER_MAX + 64);
    const struct secret *master =
        r->purpose == MINT_PURPOSE_NONCE ? keys->nonce : keys->activate;
    uint64_t hour = (uint64_t)now / SECONDS_PER_HOUR;
    uint8_t key[MINT_SUBKEY_LEN];
    int rc;

    if (r->hour + 1 < hour || r->hour > hour + 1)
        return error_set(err, ERROR_DENIED,
                         "a subkey is for the present hour and its neighbors");
    fields_add_text(&label,
                    r->purpose == MINT_PURPOSE_NONCE ? NONCE_LABEL : ACTIVATE_LABEL);
    fields_add_text(&label, keys->info.issuer);
    fields_add_u64(&label, r->hour);
    rc = hash_hkdf(master->bytes, master->len, label.data, label.len, key, err);
    if (rc == 0)
        fields_add(into, key, sizeof key);
    explicit_bzero(key, sizeof key);
    return rc;
}

static int
list_keys(const struct signer_keys *keys, struct buf *into, struct error *err)
{
    struct mint_keys list;

    return signer_key_list(keys, &list, err) < 0 ? -1 : mint_keys_encode(&list, into, err);
}

static int
next_bundle(const struct signer_keys *keys, const struct mint_request *r, struct buf *into, struct error *err)
{
    CLEANUP(buf_clear) struct buf bundle = BUF(BUNDLE_MAX);

    if (signer_ca_bundle(keys, r->serial, &bundle, err) < 0)
        return -1;
    fields_add(into, bundle.data, bundle.len);
    return 0;
}

/* The answer's fields, behind its head. */
static int
serve(struct signer_keys *keys, const struct mint_request *r, int64_t now,
      struct buf *into, struct error *err)
{
    uint8_t point[KEY_POINT_LEN];
    struct audit_head head;

    switch (r->op) {
    case MINT_INFO:
        return mint_info_encode(&keys->info, into, err);
    case MINT_CERTIFY:
        return certify(keys, r, now, into, err);
    case MINT_ROW_MAC:
        return mac_row(keys, r, into, err);
    case MINT_ROW_CHECK:
        return check_row(keys, r, err);
    case MINT_TOKEN:
        return make_token(keys, r, now, into, err);
    case MINT_RECEIPT:
        return make_receipt(keys, r, into, err);
    case MINT_SUBKEY:
        return derive_subkey(keys, r, now, into, err);
    case MINT_KEYS:
        return list_keys(keys, into, err);
    case MINT_ROTATE:
        return signer_rotate(keys, r->key == MINT_KEY_BOUND ? RING_BOUND : RING_TOKEN, err) < 0 ? -1 : list_keys(keys, into, err);
    case MINT_REVOKE:
        return signer_revoke(keys, r->kid, err) < 0 ? -1 : list_keys(keys, into, err);
    case MINT_CA_PUBLISH:
        return signer_ca_publish(keys, now, err);
    case MINT_CA_TURN:
        return signer_ca_turn(keys, r->kid, now, err);
    case MINT_BUNDLE:
        return next_bundle(keys, r, into, err);
    case MINT_HEAD:
        return signer_head(keys, r, now, &head, err) < 0 ? -1 : mint_head_encode(&head, into, err);
    case MINT_SIGNED:
        key_point(keys->audit, point);
        fields_add(into, point, sizeof point);
        return mint_head_encode(&keys->head.newest, into, err);
    }
    return error_set(err, ERROR_INPUT, "unknown operation");
}

void
signer_answer(struct signer_keys *keys, const uint8_t *bytes, size_t len,
              int64_t now, struct buf *into)
{
    CLEANUP(buf_clear) struct buf fields = BUF(MINT_PACKET_MAX);
    struct mint_request request;
    struct error err = { 0 };

    json_begin();
    if (now < 0 || mint_request_decode(bytes, len, &request, &err) < 0 ||
        serve(keys, &request, now, &fields, &err) < 0) {
        if (err.code == ERROR_NONE)
            (void)error_set(&err, ERROR_SYSTEM, "the signer's clock");
        mint_refusal_encode(&err, into);
        return;
    }
    if (!buf_ok(&fields)) {
        (void)error_set(&err, ERROR_SYSTEM, "the answer is too long");
        mint_refusal_encode(&err, into);
        return;
    }
    mint_done_encode(into);
    buf_add(into, fields.data, fields.len);
}

static int
warm_up_certificates(const struct signer_keys *keys, int64_t now, struct error *err)
{
    struct mint_request r = { .op = MINT_CERTIFY,
                              .kind = MINT_KIND_SERVER,
                              .public_len = KEY_POINT_LEN };
    CLEANUP(buf_clear) struct buf ignored = BUF(MINT_PACKET_MAX);

    key_point(keys->host_ca, r.public_);
    if (certify(keys, &r, now, &ignored, err) < 0)
        return -1;
    r.kind = MINT_KIND_HOST_PROOF;
    strcpy(r.name, "warm");
    if (certify(keys, &r, now, &ignored, err) < 0)
        return -1;
    r.kind = MINT_KIND_EK;
    strcpy(r.name, "00000000-0000-4000-8000-000000000000");
    return certify(keys, &r, now, &ignored, err);
}

/* Generations that nobody sees, and none of ours: those may be too young for another. */
static int
warm_up_cas(const struct signer_keys *keys, int64_t now, struct error *err)
{
    struct ca_names names = signer_keys_names(keys);
    CLEANUP(buf_clear) struct buf link = BUF(BUNDLE_MAX);
    struct ca_set cas;
    int rc = ca_set_begin(&names, now, &cas, err);

    if (rc == 0)
        rc = ca_set_publish(&cas, &names, now, err);
    if (rc == 0)
        rc = ca_set_turn(&cas, &names, ca_set_find(&cas, MINT_KEY_NEXT)->kid, now, &link, err);
    explicit_bzero(&cas, sizeof cas);
    return rc;
}

int
signer_warm_up(const struct signer_keys *keys, int64_t now, struct error *err)
{
    struct identity_row row = { .state = ROW_OK,
                                .floor = FACTOR_HOST,
                                .labels = "{}",
                                .host = "warm",
                                .epoch = 1 };
    struct mint_request token = {
        .op = MINT_TOKEN,
        .token = { .audience = "warm", .factors = FACTOR_HOST, .now = now }
    };
    struct mint_request receipt = { .op = MINT_RECEIPT,
                                    .record = (const uint8_t *)"w",
                                    .record_len = 1 };
    struct mint_request subkey = { .op = MINT_SUBKEY,
                                   .purpose = MINT_PURPOSE_NONCE,
                                   .hour = (uint64_t)now / SECONDS_PER_HOUR };
    CLEANUP(buf_clear)
    struct buf bytes = BUF(ROW_MAX), ignored = BUF(4 * MINT_PACKET_MAX), list = BUF(MINT_PACKET_MAX);
    CLEANUP(key_free) struct key *key = NULL;
    struct audit_head head = { .id = 1 };

    if (identity_row_encode(&row, &bytes, err) < 0 ||
        row_mac(keys, bytes.data, bytes.len, token.mac, err) < 0)
        return -1;
    token.row = bytes.data;
    token.row_len = bytes.len;
    if (key_generate(&key, err) < 0 || audit_head_sign(&head, keys->audit, err) < 0 || list_keys(keys, &list, err) < 0 ||
        make_token(keys, &token, now, &ignored, err) < 0 ||
        make_receipt(keys, &receipt, &ignored, err) < 0 ||
        derive_subkey(keys, &subkey, now, &ignored, err) < 0)
        return -1;
    return warm_up_certificates(keys, now, err) < 0 ? -1 : warm_up_cas(keys, now, err);
}
