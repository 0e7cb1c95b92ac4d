#include "config.h"

#include "tokenservice/api/receipt.h"

#include <string.h>

#include "lib/crypto/hash.h"
#include "lib/crypto/key.h"
#include "lib/wire/fields.h"

bool
receipt_has_account(const struct vm_account *a, const char *host)
{
    return strcmp(a->stored.lease.hol, host) == 0 || strcmp(a->id.host, host) == 0;
}

int
receipt_make(struct service *s, const struct vm_account *a, bool with_account, struct buf *into, struct error *err)
{
    CLEANUP(buf_clear) struct buf record = BUF(MINT_RECORD_MAX);
    const struct store_vm *stored = &a->stored;

    lease_receipt(&stored->lease, &stored->uuid, &record);
    fields_add_u64(&record, with_account ? stored->row_ver : 0);
    fields_add(&record, stored->row, with_account ? stored->row_len : 0);
    fields_add(&record, stored->mac, with_account ? sizeof stored->mac : 0);
    fields_add(&record, stored->ek, with_account ? stored->ek_len : 0);
    if (!buf_ok(&record))
        return error_set(err, ERROR_SYSTEM, "receipt is too long");
    return mint_receipt(s->mint, record.data, record.len, into, err);
}

static int
refuse(struct error *err, const char *why)
{
    return error_problem(err, ERROR_DENIED, "refused", "receipt: %s", why);
}

/* What the signer signed, and nothing else: the label, the record, the signature. */
static int
check_signature(struct service *s, const uint8_t *bytes, size_t len, struct fields *ret_record, struct error *err)
{
    CLEANUP(key_free) struct key *key = NULL;
    char label[sizeof MINT_RECEIPT_LABEL];
    const uint8_t *record;
    size_t record_len;
    struct fields f;
    struct error why;

    if (len <= KEY_SIGNATURE_LEN)
        return refuse(err, "too short");
    if (key_from_point(s->info.receipt_point, &key, err) < 0)
        return -1;
    len -= KEY_SIGNATURE_LEN;
    if (key_verify(key, bytes, len, bytes + len, &why) < 0) {
        if (why.code != ERROR_SYSTEM)
            return refuse(err, "not signed by this service");
        *err = why;
        return -1;
    }
    f = (struct fields){ bytes, len };
    if (fields_take_text(&f, 1, sizeof label - 1, label, &why) < 0 || strcmp(label, MINT_RECEIPT_LABEL) != 0 ||
        fields_take(&f, 1, MINT_RECORD_MAX, &record, &record_len, &why) < 0 || fields_end(&f, &why) < 0)
        return refuse(err, "not a receipt");
    *ret_record = (struct fields){ record, record_len };
    return 0;
}

static int
take_account(struct service *s, struct fields *f, struct receipt *ret, struct error *err)
{
    const uint8_t *row, *mac, *ek;
    uint8_t digest[SHA256_LEN];
    size_t mac_len;
    struct error why;

    if (fields_take(f, 0, ROW_MAX, &row, &ret->row_len, &why) < 0 || fields_take(f, 0, ROW_MAC_LEN, &mac, &mac_len, &why) < 0 ||
        fields_take(f, 0, EK_PUBLIC_MAX, &ek, &ret->ek_len, &why) < 0 || fields_end(f, &why) < 0 ||
        (ret->row_ver == 0 ? ret->row_len + mac_len + ret->ek_len != 0 : mac_len != ROW_MAC_LEN))
        return refuse(err, "not a receipt of this version");
    if (ret->row_ver == 0)
        return 0;
    memcpy(ret->row, row, ret->row_len);
    memcpy(ret->mac, mac, sizeof ret->mac);
    memcpy(ret->ek, ek, ret->ek_len);
    if (mint_row_open(s->mint, ret->row, ret->row_len, ret->mac, &ret->id, &why) < 0) {
        if (why.code == ERROR_DENIED || why.code == ERROR_INPUT)
            return refuse(err, "its row is not this service's");
        *err = why;
        return -1;
    }
    if (hash_sha256(ret->ek, ret->ek_len, digest, err) < 0)
        return -1;
    if (!vm_uuid_equal(&ret->id.uuid, &ret->uuid) || ret->id.has_ek != (ret->ek_len > 0) ||
        (ret->id.has_ek && memcmp(digest, ret->id.ek_digest, sizeof digest) != 0)) /* both are public */
        return refuse(err, "its parts do not fit together");
    return 0;
}

int
receipt_open(struct service *s, const uint8_t *bytes, size_t len, struct receipt *ret, struct error *err)
{
    struct fields f;
    struct error why;

    memset(ret, 0, sizeof *ret);
    if (check_signature(s, bytes, len, &f, err) < 0)
        return -1;
    if (lease_receipt_take(&f, &ret->uuid, &ret->lease, &why) < 0 || fields_take_u64(&f, &ret->row_ver, &why) < 0)
        return refuse(err, "not a receipt of this version");
    return take_account(s, &f, ret, err);
}
