#include "config.h"

#include "guestagent/prover.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>

#include "guestagent/prover_state.h"
#include "lib/common/clock.h"
#include "lib/crypto/hash.h"

enum {
    GREETING_MS = 5000,
    CONNECTION_MS = 20000,
    ROUNDS_MAX = 10,       /* RESOLVE, ACTIVATE, EXTEND and stale may each ask for one more */
    STALE_WAIT_MS = 1000,
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

static int
new_proof(struct prover *p, struct attempt *a, struct error *err)
{
    if (prover_make_durable(p, a, err) < 0)
        return -1;
    a->asked_ms = clock_monotonic_ms();
    if (service_client_challenge(a->service, a->deadline_ms, a->prove.nonce, err) < 0)
        return -1;
    return prover_fill(p, a, err);
}

/* The first proof of an attempt: with the nonce that came with the last token, if it does now. */
static int
first_proof(struct prover *p, struct attempt *a, struct error *err)
{
    a->asked_ms = clock_monotonic_ms();
    if (!next_nonce_take(&p->next, &a->prove, a->asked_ms, a->prove.nonce))
        return new_proof(p, a, err);
    return prover_fill(p, a, err);
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

/* G4a: bring the disk to that one key, then G1, and prove again. */
static int
begin_again(struct prover *p, struct attempt *a, struct error *err)
{
    bool had_new = a->prove.has_new;

    if (resolve(p, a, err) < 0)
        return -1;
    if (a->no_step.code != ERROR_NONE && !had_new) { /* there is nothing that would make another answer */
        *err = a->no_step;
        return error_wrap(err, "the service asks for a step of the ratchets");
    }
    stepper_resolved(&p->step);
    return prover_make_new(p, a, err) < 0 ? -1 : new_proof(p, a, err);
}

/* G4b. */
static int
extend(struct prover *p, struct attempt *a, struct error *err)
{
    if (a->no_step.code != ERROR_NONE) {
        *err = a->no_step;
        return error_wrap(err, "the service asks for a step of the ratchets");
    }
    if (stepper_extend(&p->step, a->tpm, &a->answer, err) < 0)
        return error_wrap(err, "EXTEND");
    explicit_bzero(a->answer.v, sizeof a->answer.v);
    return new_proof(p, a, err);
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
    stepper_finished(&p->step);
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
            if (begin_again(p, a, err) < 0)
                return -1;
            break;
        case ANSWER_EXTEND:
            if (extend(p, a, err) < 0)
                return -1;
            break;
        }
    }
    return error_set(err, ERROR_BUSY, "no token after %d rounds", ROUNDS_MAX);
}

static int
connect_service(struct prover *p, struct attempt *a, struct error *err)
{
    int fd = -1;
    int64_t utc = clock_monotonic_ms() + a->greeting.utc_offset_ms;

    if (p->options.direct
            ? service_client_dial(&a->bundle, clock_monotonic_ms() + CONNECTION_MS, &fd, err) < 0
            : guest_channel_open(p->options.channel, &fd, err) < 0)
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
        trust_bundle(p->options.trust, &a->bundle, err) < 0 || prover_load(p, a, audience, err) < 0 ||
        prover_make_durable(p, a, err) < 0 || connect_service(p, a, err) < 0)
        return -1;
    if (converse(p, a, ret, err) == 0)
        return 0;
    /* What the service remembers of us is uncertain now: the next proof brings everything anew. */
    p->accepted = false;
    next_nonce_forget(&p->next);
    return -1;
}
