/*
 * prover_state.h - the inside of the prover: what one proof says (prover_proof.c), what is asked and answered (prover.c)
 */
#pragma once

#include "guestagent/next_nonce.h"
#include "guestagent/prover.h"
#include "guestagent/service_client.h"
#include "guestagent/stepper.h"
#include "lib/tpm/tpm_device.h"

struct prover {
    struct prover_options options;
    bool had_tpm, accepted;
    uint64_t accepted_epoch;
    struct next_nonce next;
    struct stepper step;
    bool told_no_step;
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
    struct error no_step; /* why no step can be made now; code NONE: it can */
    int64_t deadline_ms, asked_ms, answered_ms;
};

/* The greeting is there: what the slots, the TPM and the service's answers will need. */
int prover_load(struct prover *p, struct attempt *a, const char *audience, struct error *err);
/* G1, unless this run has its token or no step can be made now. */
int prover_make_new(struct prover *p, struct attempt *a, struct error *err);
/* G2: what the TPM holds now is durable on the host.  Before this no proof leaves. */
int prover_make_durable(struct prover *p, struct attempt *a, struct error *err);
/* G3: everything that says "now", for the nonce in a->prove. */
int prover_fill(struct prover *p, struct attempt *a, struct error *err);
