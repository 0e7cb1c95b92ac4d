/*
 * host_keys.h - the two keys of a host, for TLS and for proofs: shown, signed for,
 * certified
 */
#pragma once

#include "tokenservice/api/route.h"

struct host_keys {
    uint8_t tls[65], proof[65], sig_tls[64], sig_proof[64];
};

/* Members tls, proof, sig_tls, sig_proof. ERROR_INPUT "bad-request". */
int host_keys_read(const json_t *body, struct host_keys *ret, struct error *err);
/*
 * Both keys signed F(label, name, token, tls, proof); without `token` there is no such
 * field. They are two keys.  ERROR_DENIED "refused".
 */
int host_keys_check(const struct host_keys *keys, const char *label, const char *name,
                    const uint8_t *token, struct error *err);
/* What operator and host compare: the first 16 bytes of the message's SHA-256. */
int host_keys_fingerprint(const struct host_keys *keys, const char *name,
                          const uint8_t token[static 32],
                          char ret[static HOST_FINGERPRINT_TEXT], struct error *err);

/* Both certificates, stored as "next": they are in force when the first is used. */
int host_keys_certify(struct service *service, const char *name,
                      const struct host_keys *keys, int64_t now_ms,
                      struct store_cert *ret, struct error *err);
/*
 * The time, in seconds since 1970, to judge a host's certificate by: now, but not before it begins.  Our CA
 * dates what it makes with the present, so the clock has gone back; that is service_check_clock()'s to say.
 */
int64_t host_keys_now(const uint8_t *cert, size_t len, int64_t now_ms);
/*
 * Is cert->proof certified by our CA for proofs of cert->host, now?  In the database it
 * is only a column.  ERROR_DENIED: no.
 */
int host_keys_verify_proof(const struct service *service, const struct store_cert *cert,
                           int64_t now_ms, struct error *err);
/* {"state":"joined", certificates, CA, what the host must know} */
int host_keys_answer(struct service *service, struct api_call *call,
                     const struct store_cert *cert, struct error *err);
