#include "config.h"

#include "lib/wire/audit_record.h"

#include <string.h>

#include "lib/common/encode.h"
#include "lib/crypto/hash.h"
#include "lib/wire/fields.h"

int
audit_record_hash(const uint8_t before[static AUDIT_HASH], const struct audit_record *r,
                  uint8_t ret[static AUDIT_HASH], struct error *err)
{
    CLEANUP(buf_clear) struct buf b = BUF(2048);

    fields_add_text(&b, "virtid-audit-1");
    fields_add(&b, before, AUDIT_HASH);
    fields_add_u64(&b, (uint64_t)r->id);
    fields_add_u64(&b, (uint64_t)r->ms);
    fields_add_text(&b, r->who);
    fields_add_text(&b, r->what);
    fields_add(&b, r->uuid.bytes, r->has_uuid ? sizeof r->uuid.bytes : 0);
    fields_add_text(&b, r->problem);
    fields_add_text(&b, r->why);
    fields_add_text(&b, r->seen);
    fields_add_text(&b, r->expected);
    if (!buf_ok(&b))
        return error_set(err, ERROR_SYSTEM, "no memory");
    return hash_sha256(b.data, b.len, ret, err);
}

int
audit_record_append(json_t *array, const struct audit_record *r, struct error *err)
{
    const struct {
        const char *name, *text;
    } optional[] = {
        { "problem", r->problem }, { "why", r->why }, { "seen", r->seen }, { "expected", r->expected }
    };
    char uuid[VM_UUID_TEXT], hash[2 * AUDIT_HASH + 1];
    bool whole = true;
    json_t *o;

    hex_encode(r->hash, sizeof r->hash, hash);
    o = json_pack("{s:I,s:I,s:s,s:s,s:s}", "id", (json_int_t)r->id, "time", (json_int_t)r->ms, "who",
                  r->who, "what", r->what, "hash", hash);
    if (!o || json_array_append_new(array, o) < 0)
        return error_set(err, ERROR_SYSTEM, "no memory");
    if (r->has_uuid) {
        vm_uuid_print(&r->uuid, uuid);
        whole = json_object_set_new(o, "uuid", json_string(uuid)) == 0;
    }
    for (size_t i = 0; i < sizeof optional / sizeof *optional; i++)
        if (optional[i].text[0])
            whole = json_object_set_new(o, optional[i].name, json_string(optional[i].text)) == 0 && whole;
    return whole ? 0 : error_set(err, ERROR_SYSTEM, "no memory");
}

static void
print_text(struct buf *into, const char *name, const char *text)
{
    buf_printf(into, ",\"%s\":\"", name);
    for (; *text; text++) {
        if (*text < 0x20 || *text > 0x7e)
            buf_printf(into, "\\u%04x", (unsigned char)*text);
        else
            buf_printf(into, *text == '"' || *text == '\\' ? "\\%c" : "%c", *text);
    }
    buf_add_text(into, "\"");
}

void
audit_record_print(const struct audit_record *r, struct buf *into)
{
    char uuid[VM_UUID_TEXT] = "", hash[2 * AUDIT_HASH + 1];
    const char *const texts[][2] = { { "who", r->who },         { "what", r->what }, { "hash", hash },
                                     { "uuid", uuid },          { "problem", r->problem },
                                     { "why", r->why },         { "seen", r->seen }, { "expected", r->expected } };

    hex_encode(r->hash, sizeof r->hash, hash);
    if (r->has_uuid)
        vm_uuid_print(&r->uuid, uuid);
    buf_printf(into, "{\"id\":%lld,\"time\":%lld", (long long)r->id, (long long)r->ms);
    for (size_t i = 0; i < sizeof texts / sizeof *texts; i++) {
        if (texts[i][1][0] || i < 3) /* these three are always there */
            print_text(into, texts[i][0], texts[i][1]);
    }
    buf_add_text(into, "}");
}

static int
read_text(const json_t *o, const char *name, bool optional, char *ret, size_t max, size_t *ret_n,
          struct error *err)
{
    const char *text = NULL;

    if (json_get_string(o, name, optional, max, &text, err) < 0)
        return -1;
    strcpy(ret, text ? text : "");
    *ret_n += text != NULL;
    return 0;
}

int
audit_record_read(const json_t *o, struct audit_record *ret, struct error *err)
{
    struct audit_record r = { 0 };
    char uuid[VM_UUID_TEXT], hash[2 * AUDIT_HASH + 1];
    size_t n = 2, len;

    if (json_get_int(o, "id", false, 1, INT64_MAX, &r.id, err) < 0 ||
        json_get_int(o, "time", false, 0, INT64_MAX, &r.ms, err) < 0 ||
        read_text(o, "who", false, r.who, AUDIT_WHO_MAX, &n, err) < 0 ||
        read_text(o, "what", false, r.what, AUDIT_WORD_MAX, &n, err) < 0 ||
        read_text(o, "hash", false, hash, sizeof hash - 1, &n, err) < 0 ||
        read_text(o, "uuid", true, uuid, sizeof uuid - 1, &n, err) < 0 ||
        read_text(o, "problem", true, r.problem, AUDIT_WORD_MAX, &n, err) < 0 ||
        read_text(o, "why", true, r.why, AUDIT_TEXT_MAX, &n, err) < 0 ||
        read_text(o, "seen", true, r.seen, AUDIT_TEXT_MAX, &n, err) < 0 ||
        read_text(o, "expected", true, r.expected, AUDIT_TEXT_MAX, &n, err) < 0 ||
        (uuid[0] && vm_uuid_parse(uuid, &r.uuid, err) < 0) ||
        hex_decode(hash, strlen(hash), r.hash, sizeof r.hash, &len, err) < 0)
        return -1;
    if (len != sizeof r.hash || json_object_size(o) != n)
        return error_set(err, ERROR_INPUT, "not an audit record");
    r.has_uuid = uuid[0] != '\0';
    *ret = r;
    return 0;
}
