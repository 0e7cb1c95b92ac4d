#include "config.h"

#include "tokenservice/attest/credential.h"

#include <string.h>

#include "lib/common/buf.h"
#include "lib/common/secret.h"
#include "lib/crypto/hash.h"
#include "lib/wire/fields.h"

static const char label[] = "virtid-activate-1";

int
credential_secret(const uint8_t subkey[static 32], const struct credential_about *about,
                  uint8_t ret[static CREDENTIAL_SECRET_LEN], struct error *err)
{
    CLEANUP(buf_clear) struct buf message = BUF(1024);

    fields_add_text(&message, label);
    fields_add_text(&message, about->issuer);
    fields_add(&message, about->nonce, NONCE_LEN);
    fields_add(&message, about->uuid.bytes, sizeof about->uuid.bytes);
    fields_add_u64(&message, about->epoch);
    fields_add(&message, about->ak_name, TPM_NAME_LEN);
    fields_add(&message, about->ek_digest, EK_DIGEST_LEN);
    fields_add(&message, about->h, 32);
    if (!buf_ok(&message))
        return error_set(err, ERROR_SYSTEM, "credential: no room");
    return hash_hmac(subkey, 32, message.data, message.len, ret, err);
}

int
credential_ask(const uint8_t subkey[static 32], const struct credential_about *about,
               const struct credential_ek *ek, struct credential_blob *ret, struct error *err)
{
    uint8_t secret[CREDENTIAL_SECRET_LEN];
    struct credential_blob blob = { 0 };
    int r;

    if (credential_secret(subkey, about, secret, err) < 0)
        return -1;
    r = credential_protect(ek, about->ak_name, TPM_NAME_LEN, secret, blob.id_object,
                           &blob.id_object_len, blob.seed, &blob.seed_len, err);
    explicit_bzero(secret, sizeof secret);
    if (r < 0)
        return -1;
    *ret = blob;
    return 0;
}

int
credential_check(const uint8_t subkey[static 32], const struct credential_about *about,
                 const uint8_t secret[static CREDENTIAL_SECRET_LEN], struct error *err)
{
    uint8_t expected[CREDENTIAL_SECRET_LEN];
    bool equal;

    if (credential_secret(subkey, about, expected, err) < 0)
        return -1;
    equal = secret_equal(secret, expected, sizeof expected);
    explicit_bzero(expected, sizeof expected);
    if (!equal)
        return error_problem(err, ERROR_DENIED, "activation",
                             "the credential was not opened by this VM's EK for this AK");
    return 0;
}
