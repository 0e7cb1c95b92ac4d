#include "config.h"

#include "lib/wire/inject_msg.h"

#include <string.h>

#include "lib/wire/fields.h"

enum { JOB_NEVER_RAN = 2 /* as PRIV_FLAG_NEVER_RAN */ };

/* Texts come partly from a guest's disk: printable ASCII only, the rest becomes '?'. */
static void
add_shown(struct buf *into, const char *text, size_t max)
{
    char shown[sizeof((struct inject_msg *)0)->text];
    size_t n = 0;

    for (; text[n] && n < max; n++)
        shown[n] = text[n] >= ' ' && text[n] <= '~' ? text[n] : '?';
    fields_add(into, shown, n);
}

static void
add_job(const struct inject_msg *m, struct buf *into)
{
    fields_add(into, m->uuid.bytes, sizeof m->uuid.bytes);
    fields_add_text(into, m->format);
    fields_add_text(into, m->accel);
    fields_add_u8(into, m->never_ran ? JOB_NEVER_RAN : 0);
    fields_add_text(into, m->path);
}

static void
add_done(const struct inject_msg *m, struct buf *into)
{
    fields_add_text(into, m->result);
    add_shown(into, m->problem, sizeof m->problem - 1);
    add_shown(into, m->text, sizeof m->text - 1);
    fields_add(into, m->point, m->point_len);
}

int
inject_msg_encode(const struct inject_msg *m, struct buf *into, struct error *err)
{
    fields_add_u8(into, (uint8_t)m->kind);
    switch (m->kind) {
    case INJECT_JOB:
        add_job(m, into);
        break;
    case INJECT_NEXT:
        fields_add_text(into, m->path);
        break;
    case INJECT_FILE:
        add_shown(into, m->problem, sizeof m->problem - 1);
        add_shown(into, m->text, sizeof m->text - 1);
        break;
    case INJECT_READY:
    case INJECT_GO:
        break;
    case INJECT_DONE:
        add_done(m, into);
        break;
    }
    if (!buf_ok(into))
        return error_set(err, buf_error_code(into), "message to or from the worker is too long");
    return 0;
}

static int
take_path(struct fields *f, struct inject_msg *m, struct error *err)
{
    const uint8_t *bytes;
    size_t len;

    if (fields_take(f, 1, INJECT_NAME_MAX, &bytes, &len, err) < 0)
        return -1;
    if (memchr(bytes, '\0', len))
        return error_set(err, ERROR_INPUT, "a NUL inside a name");
    memcpy(m->path, bytes, len);
    m->path[len] = '\0';
    return 0;
}

static int
take_job(struct fields *f, struct inject_msg *m, struct error *err)
{
    uint8_t flags;

    if (fields_take_exact(f, m->uuid.bytes, sizeof m->uuid.bytes, err) < 0 ||
        fields_take_text(f, 3, 5, m->format, err) < 0 ||
        fields_take_text(f, 3, 4, m->accel, err) < 0 || fields_take_u8(f, &flags, err) < 0)
        return -1;
    if (flags & ~JOB_NEVER_RAN)
        return error_set(err, ERROR_INPUT, "unknown flags 0x%x", flags);
    m->never_ran = flags & JOB_NEVER_RAN;
    return take_path(f, m, err);
}

static int
take_reason(struct fields *f, struct inject_msg *m, struct error *err)
{
    if (fields_take_text(f, 0, sizeof m->problem - 1, m->problem, err) < 0)
        return -1;
    return fields_take_text(f, 0, sizeof m->text - 1, m->text, err);
}

static int
take_done(struct fields *f, struct inject_msg *m, struct error *err)
{
    const uint8_t *point;

    if (fields_take_text(f, 1, sizeof m->result - 1, m->result, err) < 0 ||
        take_reason(f, m, err) < 0 ||
        fields_take(f, 0, sizeof m->point, &point, &m->point_len, err) < 0)
        return -1;
    if (strcmp(m->result, "injected") == 0 && m->point_len == sizeof m->point) {
        memcpy(m->point, point, m->point_len);
        return 0;
    }
    if (strcmp(m->result, "skipped") == 0 && m->point_len == 0 && m->problem[0])
        return 0;
    return error_set(err, ERROR_INPUT, "the worker's result does not fit together");
}

static int
take_body(struct fields *f, struct inject_msg *m, struct error *err)
{
    switch (m->kind) {
    case INJECT_JOB:
        return take_job(f, m, err);
    case INJECT_NEXT:
        return take_path(f, m, err);
    case INJECT_FILE:
        return take_reason(f, m, err);
    case INJECT_READY:
    case INJECT_GO:
        return 0;
    case INJECT_DONE:
        return take_done(f, m, err);
    }
    return error_set(err, ERROR_INPUT, "message of kind %u", m->kind);
}

int
inject_msg_decode(const uint8_t *bytes, size_t len, struct inject_msg *ret, struct error *err)
{
    struct fields f = { bytes, len };
    struct inject_msg m = { 0 };
    uint8_t kind;

    if (fields_take_u8(&f, &kind, err) < 0)
        return -1;
    if (kind < INJECT_JOB || kind > INJECT_DONE)
        return error_set(err, ERROR_INPUT, "message of kind %u", kind);
    m.kind = (enum inject_kind)kind;
    if (take_body(&f, &m, err) < 0 || fields_end(&f, err) < 0)
        return -1;
    *ret = m;
    return 0;
}
