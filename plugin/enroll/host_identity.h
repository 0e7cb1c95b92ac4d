/*
 * host_identity.h - who this host is: two keys, their certificates, and what joining gave
 *
 * One folder, all files 0600: tls.pem proof.pem service.json bundle.  A key and its
 * certificate are one file, so that no crash leaves one without the other.  The bundle says whom this host trusts,
 * as it does to guests, and so the trust of both moves forward in one step.
 * The TLS key talks to the token service; the proof key signs for guests, and nothing else.
 */
#pragma once

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <sys/types.h>
#include <time.h>

#include "lib/common/buf.h"
#include "lib/common/cleanup.h"
#include "lib/common/error.h"
#include "lib/common/json.h"
#include "lib/crypto/hash.h"
#include "lib/crypto/key.h"
#include "lib/crypto/x509.h"
#include "lib/wire/bundle.h"
#include "lib/wire/names.h"

enum { HOST_ADDRESS_MAX = 255 };

struct host_identity {
    char name[NAME_HOST_MAX + 1];
    char trust_domain[NAME_TRUST_DOMAIN_MAX + 1];
    char issuer[NAME_ISSUER_MAX + 1];
    char service[HOST_ADDRESS_MAX + 1];        /* HOST:PORT of the host listener */
    char guest_listener[HOST_ADDRESS_MAX + 1]; /* HOST:PORT */
    struct key *tls_key, *proof_key;
    struct buf tls_cert, proof_cert;           /* DER */
    struct buf bundle;                         /* signed, as it came */
    struct bundle trust;                       /* what it says */
    int64_t not_before, not_after;             /* of the TLS certificate */
    struct host_identity_file {                /* tls.pem and bundle, as they were read */
        ino_t number;
        struct timespec time;
    } files[2];
};

/*
 * Before the first load: what an early version kept as tls.key and tls.crt, proof.key and proof.crt becomes the
 * two files of today.  The old ones go last; a crash in between is made good by the next call.
 */
int host_identity_upgrade(const char *state_dir, struct error *err);

/* ERROR_MISSING: this host has not joined. */
int host_identity_load(const char *state_dir, struct host_identity **ret, struct error *err);
void host_identity_free(struct host_identity *identity);
DEFINE_CLEANUP(struct host_identity *, host_identity_free);
/* Has another one been stored since?  By a renewal, with another bundle, or by a join beside us. */
bool host_identity_is_old(const char *state_dir, const struct host_identity *identity);
/*
 * A host that was off or cut off for a day: the service renews nothing for it any more.  `utc_s` is the
 * time, in seconds since 1970.
 */
bool host_identity_has_ended(const struct host_identity *identity, int64_t utc_s, struct error *ret_why);

/*
 * Take the answer to a join ({"tls_cert","proof_cert","bundle",...}) for these keys and
 * write everything; the TLS certificate last, since it makes the rest count.
 * ERROR_INPUT: the answer does not fit; ERROR_DENIED: a certificate is not for these keys, or the bundle is not of
 * the CA with this fingerprint, that of the join code.
 */
int host_identity_store(const char *state_dir, const char *name, const char *service,
                        const uint8_t ca_sha256[static SHA256_LEN], const struct key *tls_key,
                        const struct key *proof_key, const json_t *answer, struct error *err);
/*
 * The same with the answer to a renewal, which is of the same trust domain (ERROR_DENIED).  Whom the host trusts
 * stays: that moves by host_identity_take_bundle() alone.
 */
int host_identity_renew(const char *state_dir, const struct host_identity *held, const struct key *tls_key,
                        const struct key *proof_key, const json_t *answer, struct error *err);
/*
 * Take another bundle, if it may be taken: signed under the one held.  *ret_serial: of the one that is stored now,
 * which may be the one of before.  ERROR_DENIED, ERROR_INPUT: it is not taken.
 */
int host_identity_take_bundle(const char *state_dir, const struct host_identity *identity, const uint8_t *bytes,
                              size_t len, uint64_t *ret_serial, struct error *err);

/*
 * The pair of keys of a join that is not finished, made if there is none; kept until
 * host_identity_store() has stored them.
 */
int host_identity_join_keys(const char *state_dir, struct key **ret_tls, struct key **ret_proof,
                            struct error *err);
