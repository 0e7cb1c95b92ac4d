#include "config.h"

#include "guestagent/prover.h"

#include <errno.h>
#include <string.h>
#include <time.h>
#include <unistd.h>

#include "guestagent/next_nonce.h"
#include "guestagent/service_client.h"
#include "guestagent/tpm_password.h"
#include "lib/common/clock.h"
#include "lib/common/fdio.h"
#include "lib/common/log.h"
#include "lib/crypto/hash.h"
#include "lib/crypto/key.h"
#include "lib/tpm/tpm_device.h"
#include "lib/wire/proof_msg.h"

enum {
    GREETING_MS = 5000,
    CONNECTION_MS = 20000,
    ROUNDS_MAX = 8,        /* RESOLVE, ACTIVATE and stale may each ask for one more */
    STALE_WAIT_MS = 1000,
    X_TRIES = 3,
};

static const char DEVICE[] = "/dev/tpmrm0";

struct prover {
    struct prover_options options;
    bool had_tpm, accepted;
    uint64_t accepted_epoch;
    struct next_nonce next;
    char factors[32];
};

/* What one attempt carries from step to step. */
struct attempt {
    struct greeting greeting;
    struct bundle bundle;
    struct service_client *service;
    struct tpm_device *tpm; /* NULL: a VM without one */
    bool rsa;               /* which EK */
    struct secret *cur, *new_;
    struct prove prove;
    struct answer answer;
    int64_t deadline_ms, asked_ms, answered_ms;
};

static void
attempt_free(struct attempt *a)
{
    if (!a)
        return;
    service_client_free(a->service);
    tpm_close(a->tpm);
    secret_free(a->cur);
    secret_free(a->new_);
    explicit_bzero(a, sizeof *a);
    free(a);
}
DEFINE_CLEANUP(struct attempt *, attempt_free);

int
prover_new(const struct prover_options *options, struct prover **ret, struct error *err)
{
    struct prover *p = calloc(1, sizeof *p);

    if (!p)
        return error_sys(err, ENOMEM, "prover");
    p->options = *options;
    *ret = p;
    return 0;
}

void
prover_free(struct prover *p)
{
    free(p);
}

const char *
prover_factors(const struct prover *p)
{
    return p->factors;
}

/* A file that is gone is no password: whoever clears the TPM removes it and is done. */
static int
give_password(const struct prover *p, struct tpm_device *tpm, struct error *err)
{
    CLEANUP(secret_free) struct secret *password = NULL;
    struct error failure = { 0 };

    if (p->options.password_file[0] == '\0')
        return 0;
    if (tpm_password_read(p->options.password_file, &password, &failure) == 0)
        return tpm_endorsement_password(tpm, password->bytes, password->len, err);
    if (failure.code == ERROR_MISSING)
        return 0;
    *err = failure;
    return -1;
}

/* Once a TPM was seen, or where the secret lives in one, a proof without it is never made. */
static int
open_tpm(struct prover *p, bool needed, struct attempt *a, struct error *err)
{
    const char *tcti = p->options.tcti;
    struct error failure = { 0 };

    if (strcmp(tcti, "auto") == 0)
        tcti = access(DEVICE, F_OK) == 0 ? "device:/dev/tpmrm0" : "none";
    if (strcmp(tcti, "none") == 0) {
        if (p->had_tpm || needed)
            return error_problem(err, ERROR_SYSTEM, "tpm-gone",
                                 "this VM has proved itself with a TPM, and there is none now");
        return 0;
    }
    p->had_tpm = true;
    if (tpm_open(tcti, &a->tpm, &failure) == 0)
        return give_password(p, a->tpm, err);
    return error_problem(err, failure.code, failure.problem[0] ? failure.problem : "tpm-gone",
                         "the TPM does not answer: %s", failure.text);
}

static int
read_optional(struct slots *slots, enum slot_name which, struct secret **ret,
              struct error *err)
{
    struct error failure = { 0 };

    if (slots_read(slots, which, ret, &failure) == 0 || failure.code == ERROR_MISSING)
        return 0;
    *err = failure;
    return -1;
}

/* `cur` is always there from here on; a damaged one can not be mended, only replaced. */
static int
load_slots(struct prover *p, struct attempt *a, struct error *err)
{
    struct slots *slots = p->options.slots;
    struct error failure = { 0 };
    bool foreign;

    if (slots_claim(slots, &a->greeting.uuid, &foreign, err) < 0)
        return -1;
    if (foreign)
        log_notice("event=slots-foreign the secret on this disk is another VM's: it is not "
                   "used, this VM enrols as new");
    if (read_optional(slots, SLOT_CUR, &a->cur, &failure) < 0) {
        if (failure.code != ERROR_INPUT || slots_set_bad_aside(slots, err) < 0) {
            *err = failure;
            return -1;
        }
        log_error(&failure, "event=slot-damaged set aside as cur.bad, a fresh secret is made");
    }
    if (open_tpm(p, a->cur && a->cur->bytes[0] == SLOT_UNIQUE, a, err) < 0)
        return -1;
    if (!a->cur) {
        if (slots_make(slots, SLOT_CUR, a->tpm ? SLOT_UNIQUE : SLOT_PRIVATE,
                       &a->greeting.uuid, err) < 0 ||
            slots_read(slots, SLOT_CUR, &a->cur, err) < 0)
            return -1;
        log_notice("event=secret-made kind=%s", a->tpm ? "unique" : "private");
    }
    return read_optional(slots, SLOT_NEW, &a->new_, err);
}

static int
slot_key(const struct secret *slot, struct key **ret, struct error *err)
{
    return key_from_private(slot->bytes + 17, ret, err);
}

static int
slot_point(const struct attempt *a, const struct secret *slot, uint8_t ret[65],
           struct error *err)
{
    CLEANUP(key_free) struct key *key = NULL;

    if (slot->bytes[0] == SLOT_UNIQUE)
        return tpm_secret_point(a->tpm, slot->bytes + 17, ret, err);
    if (slot_key(slot, &key, err) < 0)
        return -1;
    key_point(key, ret);
    return 0;
}

static int
slot_sign(const struct attempt *a, const struct secret *slot, const uint8_t h[32],
          uint8_t ret[64], struct error *err)
{
    CLEANUP(key_free) struct key *key = NULL;
    CLEANUP(buf_clear) struct buf message = BUF(128);
    uint8_t digest[32];

    if (transcript_secret_message(h, &message, err) < 0 ||
        hash_sha256(message.data, message.len, digest, err) < 0)
        return -1;
    if (slot->bytes[0] == SLOT_UNIQUE)
        return tpm_secret_sign(a->tpm, slot->bytes + 17, digest, ret, err);
    if (slot_key(slot, &key, err) < 0)
        return -1;
    return key_sign_digest(key, digest, ret, err);
}

/* libvirt's swtpm makes both EKs; ours, and the smaller one, is P-384. */
static int
read_ek(struct attempt *a, struct error *err)
{
    CLEANUP(buf_clear) struct buf ek = BUF(EK_PUBLIC_MAX), cert = BUF(EK_CERT_MAX);
    struct error ignored = { 0 };

    if (tpm_ek_cert(a->tpm, false, &cert, &ignored) < 0) {
        buf_clear(&cert);
        a->rsa = tpm_ek_cert(a->tpm, true, &cert, &ignored) == 0;
        if (!a->rsa)
            buf_clear(&cert);
    }
    if (tpm_ek_public(a->tpm, a->rsa, &ek, err) < 0)
        return error_wrap(err, "EK");
    memcpy(a->prove.ek, ek.data, ek.len);
    a->prove.ek_len = ek.len;
    if (cert.len > 0)
        memcpy(a->prove.ek_cert, cert.data, cert.len);
    a->prove.ek_cert_len = cert.len;
    return 0;
}

/* The fields that stay the same for all rounds of this attempt. */
static int
describe(struct prover *p, struct attempt *a, const char *audience, struct error *err)
{
    struct prove *m = &a->prove;

    memset(m, 0, sizeof *m);
    m->uuid = a->greeting.uuid;
    m->epoch = a->greeting.epoch;
    m->factors = FACTOR_HOST | FACTOR_SECRET;
    memcpy(m->audience, audience, strlen(audience) + 1);
    if (strcmp(audience, "virtid-connect") == 0) {
        m->has_cnf = true;
        memcpy(m->cnf, p->options.cnf, sizeof m->cnf);
    }
    m->has_cur = true;
    if (slot_point(a, a->cur, m->cur, err) < 0)
        return error_wrap(err, "secret");
    m->has_new = a->new_ != NULL;
    if (m->has_new && slot_point(a, a->new_, m->new_, err) < 0)
        return error_wrap(err, "next secret");
    if (!a->tpm)
        return 0;
    m->factors |= FACTOR_VTPM;
    m->has_ak = true;
    if (tpm_ak_public(a->tpm, m->ak, err) < 0)
        return error_wrap(err, "AK");
    /* With the first contact of a run; later the service knows it. */
    if (!p->accepted || p->accepted_epoch != a->greeting.epoch)
        return read_ek(a, err);
    return 0;
}

static int
read_x(struct attempt *a, struct error *err)
{
    struct error failure = { 0 };

    a->prove.has_x = false;
    if (!a->tpm)
        return 0;
    if (tpm_nv_read(a->tpm, a->prove.x, &failure) == 0) {
        a->prove.has_x = true;
        return 0;
    }
    if (failure.code == ERROR_MISSING)
        return 0;
    *err = failure;
    return error_wrap(err, "ratchet index");
}

/* Quote and certify over h; false in *ret_same: somebody extended the index in between. */
static int
attest(struct attempt *a, const uint8_t h[32], bool *ret_same, struct error *err)
{
    struct tpm_proof proof;
    struct prove *m = &a->prove;

    *ret_same = true;
    if (!a->tpm)
        return 0;
    if (tpm_prove(a->tpm, h, &proof, err) < 0)
        return error_wrap(err, "quote");
    memcpy(m->quote, proof.quote, proof.quote_len);
    m->quote_len = proof.quote_len;
    memcpy(m->quote_sig, proof.quote_sig, sizeof m->quote_sig);
    memcpy(m->certify, proof.certify, proof.certify_len);
    m->certify_len = proof.certify_len;
    memcpy(m->certify_sig, proof.certify_sig, sizeof m->certify_sig);
    *ret_same = proof.has_x == m->has_x &&
                (!m->has_x || memcmp(proof.x, m->x, sizeof m->x) == 0); /* public */
    return 0;
}

/* The host signs h; its name is no part of h, so it is filled in afterwards. */
static int
ask_host(struct prover *p, struct attempt *a, const uint8_t h[32], struct error *err)
{
    struct host_signature s;

    if (guest_channel_sign(p->options.channel, h, &s, err) < 0)
        return -1;
    if (s.epoch != a->greeting.epoch)
        return error_problem(err, ERROR_BUSY, "no-channel",
                             "the host signed in another epoch than it greeted with");
    memcpy(a->prove.host, s.host, sizeof s.host);
    memcpy(a->prove.hostsig, s.signature, sizeof s.signature);
    return 0;
}

/* G3: everything that says "now", for one nonce. */
static int
fill_proof(struct prover *p, struct attempt *a, struct error *err)
{
    struct prove *m = &a->prove;
    bool same = false;

    m->has_activation = false;
    for (int i = 0; i < X_TRIES && !same; i++) {
        struct transcript t;
        uint8_t exporter[32], h[32];

        service_client_exporter(a->service, exporter);
        if (read_x(a, err) < 0 ||
            prove_transcript(m, a->bundle.issuer, exporter, &t, err) < 0 ||
            transcript_hash(&t, h, err) < 0 || attest(a, h, &same, err) < 0)
            return -1;
        if (!same)
            continue;
        if (slot_sign(a, a->cur, h, m->cur_sig, err) < 0 ||
            (m->has_new && slot_sign(a, a->new_, h, m->new_sig, err) < 0) ||
            ask_host(p, a, h, err) < 0)
            return -1;
    }
    if (!same)
        return error_set(err, ERROR_BUSY, "the ratchet index changes under our hands");
    return 0;
}

static int
new_proof(struct prover *p, struct attempt *a, struct error *err)
{
    a->asked_ms = clock_monotonic_ms();
    if (service_client_challenge(a->service, a->deadline_ms, a->prove.nonce, err) < 0)
        return -1;
    return fill_proof(p, a, err);
}

/* The first proof of an attempt: with the nonce that came with the last token, if it does now. */
static int
first_proof(struct prover *p, struct attempt *a, struct error *err)
{
    a->asked_ms = clock_monotonic_ms();
    if (!next_nonce_take(&p->next, &a->prove, a->asked_ms, a->prove.nonce))
        return new_proof(p, a, err);
    return fill_proof(p, a, err);
}

/* ACTIVATE: the same PROVE again, on the same connection, with the secret that only this EK opens. */
static int
activate(struct attempt *a, struct error *err)
{
    if (!a->tpm || a->prove.has_activation)
        return error_set(err, ERROR_INPUT, "the service asks again to activate");
    if (tpm_activate(a->tpm, a->rsa, a->answer.id_object, a->answer.id_object_len,
                     a->answer.seed, a->answer.seed_len, a->prove.activation, err) < 0)
        return error_wrap(err, "credential activation");
    a->prove.has_activation = true;
    return 0;
}

/* G4a and G4c: which key is it now?  An unknown kid is no order we can follow. */
static int
resolve(struct prover *p, struct attempt *a, struct error *err)
{
    uint8_t cur[32], new_[32];
    struct prove *m = &a->prove;

    if (hash_sha256(m->cur, sizeof m->cur, cur, err) < 0)
        return -1;
    if (memcmp(a->answer.kid, cur, sizeof cur) == 0) { /* public */
        m->has_new = false;
        secret_free(STEAL(a->new_));
        return slots_resolve(p->options.slots, SLOT_CUR, err);
    }
    if (!m->has_new || hash_sha256(m->new_, sizeof m->new_, new_, err) < 0 ||
        memcmp(a->answer.kid, new_, sizeof new_) != 0)
        return error_set(err, ERROR_INPUT, "the service names a key that is not here");
    if (slots_resolve(p->options.slots, SLOT_NEW, err) < 0)
        return -1;
    secret_free(a->cur);
    a->cur = STEAL(a->new_);
    memcpy(m->cur, m->new_, sizeof m->cur);
    m->has_new = false;
    return 0;
}

static void
remember_factors(struct prover *p, const struct attempt *a)
{
    strcpy(p->factors, a->prove.factors & FACTOR_VTPM ? "host+vtpm" : "host");
    if (a->prove.factors & FACTOR_SECRET)
        strcat(p->factors, "+secret");
}

/* G4c. */
static int
take_token(struct prover *p, struct attempt *a, struct proof_token *ret, struct error *err)
{
    CLEANUP(secret_free) struct secret *text = NULL;
    size_t len = strlen(a->answer.token);

    if (a->answer.has_kid && resolve(p, a, err) < 0)
        return error_wrap(err, "TOKEN");
    if (slots_forget_others(p->options.slots, err) < 0 || secret_new(len, &text, err) < 0)
        return -1;
    memcpy(text->bytes, a->answer.token, len);
    ret->text = STEAL(text);
    ret->asked_ms = a->asked_ms;
    ret->answered_ms = a->answered_ms;
    ret->asked_utc_ms = a->asked_ms + a->greeting.utc_offset_ms;
    ret->expires_in = a->answer.expires_in;
    ret->epoch = a->greeting.epoch;
    p->accepted = true;
    p->accepted_epoch = a->greeting.epoch;
    next_nonce_keep(&p->next, &a->prove, a->answer.nonce, a->asked_ms, a->answered_ms,
                    a->answer.expires_in);
    remember_factors(p, a);
    return 0;
}

static void
pause_ms(int64_t ms)
{
    struct timespec t = { ms / 1000, (ms % 1000) * 1000000 };

    (void)nanosleep(&t, NULL);
}

/* `stale` is repeated at once with a fresh nonce, then after a second (replicas' clocks). */
static int
after_refusal(struct prover *p, struct attempt *a, int *stale, struct error *err)
{
    if (strcmp(err->problem, "stale") != 0 || *stale >= 2)
        return -1;
    *err = (struct error){ 0 };
    if ((*stale)++ > 0)
        pause_ms(STALE_WAIT_MS);
    return new_proof(p, a, err);
}

/* Ask until there is a token: each answer says what the next request is. */
static int
converse(struct prover *p, struct attempt *a, struct proof_token *ret, struct error *err)
{
    int stale = 0;

    if (first_proof(p, a, err) < 0)
        return -1;
    for (int round = 0; round < ROUNDS_MAX; round++) {
        if (service_client_prove(a->service, &a->prove, a->deadline_ms, &a->answer, err) < 0) {
            if (after_refusal(p, a, &stale, err) < 0)
                return -1;
            continue;
        }
        a->answered_ms = clock_monotonic_ms();
        switch (a->answer.type) {
        case ANSWER_TOKEN:
            return take_token(p, a, ret, err);
        case ANSWER_ACTIVATE:
            if (activate(a, err) < 0)
                return -1;
            break;
        case ANSWER_RESOLVE:
            if (resolve(p, a, err) < 0 || new_proof(p, a, err) < 0)
                return -1;
            break;
        case ANSWER_EXTEND:
            return error_problem(err, ERROR_DENIED, "ratchet-unsupported",
                                 "the service wants a ratchet step, which this agent is too "
                                 "old for: update virtid-agent in the guest");
        }
    }
    return error_set(err, ERROR_BUSY, "no token after %d rounds", ROUNDS_MAX);
}

static int
connect_service(struct prover *p, struct attempt *a, struct error *err)
{
    int fd = -1;
    int64_t utc = clock_monotonic_ms() + a->greeting.utc_offset_ms;

    if (guest_channel_open(p->options.channel, &fd, err) < 0)
        return -1;
    a->deadline_ms = clock_monotonic_ms() + CONNECTION_MS;
    return service_client_new(fd, &a->bundle, utc / 1000, a->deadline_ms, &a->service, err);
}

int
prover_token(struct prover *p, const char *audience, struct proof_token *ret,
             struct error *err)
{
    CLEANUP(attempt_free) struct attempt *a = calloc(1, sizeof *a);
    int64_t until = clock_monotonic_ms() + GREETING_MS;

    if (!a)
        return error_sys(err, ENOMEM, "proof");
    if (!name_is_audience(audience))
        return error_set(err, ERROR_INPUT, "not the name of an audience");
    if (guest_channel_wait(p->options.channel, until, &a->greeting, err) < 0 ||
        trust_bundle(p->options.trust, &a->bundle, err) < 0 || load_slots(p, a, err) < 0 ||
        describe(p, a, audience, err) < 0 || connect_service(p, a, err) < 0)
        return -1;
    if (converse(p, a, ret, err) == 0)
        return 0;
    /* What the service remembers of us is uncertain now: the next proof brings everything anew. */
    p->accepted = false;
    next_nonce_forget(&p->next);
    return -1;
}
