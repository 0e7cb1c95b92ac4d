/* What one proof says: the slots' keys, the TPM, x, and the signatures of all of them over one transcript. */
#include "config.h"

#include "guestagent/prover_state.h"

#include <string.h>
#include <unistd.h>

#include "guestagent/slot_key.h"
#include "guestagent/tpm_password.h"
#include "lib/common/log.h"

enum { X_TRIES = 3 };

static const char DEVICE[] = "/dev/tpmrm0";

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
                       &a->greeting.uuid, a->greeting.session, err) < 0 ||
            slots_read(slots, SLOT_CUR, &a->cur, err) < 0)
            return -1;
        log_notice("event=secret-made kind=%s", a->tpm ? "unique" : "private");
    }
    failure = (struct error){ 0 };
    if (read_optional(slots, SLOT_NEW, &a->new_, &failure) < 0) {
        if (failure.code != ERROR_INPUT) {
            *err = failure;
            return -1;
        }
        log_error(&failure, "event=slot-damaged the next secret is made anew");
    }
    return 0;
}

/*
 * No step now: the proof says so, and a VM whose ratchets do not step yet goes on as ever.  Said once, not with
 * each proof.
 */
static void
do_without(struct prover *p, struct attempt *a, const struct error *why)
{
    a->no_step = *why;
    if (!p->told_no_step)
        log_error(why, "event=no-step going on without a step of the ratchets");
    p->told_no_step = true;
}

int
prover_make_new(struct prover *p, struct attempt *a, struct error *err)
{
    struct error failure = { 0 };
    struct prove *m = &a->prove;

    if (a->new_ || p->step.done || a->greeting.epoch == 0 || a->no_step.code != ERROR_NONE)
        return 0;
    if (stepper_make(&p->step, p->options.slots, &a->greeting, a->tpm, &a->new_, &failure) < 0) {
        if (strcmp(failure.problem, "tpm-gone") == 0) {
            *err = failure;
            return -1;
        }
        do_without(p, a, &failure); /* a disk that is full or read-only */
        return 0;
    }
    if (slot_key_point(a->tpm, a->new_, m->new_, err) < 0)
        return error_wrap(err, "next secret");
    m->has_new = true;
    stepper_made(&p->step, m->new_);
    return 0;
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
    m->has_cnf = true; /* the service knows which tokens name it */
    memcpy(m->cnf, p->options.cnf, sizeof m->cnf);
    m->has_cur = true;
    if (slot_key_point(a->tpm, a->cur, m->cur, err) < 0)
        return error_wrap(err, "secret");
    m->has_new = a->new_ != NULL;
    if (m->has_new && slot_key_point(a->tpm, a->new_, m->new_, err) < 0)
        return error_wrap(err, "next secret");
    if (prover_make_new(p, a, err) < 0)
        return -1;
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

int
prover_make_durable(struct prover *p, struct attempt *a, struct error *err)
{
    struct error failure = { 0 };

    if (read_x(a, err) < 0)
        return -1;
    if (!a->prove.has_x || p->step.synced)
        return 0;
    if (guest_channel_sync(p->options.channel, &failure) == 0) {
        p->step.synced = true;
        return 0;
    }
    if (strcmp(failure.problem, "no-sync") == 0) {
        do_without(p, a, &failure);
        return 0;
    }
    *err = failure;
    return -1;
}

/* The counters in our own quote say whether the next key is still of this run. */
static int
same_run(struct prover *p, const struct prove *m, const uint8_t h[32], bool *ret, struct error *err)
{
    struct tpm_attest quote;

    if (!m->fresh)
        return 0;
    if (tpm_quote_read(m->quote, m->quote_len, h, &quote, err) < 0)
        return error_wrap(err, "our own quote");
    *ret = *ret && stepper_same_run(&p->step, quote.reset_count, quote.restart_count);
    return 0;
}

/* Quote and certify over h; false in *ret_same: somebody extended the index in between, or the TPM began
 * another run. */
static int
attest(struct prover *p, struct attempt *a, const uint8_t h[32], bool *ret_same, struct error *err)
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
    return same_run(p, m, h, ret_same, err);
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

int
prover_fill(struct prover *p, struct attempt *a, struct error *err)
{
    struct prove *m = &a->prove;
    bool same = false;

    m->has_activation = false;
    for (int i = 0; i < X_TRIES && !same; i++) {
        struct transcript t;
        uint8_t exporter[32], h[32];

        service_client_exporter(a->service, exporter);
        m->fresh = m->has_new && a->no_step.code == ERROR_NONE && stepper_is_fresh(&p->step, m->new_);
        if (read_x(a, err) < 0 ||
            prove_transcript(m, a->bundle.issuer, exporter, &t, err) < 0 ||
            transcript_hash(&t, h, err) < 0 || attest(p, a, h, &same, err) < 0)
            return -1;
        if (!same)
            continue;
        if (slot_key_sign(a->tpm, a->cur, h, m->cur_sig, err) < 0 ||
            (m->has_new && slot_key_sign(a->tpm, a->new_, h, m->new_sig, err) < 0) ||
            ask_host(p, a, h, err) < 0)
            return -1;
    }
    if (!same)
        return error_set(err, ERROR_BUSY, "the ratchet index changes under our hands");
    return 0;
}

int
prover_load(struct prover *p, struct attempt *a, const char *audience, struct error *err)
{
    if (load_slots(p, a, err) < 0 ||
        stepper_begin(&p->step, p->options.slots, a->greeting.epoch, err) < 0)
        return -1;
    return describe(p, a, audience, err);
}
