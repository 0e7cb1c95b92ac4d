#include "config.h"

#include "lib/wire/hook_msg.h"

#include <string.h>

#include "lib/wire/fields.h"

static const char magic[4] = { 'V', 'H', 'K', '1' };

struct operation {
    const char *name;
    bool waits;
};

/* https://libvirt.org/hooks.html, "/etc/libvirt/hooks/qemu". */
static const struct operation operations[] = {
    { "prepare", true },  { "migrate", true },    { "restore", true },  { "start", false },
    { "started", false }, { "stopped", false },   { "release", false }, { "reconnect", false },
    { "attach", false },
};

static const struct operation *
find_operation(const char *op)
{
    for (size_t i = 0; i < sizeof operations / sizeof operations[0]; i++) {
        if (strcmp(operations[i].name, op) == 0)
            return &operations[i];
    }
    return NULL;
}

bool
hook_op_waits(const char *op)
{
    const struct operation *known = find_operation(op);

    return known && known->waits;
}

bool
hook_op_known(const char *op)
{
    return find_operation(op) != NULL;
}

static bool
is_clean(const uint8_t *text, size_t len)
{
    for (size_t i = 0; i < len; i++) {
        if (text[i] < 0x20 || text[i] == 0x7f)
            return false;
    }
    return true;
}

int
hook_msg_encode(const struct hook_msg *m, struct buf *into, struct error *err)
{
    CLEANUP(buf_clear) struct buf head = BUF(HOOK_HEAD_MAX);

    if (m->xml_len > HOOK_XML_MAX)
        return error_set(err, ERROR_INPUT, "%zu bytes of XML, at most %d", m->xml_len, HOOK_XML_MAX);
    if (!is_clean((const uint8_t *)m->name, strlen(m->name)))
        return error_set(err, ERROR_INPUT, "the domain's name has control characters");
    fields_add_text(&head, m->op);
    fields_add_text(&head, m->subop);
    fields_add_text(&head, m->name);
    fields_add_text(&head, m->uuid);
    fields_add_u8(&head, m->truncated);
    buf_add(into, magic, sizeof magic);
    buf_add_u32(into, (uint32_t)head.len);
    buf_add(into, head.data, head.len);
    buf_add_u32(into, (uint32_t)m->xml_len);
    buf_add(into, m->xml, m->xml_len);
    if (!buf_ok(&head) || !buf_ok(into))
        return error_set(err, buf_error_code(buf_ok(&head) ? into : &head), "hook message is too long");
    return 0;
}

/* A field as text: any bytes but control characters, because libvirt's names are UTF-8. */
static int
take_name(struct fields *f, size_t max, char *ret, struct error *err)
{
    const uint8_t *at;
    size_t len;

    if (fields_take(f, 0, max, &at, &len, err) < 0)
        return -1;
    if (!is_clean(at, len))
        return error_set(err, ERROR_INPUT, "control characters in a name");
    if (len > 0)
        memcpy(ret, at, len);
    ret[len] = '\0';
    return 0;
}

static int
decode_head(const uint8_t *bytes, size_t len, struct hook_msg *ret, struct error *err)
{
    struct fields f = { bytes, len };
    uint8_t truncated;

    if (take_name(&f, sizeof ret->op - 1, ret->op, err) < 0 ||
        take_name(&f, sizeof ret->subop - 1, ret->subop, err) < 0 ||
        take_name(&f, sizeof ret->name - 1, ret->name, err) < 0 ||
        take_name(&f, sizeof ret->uuid - 1, ret->uuid, err) < 0 ||
        fields_take_u8(&f, &truncated, err) < 0 || fields_end(&f, err) < 0)
        return error_wrap(err, "head of a hook message");
    if (truncated > 1)
        return error_set(err, ERROR_INPUT, "head of a hook message: flag %u", truncated);
    ret->truncated = truncated;
    return 0;
}

static uint32_t
read_u32(const uint8_t *at)
{
    return (uint32_t)at[0] << 24 | (uint32_t)at[1] << 16 | (uint32_t)at[2] << 8 | at[3];
}

int
hook_msg_decode(const uint8_t *bytes, size_t len, struct hook_msg *ret, bool *ret_done,
                struct error *err)
{
    struct hook_msg m = { 0 };
    size_t head_len, xml_len, xml_at;

    if (memcmp(bytes, magic, len < sizeof magic ? len : sizeof magic) != 0)
        return error_set(err, ERROR_INPUT, "not a hook message");
    *ret_done = false;
    if (len < 8)
        return 0;
    head_len = read_u32(bytes + 4);
    if (head_len > HOOK_HEAD_MAX)
        return error_set(err, ERROR_INPUT, "head of %zu bytes, at most %d", head_len, HOOK_HEAD_MAX);
    xml_at = 8 + head_len + 4;
    if (len < xml_at)
        return 0;
    xml_len = read_u32(bytes + 8 + head_len);
    if (xml_len > HOOK_XML_MAX)
        return error_set(err, ERROR_INPUT, "%zu bytes of XML, at most %d", xml_len, HOOK_XML_MAX);
    if (len > xml_at + xml_len)
        return error_set(err, ERROR_INPUT, "bytes behind a hook message");
    if (len < xml_at + xml_len)
        return 0;
    if (decode_head(bytes + 8, head_len, &m, err) < 0)
        return -1;
    m.xml = (const char *)bytes + xml_at;
    m.xml_len = xml_len;
    *ret = m;
    *ret_done = true;
    return 0;
}

int
hook_answer_encode(enum hook_verdict v, const char *reason_or_seconds, struct buf *into)
{
    static const char *const words[] = { [HOOK_GO] = "go", [HOOK_NO] = "no", [HOOK_WAIT] = "wait" };
    size_t len = reason_or_seconds ? strnlen(reason_or_seconds, HOOK_REASON_MAX) : 0;

    buf_add_text(into, words[v]);
    if (v != HOOK_GO) {
        buf_add_u8(into, ' ');
        for (size_t i = 0; i < len; i++) {
            uint8_t c = (uint8_t)reason_or_seconds[i];

            buf_add_u8(into, c < 0x20 || c == 0x7f ? ' ' : c);
        }
    }
    buf_add_u8(into, '\n');
    return buf_ok(into) ? 0 : -1;
}

static bool
is_seconds(const char *text, size_t len)
{
    if (len == 0 || len > 4)
        return false;
    for (size_t i = 0; i < len; i++) {
        if (text[i] < '0' || text[i] > '9')
            return false;
    }
    return true;
}

int
hook_answer_decode(const char *line, size_t len, enum hook_verdict *ret,
                   char ret_reason[static HOOK_REASON_MAX + 1], struct error *err)
{
    enum hook_verdict verdict;
    size_t skip;

    if (!is_clean((const uint8_t *)line, len))
        return error_set(err, ERROR_INPUT, "control characters in the answer");
    if (len == 2 && memcmp(line, "go", 2) == 0) {
        ret_reason[0] = '\0';
        *ret = HOOK_GO;
        return 0;
    }
    if (len > 3 && memcmp(line, "no ", 3) == 0) {
        verdict = HOOK_NO;
        skip = 3;
    } else if (len > 5 && memcmp(line, "wait ", 5) == 0 && is_seconds(line + 5, len - 5)) {
        verdict = HOOK_WAIT;
        skip = 5;
    } else {
        return error_set(err, ERROR_INPUT, "not an answer to a hook");
    }
    if (len - skip > HOOK_REASON_MAX)
        return error_set(err, ERROR_INPUT, "a reason of %zu characters", len - skip);
    memcpy(ret_reason, line + skip, len - skip);
    ret_reason[len - skip] = '\0';
    *ret = verdict;
    return 0;
}
