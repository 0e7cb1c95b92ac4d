#include "config.h"

#include "guestagent/slot_key.h"

#include "lib/crypto/hash.h"
#include "lib/crypto/key.h"
#include "lib/wire/slot.h"
#include "lib/wire/transcript.h"

enum { BODY_AT = 17 }; /* behind kind and UUID */

static int
software_key(const struct secret *slot, struct key **ret, struct error *err)
{
    return key_from_private(slot->bytes + BODY_AT, ret, err);
}

int
slot_key_point(struct tpm_device *tpm, const struct secret *slot, uint8_t ret[static 65],
               struct error *err)
{
    CLEANUP(key_free) struct key *key = NULL;

    if (slot->bytes[0] == SLOT_UNIQUE)
        return tpm_secret_point(tpm, slot->bytes + BODY_AT, ret, err);
    if (software_key(slot, &key, err) < 0)
        return -1;
    key_point(key, ret);
    return 0;
}

int
slot_key_sign(struct tpm_device *tpm, const struct secret *slot, const uint8_t h[static 32],
              uint8_t ret[static 64], struct error *err)
{
    CLEANUP(key_free) struct key *key = NULL;
    CLEANUP(buf_clear) struct buf message = BUF(128);
    uint8_t digest[32];

    if (transcript_secret_message(h, &message, err) < 0 ||
        hash_sha256(message.data, message.len, digest, err) < 0)
        return -1;
    if (slot->bytes[0] == SLOT_UNIQUE)
        return tpm_secret_sign(tpm, slot->bytes + BODY_AT, digest, ret, err);
    if (software_key(slot, &key, err) < 0)
        return -1;
    return key_sign_digest(key, digest, ret, err);
}
