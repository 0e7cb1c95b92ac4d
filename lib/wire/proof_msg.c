#include "config.h"

#include "lib/wire/proof_msg.h"

#include <string.h>

#include "lib/crypto/hash.h"
#include "lib/crypto/key.h"

static const char PROVE_MEMBERS[] =
    "v uuid epoch nonce factors audience host hostsig ak ek ek_cert cnf cur cur_sig new "
    "new_sig fresh x quote quote_sig certify certify_sig activation";

/* Exactly `len` bytes; *ret_there says whether the member was there. */
static int
get_exact(const json_t *o, const char *name, bool optional, uint8_t *ret, size_t len,
          bool *ret_there, struct error *err)
{
    size_t got;

    if (json_get_bytes(o, name, optional, ret, len, &got, err) < 0)
        return -1;
    *ret_there = json_object_get(o, name) != NULL;
    if (*ret_there && got != len)
        return error_set(err, ERROR_INPUT, "member \"%s\" has %zu bytes, not %zu", name, got,
                         len);
    return 0;
}

static int
get_needed(const json_t *o, const char *name, uint8_t *ret, size_t len, struct error *err)
{
    bool there;

    return get_exact(o, name, false, ret, len, &there, err);
}

/* 1..max bytes if it is there. */
static int
get_bounded(const json_t *o, const char *name, uint8_t *ret, size_t max, size_t *ret_len,
            struct error *err)
{
    if (json_get_bytes(o, name, true, ret, max, ret_len, err) < 0)
        return -1;
    if (*ret_len == 0 && json_object_get(o, name))
        return error_set(err, ERROR_INPUT, "member \"%s\" is empty", name);
    return 0;
}

static int
get_text(const json_t *o, const char *name, bool (*is_good)(const char *), char *ret,
         size_t max, struct error *err)
{
    const char *text = NULL;

    if (json_get_string(o, name, false, max, &text, err) < 0)
        return -1;
    if (!is_good(text))
        return error_set(err, ERROR_INPUT, "member \"%s\" breaks its grammar", name);
    memcpy(ret, text, strlen(text) + 1);
    return 0;
}

static int
decode_head(const json_t *o, struct prove *p, struct error *err)
{
    const char *uuid = NULL;
    int64_t v, epoch, factors;

    if (json_get_int(o, "v", false, 1, 1, &v, err) < 0 ||
        json_get_string(o, "uuid", false, VM_UUID_TEXT - 1, &uuid, err) < 0 ||
        vm_uuid_parse(uuid, &p->uuid, err) < 0 ||
        json_get_int(o, "epoch", false, 0, INT64_MAX, &epoch, err) < 0 ||
        json_get_int(o, "factors", false, 1, 7, &factors, err) < 0 ||
        get_needed(o, "nonce", p->nonce, NONCE_LEN, err) < 0 ||
        get_text(o, "audience", name_is_audience, p->audience, NAME_AUDIENCE_MAX, err) < 0 ||
        get_text(o, "host", name_is_host, p->host, NAME_HOST_MAX, err) < 0 ||
        get_needed(o, "hostsig", p->hostsig, sizeof p->hostsig, err) < 0 ||
        json_get_bool(o, "fresh", false, &p->fresh, err) < 0)
        return -1;
    p->epoch = (uint64_t)epoch;
    p->factors = (uint8_t)factors;
    return 0;
}

/* A key and its signature come together. */
static int
decode_key(const json_t *o, const char *name, const char *sig_name, uint8_t key[65],
           uint8_t sig[64], bool *ret_has, struct error *err)
{
    bool has_sig;

    if (get_exact(o, name, true, key, 65, ret_has, err) < 0 ||
        get_exact(o, sig_name, true, sig, 64, &has_sig, err) < 0)
        return -1;
    if (*ret_has != has_sig)
        return error_set(err, ERROR_INPUT, "\"%s\" and \"%s\" come together", name, sig_name);
    return 0;
}

static int
decode_attest(const json_t *o, const char *name, const char *sig_name, bool wanted,
              uint8_t *ret, size_t *ret_len, uint8_t sig[64], struct error *err)
{
    bool has_sig;

    if (get_bounded(o, name, ret, ATTEST_MAX, ret_len, err) < 0 ||
        get_exact(o, sig_name, true, sig, 64, &has_sig, err) < 0)
        return -1;
    if ((*ret_len > 0) != wanted || has_sig != wanted)
        return error_set(err, ERROR_INPUT, "\"%s\" and \"%s\" %s", name, sig_name,
                         wanted ? "are missing" : "stand alone");
    return 0;
}

static int
decode_tpm(const json_t *o, struct prove *p, struct error *err)
{
    if (get_exact(o, "ak", true, p->ak, AK_PUBLIC_LEN, &p->has_ak, err) < 0 ||
        get_exact(o, "x", true, p->x, sizeof p->x, &p->has_x, err) < 0 ||
        get_exact(o, "activation", true, p->activation, sizeof p->activation,
                  &p->has_activation, err) < 0 ||
        get_bounded(o, "ek", p->ek, EK_PUBLIC_MAX, &p->ek_len, err) < 0 ||
        get_bounded(o, "ek_cert", p->ek_cert, EK_CERT_MAX, &p->ek_cert_len, err) < 0 ||
        decode_attest(o, "quote", "quote_sig", p->has_ak, p->quote, &p->quote_len,
                      p->quote_sig, err) < 0 ||
        decode_attest(o, "certify", "certify_sig", p->has_x, p->certify, &p->certify_len,
                      p->certify_sig, err) < 0)
        return -1;
    if (!p->has_ak && (p->has_x || p->has_activation || p->ek_len > 0))
        return error_set(err, ERROR_INPUT, "x, activation or ek without ak");
    if (p->ek_len == 0 && p->ek_cert_len > 0)
        return error_set(err, ERROR_INPUT, "ek_cert without ek");
    return 0;
}

/* What is claimed is shown: nothing less, nothing more. */
static int
check_factors(const struct prove *p, struct error *err)
{
    uint8_t shown = FACTOR_HOST;

    if (p->has_ak)
        shown |= FACTOR_VTPM;
    if (p->has_cur || p->has_new)
        shown |= FACTOR_SECRET;
    if (p->factors != shown)
        return error_set(err, ERROR_INPUT, "factors %u claimed, %u shown", p->factors, shown);
    return 0;
}

int
prove_decode(const char *body, size_t len, struct prove *ret, struct error *err)
{
    CLEANUP(json_decref) json_t *o = NULL;
    struct prove p = { 0 };

    if (len > PROVE_BODY_MAX)
        return error_set(err, ERROR_INPUT, "PROVE of %zu bytes", len);
    if (json_parse(body, len, &o, err) < 0 || json_only(o, PROVE_MEMBERS, err) < 0 ||
        decode_head(o, &p, err) < 0 ||
        get_exact(o, "cnf", true, p.cnf, sizeof p.cnf, &p.has_cnf, err) < 0 ||
        decode_key(o, "cur", "cur_sig", p.cur, p.cur_sig, &p.has_cur, err) < 0 ||
        decode_key(o, "new", "new_sig", p.new_, p.new_sig, &p.has_new, err) < 0 ||
        decode_tpm(o, &p, err) < 0 || check_factors(&p, err) < 0)
        return error_wrap(err, "PROVE");
    *ret = p;
    return 0;
}

static int
set_when(json_t *o, bool there, const char *name, const uint8_t *bytes, size_t len)
{
    return there ? json_set_bytes(o, name, bytes, len) : 0;
}

static int
print_body(const json_t *o, size_t max, struct buf *into, struct error *err)
{
    size_t before = into->len;

    if (json_print(o, into, err) < 0)
        return -1;
    if (into->len - before > max)
        return error_set(err, ERROR_INPUT, "body of %zu bytes", into->len - before);
    return 0;
}

static json_t *
prove_to_json(const struct prove *p)
{
    char uuid[VM_UUID_TEXT];
    json_t *o;

    vm_uuid_print(&p->uuid, uuid);
    o = json_pack("{s:i, s:s, s:I, s:i, s:s, s:s, s:b}", "v", 1, "uuid", uuid, "epoch",
                  (json_int_t)p->epoch, "factors", (int)p->factors, "audience", p->audience,
                  "host", p->host, "fresh", p->fresh);
    if (!o)
        return NULL;
    if (json_set_bytes(o, "nonce", p->nonce, NONCE_LEN) < 0 ||
        json_set_bytes(o, "hostsig", p->hostsig, sizeof p->hostsig) < 0 ||
        set_when(o, p->has_ak, "ak", p->ak, sizeof p->ak) < 0 ||
        set_when(o, p->ek_len > 0, "ek", p->ek, p->ek_len) < 0 ||
        set_when(o, p->ek_cert_len > 0, "ek_cert", p->ek_cert, p->ek_cert_len) < 0 ||
        set_when(o, p->has_cnf, "cnf", p->cnf, sizeof p->cnf) < 0 ||
        set_when(o, p->has_cur, "cur", p->cur, sizeof p->cur) < 0 ||
        set_when(o, p->has_cur, "cur_sig", p->cur_sig, sizeof p->cur_sig) < 0 ||
        set_when(o, p->has_new, "new", p->new_, sizeof p->new_) < 0 ||
        set_when(o, p->has_new, "new_sig", p->new_sig, sizeof p->new_sig) < 0 ||
        set_when(o, p->has_x, "x", p->x, sizeof p->x) < 0 ||
        set_when(o, p->has_ak, "quote", p->quote, p->quote_len) < 0 ||
        set_when(o, p->has_ak, "quote_sig", p->quote_sig, sizeof p->quote_sig) < 0 ||
        set_when(o, p->has_x, "certify", p->certify, p->certify_len) < 0 ||
        set_when(o, p->has_x, "certify_sig", p->certify_sig, sizeof p->certify_sig) < 0 ||
        set_when(o, p->has_activation, "activation", p->activation,
                 sizeof p->activation) < 0) {
        json_decref(o);
        return NULL;
    }
    return o;
}

int
prove_encode(const struct prove *p, struct buf *into, struct error *err)
{
    CLEANUP(json_decref) json_t *o = NULL;

    if (p->epoch > INT64_MAX)
        return error_set(err, ERROR_INPUT, "PROVE: epoch out of range");
    o = prove_to_json(p);
    if (!o)
        return error_set(err, ERROR_SYSTEM, "PROVE: no memory");
    return print_body(o, PROVE_BODY_MAX, into, err);
}

int
prove_transcript(const struct prove *p, const char *issuer, const uint8_t exporter[static 32],
                 struct transcript *ret, struct error *err)
{
    struct transcript t = { .issuer = issuer,
                            .uuid = p->uuid,
                            .epoch = p->epoch,
                            .factors = p->factors,
                            .has_ak = p->has_ak,
                            .has_ek = p->ek_len > 0,
                            .has_cnf = p->has_cnf,
                            .has_cur = p->has_cur,
                            .has_new = p->has_new,
                            .has_x = p->has_x,
                            .audience = p->audience,
                            .fresh = p->fresh };

    memcpy(t.nonce, p->nonce, sizeof t.nonce);
    memcpy(t.exporter, exporter, sizeof t.exporter);
    memcpy(t.ak, p->ak, sizeof t.ak);
    memcpy(t.cur, p->cur, sizeof t.cur);
    memcpy(t.new_, p->new_, sizeof t.new_);
    memcpy(t.x, p->x, sizeof t.x);
    if (t.has_ek && hash_sha256(p->ek, p->ek_len, t.ek_digest, err) < 0)
        return -1;
    if (t.has_cnf && key_thumbprint(p->cnf, t.cnf, err) < 0)
        return -1;
    *ret = t;
    return 0;
}

static int
decode_token(const json_t *o, struct answer *a, struct error *err)
{
    const char *token = NULL;

    if (json_only(o, "type token kid nonce expires_in", err) < 0 ||
        json_get_string(o, "token", false, TOKEN_MAX, &token, err) < 0 ||
        get_exact(o, "kid", true, a->kid, sizeof a->kid, &a->has_kid, err) < 0 ||
        get_needed(o, "nonce", a->nonce, NONCE_LEN, err) < 0 ||
        json_get_int(o, "expires_in", false, 1, 86400, &a->expires_in, err) < 0)
        return -1;
    if (strlen(token) == 0)
        return error_set(err, ERROR_INPUT, "an empty token");
    memcpy(a->token, token, strlen(token) + 1);
    return 0;
}

static int
decode_extend(const json_t *o, struct answer *a, struct error *err)
{
    if (json_only(o, "type v from to", err) < 0 ||
        get_needed(o, "v", a->v, sizeof a->v, err) < 0 ||
        get_needed(o, "from", a->from, sizeof a->from, err) < 0 ||
        get_needed(o, "to", a->to, sizeof a->to, err) < 0)
        return -1;
    return 0;
}

static int
decode_activate(const json_t *o, struct answer *a, struct error *err)
{
    if (json_only(o, "type id_object seed", err) < 0 ||
        json_get_bytes(o, "id_object", false, a->id_object, sizeof a->id_object,
                       &a->id_object_len, err) < 0 ||
        json_get_bytes(o, "seed", false, a->seed, sizeof a->seed, &a->seed_len, err) < 0)
        return -1;
    if (a->id_object_len == 0 || a->seed_len == 0)
        return error_set(err, ERROR_INPUT, "an empty credential");
    return 0;
}

static int
decode_resolve(const json_t *o, struct answer *a, struct error *err)
{
    if (json_only(o, "type kid", err) < 0)
        return -1;
    return get_exact(o, "kid", false, a->kid, sizeof a->kid, &a->has_kid, err);
}

static const struct {
    const char *name;
    int (*decode)(const json_t *, struct answer *, struct error *);
} ANSWERS[] = {
    [ANSWER_TOKEN] = { "TOKEN", decode_token },
    [ANSWER_RESOLVE] = { "RESOLVE", decode_resolve },
    [ANSWER_EXTEND] = { "EXTEND", decode_extend },
    [ANSWER_ACTIVATE] = { "ACTIVATE", decode_activate },
};

int
answer_decode(const char *body, size_t len, struct answer *ret, struct error *err)
{
    CLEANUP(json_decref) json_t *o = NULL;
    const char *type = NULL;

    if (json_parse(body, len, &o, err) < 0 ||
        json_get_string(o, "type", false, 16, &type, err) < 0)
        return error_wrap(err, "answer");
    for (size_t i = 0; i < sizeof ANSWERS / sizeof *ANSWERS; i++) {
        struct answer a = { .type = (enum answer_type)i };

        if (strcmp(type, ANSWERS[i].name) != 0)
            continue;
        if (ANSWERS[i].decode(o, &a, err) < 0)
            return error_wrap(err, "answer %s", ANSWERS[i].name);
        *ret = a;
        explicit_bzero(&a, sizeof a);
        return 0;
    }
    return error_set(err, ERROR_INPUT, "answer of an unknown type");
}

static int
fill_answer(json_t *o, const struct answer *a)
{
    switch (a->type) {
    case ANSWER_TOKEN:
        return json_object_set_new(o, "token", json_string(a->token)) < 0 ||
                       set_when(o, a->has_kid, "kid", a->kid, sizeof a->kid) < 0 ||
                       json_set_bytes(o, "nonce", a->nonce, NONCE_LEN) < 0 ||
                       json_object_set_new(o, "expires_in", json_integer(a->expires_in)) < 0
                   ? -1
                   : 0;
    case ANSWER_RESOLVE:
        return json_set_bytes(o, "kid", a->kid, sizeof a->kid);
    case ANSWER_EXTEND:
        return json_set_bytes(o, "v", a->v, sizeof a->v) < 0 ||
                       json_set_bytes(o, "from", a->from, sizeof a->from) < 0 ||
                       json_set_bytes(o, "to", a->to, sizeof a->to) < 0
                   ? -1
                   : 0;
    case ANSWER_ACTIVATE:
        return json_set_bytes(o, "id_object", a->id_object, a->id_object_len) < 0 ||
                       json_set_bytes(o, "seed", a->seed, a->seed_len) < 0
                   ? -1
                   : 0;
    }
    return -1;
}

int
answer_encode(const struct answer *a, struct buf *into, struct error *err)
{
    CLEANUP(json_decref) json_t *o =
        json_pack("{s:s}", "type", ANSWERS[a->type].name);

    if (!o || fill_answer(o, a) < 0)
        return error_set(err, ERROR_SYSTEM, "answer: no memory");
    return json_print(o, into, err);
}
