/*
 * proof_check.h - is this proof by that VM, now, in a state that may have a token?
 *
 * C1 to C4 of docs/PROTOCOL-proof.md, 4, in that order, on plain values: what came in, what the
 * account says (read once, in the transaction that will store the outcome), what time it is.
 * Nothing here reads a clock, a file or a store, and nothing is stored.
 *
 * Not here: what an accepted proof does to the ratchets (ratchet.h), whether EK and secret are used by another
 * account, the audience's policy and the token (api); what changes in the row (store), which follows
 * `struct proof_result`.
 */
#pragma once

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "lib/common/error.h"
#include "lib/crypto/x509.h"
#include "lib/wire/proof_msg.h"
#include "tokenservice/attest/credential.h"
#include "tokenservice/attest/nonce.h"
#include "tokenservice/attest/ratchet.h"

/* The service's side of it. */
struct proof_service {
    const char *issuer;
    int64_t now_ms;                    /* since 1970 */
    const uint8_t *nonce_key;          /* subkeys of nonce_hour(p->nonce), 32 bytes each */
    const uint8_t *activate_key;
    const struct x509_der *ek_cas;     /* may be none */
    size_t n_ek_cas;
};

/* What the account knows.  All zero: there is no such VM. */
struct proof_account {
    bool known;
    bool pending;                      /* until its first accepted proof: takes what it lacks */
    bool locked;
    uint8_t floor;                     /* FACTOR_*; host is always in it */

    bool has_lease;                    /* live, now */
    uint64_t epoch;
    char host[NAME_HOST_MAX + 1];
    uint8_t host_point[65];            /* of the holder's live proof certificate */

    bool is_copied;                    /* another VM has the EK that this proof shows: `owner` */
    struct vm_uuid owner;
    bool has_ek, ek_ca;                /* ek_ca: one of our EK CAs made its certificate */
    uint8_t ek[EK_PUBLIC_MAX];         /* TPMT_PUBLIC */
    size_t ek_len;
    bool has_ak;
    uint8_t ak_name[TPM_NAME_LEN];
    bool no_disk;                      /* its disk forgets: it has no disk ratchet */
    bool key_died;                     /* with its TPM: one that does not fit is taken */
    struct ratchet ratchet;

    bool has_mark;                     /* of the last accepted proof */
    uint8_t mark_nonce[NONCE_LEN];
    bool has_mark_counters;
    uint32_t mark_reset, mark_restart;
    uint64_t mark_clock;
};

enum proof_verdict { PROOF_REFUSED, PROOF_ACTIVATE, PROOF_ACCEPTED };

struct proof_result {
    enum proof_verdict verdict;
    /*
     * The host's signature fits: it is this VM, whatever else is wrong.  Only then may a refusal be
     * counted for the VM, be an event, or be answered with anything but "refused" or "stale".
     */
    bool from_holder;

    /* PROOF_REFUSED.  Problems: refused stale | proof-malformed locked floor ek-missing ek-template ek-cert
     * ek-changed ek-known ak-template ak-changed activation quote certify secret-signature disk-behind tpm-behind. */
    char problem[32];
    char check[24];                    /* nonce host-signature lock floor ek ak activation quote certify secret order key index */
    char seen[128], expected[128];     /* for the operator, never for the guest */

    /*
     * RATCHET_*: the halves that did not pass C4.  Of an accepted proof: the grant let it in, and
     * ratchet_accept() is to follow.  Then `shown` is what it showed, all of it verified.
     */
    unsigned behind;
    bool may_be_granted;               /* an operator's word would let it in */
    struct proof_shown shown;

    /* PROOF_ACTIVATE */
    struct credential_blob blob;

    /* PROOF_ACCEPTED */
    uint8_t factors;                   /* shown and good; may be fewer than claimed, never less than the floor */
    bool ek_ca;                        /* the token's virtid.vtpm.ek: "ca" or "host" */
    bool copied;                       /* a pending account's TPM is a copy of the one of VM `owner`: it does not count */
    struct vm_uuid owner;
    bool tpm_cleared;                  /* event: the counters are not above the mark's */
    /* To store; what is false stays as it is. */
    bool take_ek, take_ak, take_cur, take_x;

    /* Filled as far as the proof was read: for the mark, the row, the audit. */
    uint8_t h[32];
    bool has_vtpm;                     /* the TPM's part was checked and is good */
    uint8_t ek_digest[EK_DIGEST_LEN], ak_name[TPM_NAME_LEN]; /* ak_name: whenever p has an AK; the next nonce is bound to it */
    const uint8_t *ek;                 /* p's or the account's; lives as long as they do */
    size_t ek_len;
    uint32_t reset_count, restart_count;
    uint64_t clock, firmware;
};

/* What an accepted proof, taken into the account, shows to which of its ratchets: those of the floor. */
unsigned proof_ratchet(const struct prove *p, const struct proof_account *account,
                       const struct proof_result *result, struct ratchet_shown *ret);

/* The first 8 bytes of SHA-256 in hex: enough for a person to compare. */
void proof_print_thumbprint(const uint8_t *bytes, size_t len, char ret[static 17]);

/*
 * Judge `p`, which came over the connection with this exporter.  0: *ret says what; -1: we could not
 * judge (memory, crypto): answer 500, *ret is PROOF_REFUSED.  With a known or an unknown VM the same work is
 * done up to the host's signature (CHECKS C26).
 */
int proof_check(const struct prove *p, const uint8_t exporter[static 32],
                const struct proof_service *service, const struct proof_account *account,
                struct proof_result *ret, struct error *err);
