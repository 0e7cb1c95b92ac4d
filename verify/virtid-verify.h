/*
 * virtid-verify.h - is this token the identity of a virtual machine, and of which?
 *
 *     struct virtid_options options = VIRTID_OPTIONS("https://id.example:8443", "shop");
 *     struct virtid_verifier *verifier;
 *     struct virtid_identity *vm;
 *     struct virtid_error error;
 *
 *     if (virtid_verifier_new(&options, &verifier, &error) != VIRTID_VALID) ...
 *     if (virtid_verify(verifier, token, strlen(token), &vm, &error) != VIRTID_VALID)
 *         fprintf(stderr, "%s\n", error.text);
 *     else
 *         printf("%s\n", virtid_identity_uuid(vm));
 *
 * Whoever has a bearer token can show it.  Of a bound one (options.bound) that is not enough: virtid_verify_proof().
 *
 * Make one verifier per issuer and audience and keep it: it caches the issuer's keys, and uses them for a
 * day more at most while the issuer cannot be reached.
 * All functions may be called from several threads at once.  Link with -lvirtid-verify.
 */
#pragma once

#include <stddef.h>
#include <stdint.h>

#ifdef __cplusplus
extern "C" {
#endif

enum virtid_result {
    VIRTID_VALID = 0,
    /* the token is not valid */
    VIRTID_MALFORMED,   /* no token of the expected form */
    VIRTID_ALGORITHM,   /* not ES256 */
    VIRTID_KEY,         /* signed by a key that the issuer does not publish */
    VIRTID_SIGNATURE,   /* altered or forged */
    VIRTID_EXPIRED,
    VIRTID_NOT_YET,
    VIRTID_ISSUER,      /* another issuer's */
    VIRTID_AUDIENCE,    /* made for another audience */
    VIRTID_CLAIMS,      /* not the claims of a VM's identity */
    VIRTID_GENERATION,  /* of a generation below the one asked for */
    VIRTID_PROOF,       /* not shown by its owner, over this connection, in answer to this nonce */
    VIRTID_BOUND,       /* a bound token, shown without a proof or to a verifier of bearer tokens */
    /* nothing is known about the token */
    VIRTID_UNREACHABLE, /* the issuer's keys could not be had */
    VIRTID_USAGE,       /* the options make no sense */
    VIRTID_SYSTEM       /* no memory, no file */
};

struct virtid_error {
    enum virtid_result result;
    char problem[32];  /* stable name, e.g. "token-expired"; "" if there is none */
    char text[400];    /* what was seen */
    char repair[200];  /* what to do; "" if nothing is known */
};

struct virtid_options {
    size_t size;            /* sizeof(struct virtid_options) */
    const char *issuer;     /* required: exactly as it stands in the tokens */
    const char *audience;   /* required: your own name */
    /* At most one of these two; with neither, keys are fetched from the issuer. */
    const char *jwks_text;
    const char *jwks_file;
    const char *ca_file;    /* PEM; NULL: the system's CAs */
    long timeout_ms;        /* of one fetch; 0: 10000 */
    /*
     * Refuse tokens of a lower generation: from before an older state of the VM was taken back (`virtid accept`)
     * or its identity was begun anew.  0: any.
     */
    int64_t min_generation;
    /*
     * Not 0: take bound tokens, with their proof, and nothing else.  Issuer and audience are given as for bearer
     * tokens; keys given as text or file are those of ISSUER/bound/.well-known/jwks.json.
     */
    int bound;
};

#define VIRTID_OPTIONS(issuer_url, audience_name) \
    { sizeof(struct virtid_options), (issuer_url), (audience_name), NULL, NULL, NULL, 0, 0, 0 }

struct virtid_verifier;
struct virtid_identity;

/*
 * All texts are copied.  A key file is read now; nothing is fetched before the first token.
 * `error` may be NULL here and below.
 */
enum virtid_result virtid_verifier_new(const struct virtid_options *options,
                                       struct virtid_verifier **ret_verifier,
                                       struct virtid_error *error);
/* Not while another thread uses it.  NULL is allowed. */
void virtid_verifier_free(struct virtid_verifier *verifier);

/*
 * Check a token: form, algorithm, key, signature, times (60 s of skew), issuer, audience.
 * VIRTID_VALID: *ret_identity is yours until virtid_identity_free().
 *
 * Keys are fetched from ISSUER/.well-known/openid-configuration and its jwks_uri, which must
 * have the issuer's scheme, host and port; they are kept for max-age (30 s to 1 h; 5 min if the
 * issuer does not say), looked for again when a token names an unknown key (at most once in
 * 30 s), and used on while the issuer is away.
 */
enum virtid_result virtid_verify(struct virtid_verifier *verifier, const char *token,
                                 size_t len, struct virtid_identity **ret_identity,
                                 struct virtid_error *error);
void virtid_identity_free(struct virtid_identity *identity);

/*
 * Check a proof (`virtid-agent prove`), with a verifier of bound tokens: the token in it as above, and that the VM
 * made it for this nonce, for our audience and for this connection.
 *
 * `nonce`: 32 random bytes that you made for this connection and sent over it.  `exporter`: 32 bytes of the same TLS
 * 1.3 connection, SSL_export_keying_material(..., VIRTID_EXPORTER_LABEL, no context), taken at your end of it: whoever
 * relays has two connections, and so two exporters.  Both must be your own, never what the other end said.
 */
#define VIRTID_EXPORTER_LABEL "EXPORTER-virtid-pop"
enum { VIRTID_NONCE_LEN = 32, VIRTID_EXPORTER_LEN = 32 };
enum virtid_result virtid_verify_proof(struct virtid_verifier *verifier, const char *proof,
                                       size_t len, const uint8_t *nonce, const uint8_t *exporter,
                                       struct virtid_identity **ret_identity,
                                       struct virtid_error *error);

enum { VIRTID_FACTOR_HOST = 1, VIRTID_FACTOR_VTPM = 2, VIRTID_FACTOR_SECRET = 4 };

/* Texts are borrowed from the identity. */
const char *virtid_identity_uuid(const struct virtid_identity *vm);    /* 36 characters */
const char *virtid_identity_name(const struct virtid_identity *vm);    /* "" unless this audience gets names */
const char *virtid_identity_subject(const struct virtid_identity *vm); /* spiffe://DOMAIN/vm/UUID */
const char *virtid_identity_claims(const struct virtid_identity *vm);  /* all verified claims, JSON */
const char *virtid_identity_key_id(const struct virtid_identity *vm);
unsigned virtid_identity_factors(const struct virtid_identity *vm);    /* VIRTID_FACTOR_... */
int64_t virtid_identity_generation(const struct virtid_identity *vm);
uint64_t virtid_identity_epoch(const struct virtid_identity *vm);
int64_t virtid_identity_issued(const struct virtid_identity *vm);      /* seconds since 1970 */
int64_t virtid_identity_expires(const struct virtid_identity *vm);
/* RFC 7638 thumbprint (32 bytes) of the key that the VM can prove to hold, or NULL. */
const uint8_t *virtid_identity_confirmation(const struct virtid_identity *vm);

/* "valid", "token-expired", ...: static text. */
const char *virtid_result_name(enum virtid_result result);

#ifdef __cplusplus
}
#endif
