#include "config.h"

#include "lib/wire/transcript.h"

#include <string.h>

#include "lib/crypto/hash.h"
#include "lib/wire/fields.h"

enum { TRANSCRIPT_TEXT_MAX = 255 };

static const char LABEL_PROOF[] = "virtid-proof-1";
static const char LABEL_HOST[] = "virtid-host-proof-1";
static const char LABEL_SECRET[] = "virtid-secret-1";
static const char LABEL_POP[] = "virtid-pop-1";

static int
check_text(const char *what, const char *text, struct error *err)
{
    size_t len = text ? strlen(text) : 0;

    if (len == 0 || len > TRANSCRIPT_TEXT_MAX)
        return error_set(err, ERROR_INPUT, "%s of %zu characters in a signed message", what,
                         len);
    return 0;
}

static void
add_optional(struct buf *into, bool there, const void *bytes, size_t len)
{
    fields_add(into, bytes, there ? len : 0);
}

static int
finish(const struct buf *into, struct error *err)
{
    if (!buf_ok(into))
        return error_set(err, ERROR_SYSTEM, "signed message: no room");
    return 0;
}

int
transcript_encode(const struct transcript *t, struct buf *into, struct error *err)
{
    if (check_text("issuer", t->issuer, err) < 0 ||
        check_text("audience", t->audience, err) < 0)
        return -1;
    fields_add_text(into, LABEL_PROOF);
    fields_add_text(into, t->issuer);
    fields_add(into, t->uuid.bytes, sizeof t->uuid.bytes);
    fields_add_u64(into, t->epoch);
    fields_add(into, t->nonce, sizeof t->nonce);
    fields_add(into, t->exporter, sizeof t->exporter);
    fields_add_u8(into, t->factors);
    add_optional(into, t->has_ak, t->ak, sizeof t->ak);
    add_optional(into, t->has_ek, t->ek_digest, sizeof t->ek_digest);
    fields_add_text(into, t->audience);
    add_optional(into, t->has_cnf, t->cnf, sizeof t->cnf);
    add_optional(into, t->has_cur, t->cur, sizeof t->cur);
    add_optional(into, t->has_new, t->new_, sizeof t->new_);
    fields_add_u8(into, t->fresh ? 1 : 0);
    add_optional(into, t->has_x, t->x, sizeof t->x);
    return finish(into, err);
}

int
transcript_hash(const struct transcript *t, uint8_t ret[static 32], struct error *err)
{
    CLEANUP(buf_clear) struct buf text = BUF(TRANSCRIPT_MAX);

    if (transcript_encode(t, &text, err) < 0)
        return -1;
    return hash_sha256(text.data, text.len, ret, err);
}

int
transcript_host_message(const char *issuer, const char *host, const struct vm_uuid *uuid,
                        uint64_t epoch, const uint8_t h[static 32], struct buf *into,
                        struct error *err)
{
    if (check_text("issuer", issuer, err) < 0 || check_text("host", host, err) < 0)
        return -1;
    fields_add_text(into, LABEL_HOST);
    fields_add_text(into, issuer);
    fields_add_text(into, host);
    fields_add(into, uuid->bytes, sizeof uuid->bytes);
    fields_add_u64(into, epoch);
    fields_add(into, h, 32);
    return finish(into, err);
}

int
transcript_secret_message(const uint8_t h[static 32], struct buf *into, struct error *err)
{
    fields_add_text(into, LABEL_SECRET);
    fields_add(into, h, 32);
    return finish(into, err);
}

int
transcript_pop_message(const uint8_t token_sha256[static 32], const char *verifier,
                       const uint8_t nonce[static 32], const uint8_t exporter[static 32],
                       struct buf *into, struct error *err)
{
    if (check_text("verifier", verifier, err) < 0)
        return -1;
    fields_add_text(into, LABEL_POP);
    fields_add(into, token_sha256, 32);
    fields_add_text(into, verifier);
    fields_add(into, nonce, 32);
    fields_add(into, exporter, 32);
    return finish(into, err);
}
