#include "config.h"

#include "tokenservice/mint/mint_msg.h"

#include <string.h>

#include "lib/wire/fields.h"

static int
refuse(struct error *err, const char *what)
{
    return error_set(err, ERROR_INPUT, "signer message: %s", what);
}

static int
check_bounds(const struct mint_request *r, struct error *err)
{
    if (r->op < MINT_INFO || r->op > MINT_SIGNED)
        return refuse(err, "unknown operation");
    if (r->public_len > sizeof r->public_)
        return refuse(err, "public key too long");
    if (r->row_len > ROW_MAX)
        return refuse(err, "row too long");
    if (r->record_len > MINT_RECORD_MAX)
        return refuse(err, "record too long");
    return 0;
}

static void
encode_token(const struct mint_token_request *t, struct buf *into)
{
    fields_add_text(into, t->audience);
    fields_add_u8(into, t->flags);
    fields_add_u8(into, t->factors);
    fields_add(into, t->cnf, t->has_cnf ? sizeof t->cnf : 0);
    fields_add_u64(into, (uint64_t)t->now);
}

int
mint_request_encode(const struct mint_request *r, struct buf *into, struct error *err)
{
    if (check_bounds(r, err) < 0)
        return -1;
    fields_add_u8(into, (uint8_t)r->op);
    switch (r->op) {
    case MINT_INFO:
    case MINT_KEYS:
    case MINT_CA_PUBLISH:
    case MINT_SIGNED:
        break;
    case MINT_BUNDLE:
        fields_add_u64(into, r->serial);
        break;
    case MINT_HEAD:
        fields_add_u8(into, r->new_line);
        fields_add_u64(into, (uint64_t)r->head_id);
        fields_add(into, r->head_hash, sizeof r->head_hash);
        break;
    case MINT_ROTATE:
        fields_add_u8(into, (uint8_t)r->key);
        break;
    case MINT_REVOKE:
    case MINT_CA_TURN:
        fields_add_text(into, r->kid);
        break;
    case MINT_CERTIFY:
        fields_add_u8(into, (uint8_t)r->kind);
        fields_add_text(into, r->name);
        fields_add(into, r->public_, r->public_len);
        break;
    case MINT_ROW_MAC:
        fields_add(into, r->row, r->row_len);
        break;
    case MINT_ROW_CHECK:
    case MINT_TOKEN:
        fields_add(into, r->row, r->row_len);
        fields_add(into, r->mac, sizeof r->mac);
        if (r->op == MINT_TOKEN)
            encode_token(&r->token, into);
        break;
    case MINT_RECEIPT:
        fields_add(into, r->record, r->record_len);
        break;
    case MINT_SUBKEY:
        fields_add_u8(into, (uint8_t)r->purpose);
        fields_add_u64(into, r->hour);
        break;
    }
    return buf_ok(into) ? 0 : error_set(err, buf_error_code(into), "signer message: too long");
}

static int
decode_certify(struct fields *f, struct mint_request *r, struct error *err)
{
    const uint8_t *bytes;
    uint8_t kind;

    if (fields_take_u8(f, &kind, err) < 0)
        return -1;
    if (kind < MINT_KIND_SERVER || kind > MINT_KIND_EK)
        return error_set(err, ERROR_DENIED,
                         "signer message: no such kind of certificate");
    r->kind = (enum mint_kind)kind;
    if (fields_take_text(f, 0, sizeof r->name - 1, r->name, err) < 0 ||
        fields_take(f, 1, sizeof r->public_, &bytes, &r->public_len, err) < 0)
        return -1;
    memcpy(r->public_, bytes, r->public_len);
    return 0;
}

static int
decode_row(struct fields *f, struct mint_request *r, bool with_mac, struct error *err)
{
    if (fields_take(f, 1, ROW_MAX, &r->row, &r->row_len, err) < 0)
        return -1;
    return with_mac ? fields_take_exact(f, r->mac, sizeof r->mac, err) : 0;
}

static int
decode_token(struct fields *f, struct mint_token_request *t, struct error *err)
{
    const uint8_t *cnf;
    uint64_t now;
    size_t len;

    if (fields_take_text(f, 1, sizeof t->audience - 1, t->audience, err) < 0 ||
        fields_take_u8(f, &t->flags, err) < 0 ||
        fields_take_u8(f, &t->factors, err) < 0 ||
        fields_take(f, 0, sizeof t->cnf, &cnf, &len, err) < 0 ||
        fields_take_u64(f, &now, err) < 0)
        return -1;
    if (len != 0 && len != sizeof t->cnf)
        return refuse(err, "cnf");
    if (now > INT64_MAX / 2) /* room for a lifetime */
        return refuse(err, "time");
    t->has_cnf = len != 0;
    memcpy(t->cnf, cnf, len);
    t->now = (int64_t)now;
    return 0;
}

static int
decode_subkey(struct fields *f, struct mint_request *r, struct error *err)
{
    uint8_t purpose;

    if (fields_take_u8(f, &purpose, err) < 0 || fields_take_u64(f, &r->hour, err) < 0)
        return -1;
    if (purpose < MINT_PURPOSE_NONCE || purpose > MINT_PURPOSE_ACTIVATE)
        return refuse(err, "purpose");
    r->purpose = (enum mint_purpose)purpose;
    return 0;
}

static int
decode_rotate(struct fields *f, struct mint_request *r, struct error *err)
{
    uint8_t purpose;

    if (fields_take_u8(f, &purpose, err) < 0)
        return -1;
    if (purpose != MINT_KEY_TOKEN && purpose != MINT_KEY_BOUND)
        return refuse(err, "no key of this purpose turns");
    r->key = (enum mint_key_purpose)purpose;
    return 0;
}

static int
decode_head(struct fields *f, struct mint_request *r, struct error *err)
{
    uint8_t new_line;
    uint64_t id;

    if (fields_take_u8(f, &new_line, err) < 0 || fields_take_u64(f, &id, err) < 0 ||
        fields_take_exact(f, r->head_hash, sizeof r->head_hash, err) < 0)
        return -1;
    if (new_line > 1 || id < 1 || id > INT64_MAX)
        return refuse(err, "head");
    r->new_line = new_line == 1;
    r->head_id = (int64_t)id;
    return 0;
}

static int
decode_members(struct fields *f, struct mint_request *r, struct error *err)
{
    switch (r->op) {
    case MINT_INFO:
    case MINT_KEYS:
    case MINT_CA_PUBLISH:
    case MINT_SIGNED:
        return 0;
    case MINT_BUNDLE:
        return fields_take_u64(f, &r->serial, err);
    case MINT_CA_TURN:
        return fields_take_text(f, 1, sizeof r->kid - 1, r->kid, err);
    case MINT_HEAD:
        return decode_head(f, r, err);
    case MINT_ROTATE:
        return decode_rotate(f, r, err);
    case MINT_REVOKE:
        return fields_take_text(f, 0, sizeof r->kid - 1, r->kid, err);
    case MINT_CERTIFY:
        return decode_certify(f, r, err);
    case MINT_ROW_MAC:
        return decode_row(f, r, false, err);
    case MINT_ROW_CHECK:
        return decode_row(f, r, true, err);
    case MINT_TOKEN:
        return decode_row(f, r, true, err) < 0 ? -1 : decode_token(f, &r->token, err);
    case MINT_RECEIPT:
        return fields_take(f, 1, MINT_RECORD_MAX, &r->record, &r->record_len, err);
    case MINT_SUBKEY:
        return decode_subkey(f, r, err);
    }
    return refuse(err, "unknown operation");
}

int
mint_request_decode(const uint8_t *bytes, size_t len, struct mint_request *ret,
                    struct error *err)
{
    struct fields f = { .at = bytes, .left = len };
    struct mint_request r = { 0 };
    uint8_t op;

    if (len > MINT_PACKET_MAX)
        return refuse(err, "too long");
    if (fields_take_u8(&f, &op, err) < 0)
        return -1;
    if (op < MINT_INFO || op > MINT_SIGNED)
        return refuse(err, "unknown operation");
    r.op = (enum mint_op)op;
    if (decode_members(&f, &r, err) < 0 || fields_end(&f, err) < 0)
        return -1;
    *ret = r;
    return 0;
}

/* Texts of errors may quote what came in; a field takes printable ASCII. */
static void
add_printable(struct buf *into, const char *text, size_t max)
{
    char clean[MINT_TEXT_MAX + 1];
    size_t len = strnlen(text, max);

    for (size_t i = 0; i < len; i++)
        clean[i] = text[i] < 0x20 || text[i] > 0x7e ? '?' : text[i];
    fields_add(into, clean, len);
}

void
mint_refusal_encode(const struct error *refusal, struct buf *into)
{
    fields_add_u8(into, (uint8_t)refusal->code);
    add_printable(into, refusal->problem, MINT_PROBLEM_MAX);
    add_printable(into, refusal->text, MINT_TEXT_MAX);
}

void
mint_done_encode(struct buf *into)
{
    struct error none = { 0 };

    mint_refusal_encode(&none, into);
}

static int
broken(struct error *err)
{
    return error_set(err, ERROR_SYSTEM, "the signer's answer is out of shape");
}

int
mint_answer_decode(const uint8_t *bytes, size_t len, const uint8_t **ret_rest,
                   size_t *ret_rest_len, bool *ret_broken, struct error *err)
{
    struct fields f = { .at = bytes, .left = len };
    char problem[MINT_PROBLEM_MAX + 1], text[MINT_TEXT_MAX + 1];
    struct error ignored = { 0 };
    uint8_t status;

    *ret_broken = true;
    if (len > MINT_PACKET_MAX || fields_take_u8(&f, &status, &ignored) < 0 ||
        fields_take_text(&f, 0, sizeof problem - 1, problem, &ignored) < 0 ||
        fields_take_text(&f, 0, sizeof text - 1, text, &ignored) < 0 ||
        status > ERROR_SYSTEM)
        return broken(err);
    if (status != ERROR_NONE && f.left > 0)
        return broken(err);
    *ret_broken = false;
    if (status == ERROR_NONE) {
        *ret_rest = f.at;
        *ret_rest_len = f.left;
        return 0;
    }
    return error_problem(err, (enum error_code)status, problem, "signer: %s", text);
}

static void
add_cas(const struct mint_ca *cas, size_t n, struct buf *into)
{
    fields_add_u8(into, (uint8_t)n);
    for (size_t i = 0; i < n; i++)
        fields_add(into, cas[i].der, cas[i].len);
}

int
mint_info_encode(const struct mint_info *info, struct buf *into, struct error *err)
{
    fields_add_text(into, info->trust_domain);
    fields_add_text(into, info->issuer);
    fields_add_text(into, info->names);
    fields_add_text(into, info->guests);
    fields_add(into, info->host_ca, info->host_ca_len);
    fields_add(into, info->ek_ca, info->ek_ca_len);
    fields_add_text(into, info->jwks);
    fields_add_text(into, info->kid);
    fields_add_text(into, info->bound_jwks);
    fields_add_text(into, info->bound_kid);
    fields_add(into, info->receipt_point, sizeof info->receipt_point);
    fields_add_u8(into, info->test);
    fields_add_u64(into, info->bundle_serial);
    fields_add(into, info->bundle, info->bundle_len);
    fields_add_u64(into, info->ca_change);
    add_cas(info->host_before, info->n_host_before, into);
    add_cas(info->ek_before, info->n_ek_before, into);
    return buf_ok(into) ? 0 : error_set(err, buf_error_code(into), "signer message: too long");
}

static int
take_copy(struct fields *f, uint8_t *ret, size_t max, size_t *ret_len,
          struct error *err)
{
    const uint8_t *bytes;

    if (fields_take(f, 1, max, &bytes, ret_len, err) < 0)
        return -1;
    memcpy(ret, bytes, *ret_len);
    return 0;
}

static int
take_cas(struct fields *f, struct mint_ca ret[static MINT_CAS_MAX], size_t *ret_n, struct error *err)
{
    uint8_t n;

    if (fields_take_u8(f, &n, err) < 0)
        return -1;
    if (n > MINT_CAS_MAX)
        return refuse(err, "too many CAs");
    for (uint8_t i = 0; i < n; i++) {
        if (take_copy(f, ret[i].der, sizeof ret[i].der, &ret[i].len, err) < 0)
            return -1;
    }
    *ret_n = n;
    return 0;
}

/* The keys of bound tokens; a signer that could not make one has none. */
static int
take_bound(struct fields *f, char ret_jwks[static MINT_JWKS_MAX + 1], char ret_kid[static MINT_KID_MAX + 1],
           struct error *err)
{
    return fields_take_text(f, 1, MINT_JWKS_MAX, ret_jwks, err) < 0 ||
                   fields_take_text(f, 0, MINT_KID_MAX, ret_kid, err) < 0
               ? -1
               : 0;
}

int
mint_info_decode(const uint8_t *rest, size_t len, struct mint_info *ret,
                 struct error *err)
{
    struct fields f = { .at = rest, .left = len };
    uint8_t test;

    memset(ret, 0, sizeof *ret);
    if (fields_take_text(&f, 1, sizeof ret->trust_domain - 1, ret->trust_domain, err) <
            0 ||
        fields_take_text(&f, 1, sizeof ret->issuer - 1, ret->issuer, err) < 0 ||
        fields_take_text(&f, 1, sizeof ret->names - 1, ret->names, err) < 0 ||
        fields_take_text(&f, 1, sizeof ret->guests - 1, ret->guests, err) < 0 ||
        take_copy(&f, ret->host_ca, sizeof ret->host_ca, &ret->host_ca_len, err) < 0 ||
        take_copy(&f, ret->ek_ca, sizeof ret->ek_ca, &ret->ek_ca_len, err) < 0 ||
        fields_take_text(&f, 1, sizeof ret->jwks - 1, ret->jwks, err) < 0 ||
        fields_take_text(&f, 1, sizeof ret->kid - 1, ret->kid, err) < 0 ||
        take_bound(&f, ret->bound_jwks, ret->bound_kid, err) < 0 ||
        fields_take_exact(&f, ret->receipt_point, sizeof ret->receipt_point, err) < 0 ||
        fields_take_u8(&f, &test, err) < 0 ||
        fields_take_u64(&f, &ret->bundle_serial, err) < 0 ||
        take_copy(&f, ret->bundle, sizeof ret->bundle, &ret->bundle_len, err) < 0 ||
        fields_take_u64(&f, &ret->ca_change, err) < 0 ||
        take_cas(&f, ret->host_before, &ret->n_host_before, err) < 0 ||
        take_cas(&f, ret->ek_before, &ret->n_ek_before, err) < 0)
        return -1;
    if (test > 1)
        return refuse(err, "test flag");
    ret->test = test == 1;
    return fields_end(&f, err);
}

int
mint_keys_encode(const struct mint_keys *keys, struct buf *into, struct error *err)
{
    fields_add_text(into, keys->jwks);
    fields_add_text(into, keys->kid);
    fields_add_text(into, keys->bound_jwks);
    fields_add_text(into, keys->bound_kid);
    fields_add_u64(into, keys->ca_change);
    for (size_t i = 0; i < keys->n; i++) {
        fields_add_u8(into, (uint8_t)keys->keys[i].purpose);
        fields_add_u8(into, (uint8_t)keys->keys[i].state);
        fields_add_text(into, keys->keys[i].kid);
        fields_add_u64(into, (uint64_t)keys->keys[i].made);
        fields_add_u64(into, (uint64_t)keys->keys[i].since);
        fields_add_u64(into, (uint64_t)keys->keys[i].step);
    }
    return buf_ok(into) ? 0 : error_set(err, buf_error_code(into), "signer message: too long");
}

static int
take_time(struct fields *f, int64_t *ret, struct error *err)
{
    uint64_t seconds;

    if (fields_take_u64(f, &seconds, err) < 0)
        return -1;
    if (seconds > INT64_MAX / 2000) /* room for milliseconds */
        return refuse(err, "time");
    *ret = (int64_t)seconds;
    return 0;
}

static int
take_mint_key(struct fields *f, struct mint_key *ret, struct error *err)
{
    uint8_t purpose, state;

    if (fields_take_u8(f, &purpose, err) < 0 || fields_take_u8(f, &state, err) < 0 ||
        fields_take_text(f, 1, sizeof ret->kid - 1, ret->kid, err) < 0 ||
        take_time(f, &ret->made, err) < 0 || take_time(f, &ret->since, err) < 0 ||
        take_time(f, &ret->step, err) < 0)
        return -1;
    if (purpose < MINT_KEY_TOKEN || purpose > MINT_KEY_AUDIT || state < MINT_KEY_NEXT || state > MINT_KEY_RETIRING)
        return refuse(err, "key");
    ret->purpose = (enum mint_key_purpose)purpose;
    ret->state = (enum mint_key_state)state;
    return 0;
}

int
mint_keys_decode(const uint8_t *rest, size_t len, struct mint_keys *ret, struct error *err)
{
    struct fields f = { .at = rest, .left = len };

    memset(ret, 0, sizeof *ret);
    if (fields_take_text(&f, 1, sizeof ret->jwks - 1, ret->jwks, err) < 0 ||
        fields_take_text(&f, 1, sizeof ret->kid - 1, ret->kid, err) < 0 ||
        take_bound(&f, ret->bound_jwks, ret->bound_kid, err) < 0 || fields_take_u64(&f, &ret->ca_change, err) < 0)
        return -1;
    while (f.left > 0) {
        if (ret->n == MINT_KEYS_MAX)
            return refuse(err, "too many keys");
        if (take_mint_key(&f, &ret->keys[ret->n++], err) < 0)
            return -1;
    }
    return 0;
}

int
mint_head_encode(const struct audit_head *head, struct buf *into, struct error *err)
{
    fields_add_u64(into, head->line);
    fields_add_u64(into, (uint64_t)head->id);
    fields_add(into, head->hash, sizeof head->hash);
    fields_add_u64(into, (uint64_t)head->ms);
    fields_add(into, head->signature, sizeof head->signature);
    return buf_ok(into) ? 0 : error_set(err, buf_error_code(into), "signer message: too long");
}

int
mint_head_decode(const uint8_t *rest, size_t len, struct audit_head *ret, struct error *err)
{
    struct fields f = { .at = rest, .left = len };
    uint64_t id, ms;

    if (fields_take_u64(&f, &ret->line, err) < 0 || fields_take_u64(&f, &id, err) < 0 ||
        fields_take_exact(&f, ret->hash, sizeof ret->hash, err) < 0 || fields_take_u64(&f, &ms, err) < 0 ||
        fields_take_exact(&f, ret->signature, sizeof ret->signature, err) < 0)
        return -1;
    if (id > INT64_MAX || ms > INT64_MAX)
        return refuse(err, "head");
    ret->id = (int64_t)id;
    ret->ms = (int64_t)ms;
    return fields_end(&f, err);
}
