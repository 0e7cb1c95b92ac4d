#include "config.h"

#include "tokenservice/attest/proof_check.h"

#include <stdarg.h>
#include <stdio.h>
#include <string.h>

#include "lib/common/buf.h"
#include "lib/common/encode.h"
#include "lib/crypto/hash.h"
#include "lib/crypto/key.h"
#include "tokenservice/attest/proof_tpm.h"

/*
 * Every check below returns 0 (go on), 1 (*ret holds the verdict) or -1 (we failed, not the
 * proof).  The caller stops at the first that is not 0.
 */

/* P-256's generator: what a host signature is checked against when there is no VM or no lease. */
static const uint8_t nobody[65] = {
    0x04, 0x6b, 0x17, 0xd1, 0xf2, 0xe1, 0x2c, 0x42, 0x47, 0xf8, 0xbc, 0xe6, 0xe5,
    0x63, 0xa4, 0x40, 0xf2, 0x77, 0x03, 0x7d, 0x81, 0x2d, 0xeb, 0x33, 0xa0, 0xf4,
    0xa1, 0x39, 0x45, 0xd8, 0x98, 0xc2, 0x96, 0x4f, 0xe3, 0x42, 0xe2, 0xfe, 0x1a,
    0x7f, 0x9b, 0x8e, 0xe7, 0xeb, 0x4a, 0x7c, 0x0f, 0x9e, 0x16, 0x2b, 0xce, 0x33,
    0x57, 0x6b, 0x31, 0x5e, 0xce, 0xcb, 0xb6, 0x40, 0x68, 0x37, 0xbf, 0x51, 0xf5,
};

int
proof_refuse(struct proof_result *ret, const char *check, const char *problem,
             const char *expected, const char *seen, ...)
{
    va_list args;

    ret->verdict = PROOF_REFUSED;
    snprintf(ret->check, sizeof ret->check, "%s", check);
    snprintf(ret->problem, sizeof ret->problem, "%s", problem);
    snprintf(ret->expected, sizeof ret->expected, "%s", expected);
    va_start(args, seen);
    vsnprintf(ret->seen, sizeof ret->seen, seen, args);
    va_end(args);
    return 1;
}

int
proof_refuse_or_fail(struct proof_result *ret, const char *check, const char *problem,
                     const char *expected, const struct error *err)
{
    if (err->code != ERROR_DENIED && err->code != ERROR_INPUT)
        return -1;
    return proof_refuse(ret, check, problem, expected, "%s", err->text);
}

static void
print_factors(uint8_t factors, char *ret, size_t room)
{
    snprintf(ret, room, "%s%s%s", factors & FACTOR_HOST ? "host" : "",
             factors & FACTOR_VTPM ? ", vtpm" : "", factors & FACTOR_SECRET ? ", secret" : "");
}

void
proof_print_thumbprint(const uint8_t *bytes, size_t len, char ret[static 17])
{
    uint8_t hash[32];
    struct error why;

    if (hash_sha256(bytes, len, hash, &why) < 0)
        memset(hash, 0, sizeof hash);
    hex_encode(hash, 8, ret);
}

/* C1: genuine and young, for this VM, epoch and AK as the message itself names them. */
static int
check_nonce(const struct prove *p, const struct proof_service *s, struct proof_result *ret,
            struct error *err)
{
    struct nonce_bind bind = { .uuid = p->uuid, .epoch = p->epoch, .has_ak = p->has_ak };
    enum nonce_kind kind;

    if (p->has_ak) {
        memcpy(bind.ak_name, "\x00\x0b", 2);
        if (hash_sha256(p->ak, sizeof p->ak, bind.ak_name + 2, err) < 0)
            return -1;
        memcpy(ret->ak_name, bind.ak_name, sizeof ret->ak_name);
    }
    if (nonce_check(s->nonce_key, s->issuer, s->now_ms, p->nonce, &bind, &kind, err) < 0)
        return proof_refuse_or_fail(ret, "nonce", "stale", "a nonce of this service, made now",
                                    err);
    return 0;
}

/* One signature check, whoever asks: a stranger learns nothing, also not from the time it takes. */
static int
check_host(const struct prove *p, const struct proof_service *s,
           const struct proof_account *a, struct proof_result *ret, struct error *err)
{
    bool holder = a->known && a->has_lease;
    const char *host = holder ? a->host : p->host;
    CLEANUP(buf_clear) struct buf message = BUF(1024);
    CLEANUP(key_free) struct key *key = NULL;
    char expected[sizeof ret->expected];

    if (transcript_host_message(s->issuer, host, &p->uuid, holder ? a->epoch : p->epoch, ret->h,
                                &message, err) < 0 ||
        key_from_point(holder ? a->host_point : nobody, &key, err) < 0)
        return error_wrap(err, "host %s", host);
    snprintf(expected, sizeof expected, "a signature by host %s in epoch %llu",
             holder ? a->host : "(none holds the lease)", (unsigned long long)a->epoch);
    if (key_verify(key, message.data, message.len, p->hostsig, err) < 0) {
        if (err->code != ERROR_DENIED && err->code != ERROR_INPUT)
            return -1;
        return proof_refuse(ret, "host-signature", "refused", expected,
                            "host %s, epoch %llu: the signature does not fit", p->host,
                            (unsigned long long)p->epoch);
    }
    if (!holder || p->epoch != a->epoch || strcmp(p->host, a->host) != 0)
        return proof_refuse(ret, "host-signature", "refused", expected, "host %s, epoch %llu",
                            p->host, (unsigned long long)p->epoch);
    ret->from_holder = true;
    return 0;
}

/* A pending account must show what was made for it: that is what its first proof is for. */
static uint8_t
required_factors(const struct proof_account *a)
{
    uint8_t required = a->floor | FACTOR_HOST;

    if (a->pending)
        required |= (a->has_ek ? FACTOR_VTPM : 0) | (a->ratchet.has_cur ? FACTOR_SECRET : 0);
    return required;
}

static int
check_policy(const struct prove *p, const struct proof_account *a, struct proof_result *ret)
{
    uint8_t required = required_factors(a);
    char wanted[32], shown[32];

    if (a->locked)
        return proof_refuse(ret, "lock", "locked", "not locked", "locked by an operator");
    /* Decided on what is there, not on what is said to be. */
    if ((p->factors & ~(FACTOR_HOST | FACTOR_VTPM | FACTOR_SECRET)) ||
        !(p->factors & FACTOR_HOST) || !!(p->factors & FACTOR_VTPM) != p->has_ak ||
        !!(p->factors & FACTOR_SECRET) != p->has_cur || (p->has_x && !p->has_ak) ||
        (p->has_new && !p->has_cur))
        return proof_refuse(ret, "message", "proof-malformed", "the factors that it shows",
                            "factors 0x%x", p->factors);
    if ((p->factors & required) != required) {
        print_factors(required, wanted, sizeof wanted);
        print_factors(p->factors, shown, sizeof shown);
        return proof_refuse(ret, "floor", "floor", wanted, "%s", shown);
    }
    ret->factors = p->factors;
    return 0;
}

static int
check_secret_signature(const char *which, const uint8_t *point, const uint8_t *signature,
                       struct proof_result *ret, struct error *err)
{
    CLEANUP(buf_clear) struct buf message = BUF(256);
    CLEANUP(key_free) struct key *key = NULL;

    if (transcript_secret_message(ret->h, &message, err) < 0)
        return -1;
    if (key_from_point(point, &key, err) < 0 ||
        key_verify(key, message.data, message.len, signature, err) < 0) {
        error_wrap(err, "key %s", which);
        return proof_refuse_or_fail(ret, "secret", "secret-signature",
                                    "a signature by the key itself over this transcript", err);
    }
    return 0;
}

static int
check_secrets(const struct prove *p, struct proof_result *ret, struct error *err)
{
    int r = 0;

    if (p->has_cur)
        r = check_secret_signature("cur", p->cur, p->cur_sig, ret, err);
    if (r == 0 && p->has_new)
        r = check_secret_signature("new", p->new_, p->new_sig, ret, err);
    return r;
}

/* C3: each proof is good once, at every replica. */
static int
check_order(const struct prove *p, const struct proof_account *a, struct proof_result *ret)
{
    if (a->has_mark && nonce_compare(p->nonce, a->mark_nonce) <= 0)
        return proof_refuse(ret, "order", "stale",
                            "a nonce younger than that of the last accepted proof",
                            "a proof that is not younger");
    return 0;
}

/* The keys that it shows, for the operator. */
static void
print_keys(const struct prove *p, char ret[static 64])
{
    char cur[17], new_[17];

    proof_print_thumbprint(p->cur, sizeof p->cur, cur);
    proof_print_thumbprint(p->new_, sizeof p->new_, new_);
    snprintf(ret, 64, "%s%s%s", cur, p->has_new ? ", next " : "", p->has_new ? new_ : "");
}

/* C4, the disk's half. */
static bool
key_is_behind(const struct prove *p, const struct proof_account *a, struct proof_result *ret)
{
    struct ratchet_shown shown;

    if (!(ret->factors & FACTOR_SECRET))
        return false;
    if (!a->ratchet.has_cur) {
        if (a->pending && !a->no_disk)
            ret->take_cur = true;
        else
            ret->factors &= ~FACTOR_SECRET; /* one nobody enrolled, or gone with the next boot, proves nothing */
        return false;
    }
    (void)proof_ratchet(p, a, ret, &shown);
    if (ratchet_key_fits(&a->ratchet, &shown))
        return false;
    if (a->key_died) {
        ret->take_cur = true;
        return false;
    }
    if (required_factors(a) & FACTOR_SECRET)
        return true;
    ret->factors &= ~FACTOR_SECRET;
    return false;
}

static int
refuse_behind(const struct prove *p, const struct proof_account *a, struct proof_result *ret)
{
    char seen[64] = "no NV index", expected[17];

    if (ret->behind & RATCHET_KEY) {
        print_keys(p, seen);
        proof_print_thumbprint(a->ratchet.cur, sizeof a->ratchet.cur, expected);
        return proof_refuse(ret, "key", "disk-behind", expected, "%s", seen);
    }
    if (p->has_x)
        proof_print_thumbprint(p->x, sizeof p->x, seen);
    proof_print_thumbprint(a->ratchet.xcur, sizeof a->ratchet.xcur, expected);
    return proof_refuse(ret, "index", "tpm-behind", expected, "%s", seen);
}

/* C4: both halves, or a grant for exactly what is shown. */
static int
check_ratchets(const struct prove *p, const struct proof_service *s, const struct proof_account *a,
               struct proof_result *ret, struct error *err)
{
    struct ratchet_shown shown;

    if (key_is_behind(p, a, ret))
        ret->behind |= RATCHET_KEY;
    if (proof_index_is_behind(p, required_factors(a), a, ret))
        ret->behind |= RATCHET_INDEX;
    if (!ret->behind)
        return 0;
    (void)proof_ratchet(p, a, ret, &shown);
    if (grant_shown(&shown, &ret->shown, err) < 0)
        return -1;
    /* A TPM that shows no index has lost its own: nobody's word brings that back. */
    ret->may_be_granted = !a->pending && (!(ret->behind & RATCHET_INDEX) || shown.has_x);
    if (ret->may_be_granted && grant_fits(&a->ratchet.grant, &ret->shown, p->epoch, s->now_ms))
        return 0;
    return refuse_behind(p, a, ret);
}

unsigned
proof_ratchet(const struct prove *p, const struct proof_account *a, const struct proof_result *r,
              struct ratchet_shown *ret)
{
    unsigned halves = 0;

    memset(ret, 0, sizeof *ret);
    ret->fresh = p->fresh;
    ret->has_cur = p->has_cur;
    ret->has_new = p->has_new;
    ret->has_x = p->has_x && r->has_vtpm;
    memcpy(ret->cur, p->cur, sizeof ret->cur);
    memcpy(ret->new_, p->new_, sizeof ret->new_);
    memcpy(ret->x, p->x, sizeof ret->x);
    ret->run.epoch = p->epoch;
    if (r->has_vtpm) {
        ret->run.reset_count = r->reset_count;
        ret->run.restart_count = r->restart_count;
    }
    if (a->ratchet.has_cur && !a->no_disk && (a->floor & FACTOR_SECRET))
        halves |= RATCHET_KEY;
    if (a->ratchet.has_x && (a->floor & FACTOR_VTPM))
        halves |= RATCHET_INDEX;
    return halves;
}

static int
judge(const struct prove *p, const uint8_t *exporter, const struct proof_service *s,
      const struct proof_account *a, struct proof_result *ret, struct error *err)
{
    struct transcript t;
    int r;

    if (prove_transcript(p, s->issuer, exporter, &t, err) < 0 ||
        transcript_hash(&t, ret->h, err) < 0)
        return proof_refuse_or_fail(ret, "message", "refused", "a transcript", err);
    r = check_nonce(p, s, ret, err);
    if (r == 0)
        r = check_host(p, s, a, ret, err);
    if (r == 0)
        r = check_policy(p, a, ret);
    if (r == 0)
        r = proof_check_tpm(p, s, a, ret, err);
    if (r == 0)
        r = check_secrets(p, ret, err);
    if (r == 0)
        r = check_order(p, a, ret);
    if (r == 0)
        r = check_ratchets(p, s, a, ret, err);
    if (r == 0)
        ret->verdict = PROOF_ACCEPTED;
    return r;
}

int
proof_check(const struct prove *p, const uint8_t exporter[static 32],
            const struct proof_service *service, const struct proof_account *account,
            struct proof_result *ret, struct error *err)
{
    memset(ret, 0, sizeof *ret);
    if (judge(p, exporter, service, account, ret, err) < 0) {
        ret->verdict = PROOF_REFUSED;
        return -1;
    }
    return 0;
}
