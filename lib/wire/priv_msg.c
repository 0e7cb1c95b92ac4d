#include "config.h"

#include "lib/wire/priv_msg.h"

#include <string.h>

#include "lib/wire/fields.h"

/* After status and problem an answer has one of these shapes; the number of fields tells which. */
enum { PLAIN_FIELDS = 1, CHANNEL_FIELDS = 2, INJECT_FIELDS = 4 };

static int
take_bytes_text(struct fields *f, size_t max, char *ret, struct error *err)
{
    const uint8_t *bytes;
    size_t len;

    if (fields_take(f, 1, max, &bytes, &len, err) < 0)
        return -1;
    if (memchr(bytes, '\0', len))
        return error_set(err, ERROR_INPUT, "a NUL inside a text");
    memcpy(ret, bytes, len);
    ret[len] = '\0';
    return 0;
}

static int
take_name(struct fields *f, struct priv_request *r, struct error *err)
{
    if (take_bytes_text(f, NAME_DOMAIN_MAX, r->name, err) < 0)
        return -1;
    if (!name_is_domain(r->name))
        return error_set(err, ERROR_INPUT, "not the name of a domain");
    return 0;
}

static int
take_path(struct fields *f, struct priv_request *r, struct error *err)
{
    if (take_bytes_text(f, PRIV_PATH_MAX, r->path, err) < 0)
        return -1;
    if (r->path[0] != '/')
        return error_set(err, ERROR_INPUT, "not an absolute path");
    return 0;
}

static bool
is_format(const char *format)
{
    return strcmp(format, "raw") == 0 || strcmp(format, "qcow2") == 0;
}

static bool
is_named(enum priv_op op)
{
    return op == PRIV_CHANNEL || op == PRIV_SAVE_STATE || op == PRIV_STOP_GUEST;
}

static int
check_request(const struct priv_request *r, struct error *err)
{
    bool named = is_named(r->op);
    bool placed = r->op == PRIV_INJECT || r->op == PRIV_CHANNEL;

    if (r->op < PRIV_INJECT || r->op > PRIV_STOP_GUEST)
        return error_set(err, ERROR_INPUT, "request %u is not in the table", r->op);
    if (named && !name_is_domain(r->name))
        return error_set(err, ERROR_INPUT, "not the name of a domain");
    if (placed && r->path[0] != '/')
        return error_set(err, ERROR_INPUT, "not an absolute path");
    if (r->op == PRIV_INJECT && !is_format(r->format))
        return error_set(err, ERROR_INPUT, "format is neither raw nor qcow2");
    if (r->op == PRIV_INJECT && (r->flags & ~(PRIV_FLAG_AGENT | PRIV_FLAG_NEVER_RAN)))
        return error_set(err, ERROR_INPUT, "unknown flags 0x%02x", r->flags);
    return 0;
}

static int
finish(const struct buf *into, struct error *err)
{
    if (!buf_ok(into))
        return error_set(err, buf_error_code(into), "message is longer than %zu bytes", into->max);
    return 0;
}

int
priv_request_encode(const struct priv_request *r, struct buf *into, struct error *err)
{
    if (check_request(r, err) < 0)
        return -1;
    fields_add_u8(into, (uint8_t)r->op);
    fields_add(into, r->uuid.bytes, sizeof r->uuid.bytes);
    if (r->op == PRIV_INJECT) {
        fields_add_text(into, r->format);
        fields_add_text(into, r->path);
        fields_add_u8(into, r->flags);
        fields_add_u32(into, r->deadline_ms);
    }
    if (is_named(r->op))
        fields_add_text(into, r->name);
    if (r->op == PRIV_CHANNEL)
        fields_add_text(into, r->path);
    return finish(into, err);
}

static int
decode_inject(struct fields *f, struct priv_request *r, struct error *err)
{
    if (fields_take_text(f, 3, 5, r->format, err) < 0 || take_path(f, r, err) < 0 ||
        fields_take_u8(f, &r->flags, err) < 0 || fields_take_u32(f, &r->deadline_ms, err) < 0)
        return -1;
    return 0;
}

static int
decode_body(struct fields *f, struct priv_request *r, struct error *err)
{
    switch (r->op) {
    case PRIV_INJECT:
        return decode_inject(f, r, err);
    case PRIV_CHANNEL:
        return take_name(f, r, err) < 0 || take_path(f, r, err) < 0 ? -1 : 0;
    case PRIV_SAVE_STATE:
    case PRIV_STOP_GUEST:
        return take_name(f, r, err);
    case PRIV_PLACE_VTPM:
    case PRIV_VTPM_STATE:
    case PRIV_CANCEL:
    case PRIV_SYNC_VTPM:
        return 0;
    }
    return error_set(err, ERROR_INPUT, "request %u is not in the table", r->op);
}

int
priv_request_decode(const uint8_t *bytes, size_t len, struct priv_request *ret,
                    struct error *err)
{
    struct fields f = { bytes, len };
    struct priv_request r = { 0 };
    uint8_t op;

    if (len > PRIV_PACKET_MAX)
        return error_set(err, ERROR_INPUT, "request of %zu bytes", len);
    if (fields_take_u8(&f, &op, err) < 0 ||
        fields_take_exact(&f, r.uuid.bytes, sizeof r.uuid.bytes, err) < 0)
        return -1;
    if (op < PRIV_INJECT || op > PRIV_STOP_GUEST)
        return error_set(err, ERROR_INPUT, "request %u is not in the table", op);
    r.op = (enum priv_op)op;
    if (decode_body(&f, &r, err) < 0 || fields_end(&f, err) < 0 || check_request(&r, err) < 0)
        return -1;
    *ret = r;
    return 0;
}

/* Text for the peer: printable ASCII; what a guest's disk or a path put in it becomes '?'. */
static void
add_shown(struct buf *into, const char *text, size_t max)
{
    char shown[sizeof((struct error *)0)->text];
    size_t n = 0;

    for (; text[n] && n < max; n++)
        shown[n] = text[n] >= ' ' && text[n] <= '~' ? text[n] : '?';
    fields_add(into, shown, n);
}

static void
encode_done(const struct priv_answer *a, struct buf *into)
{
    bool inject = strcmp(a->result, "injected") == 0 || strcmp(a->result, "skipped") == 0;

    fields_add_u8(into, 0);
    fields_add(into, NULL, 0);
    add_shown(into, a->result, sizeof a->result - 1);
    if (inject) {
        add_shown(into, a->reason, sizeof a->reason - 1);
        add_shown(into, a->text, sizeof a->text - 1);
        fields_add(into, a->point, a->point_len);
    } else if (a->pid) {
        fields_add_u32(into, a->pid);
    }
}

int
priv_answer_encode(const struct priv_answer *a, struct buf *into, struct error *err)
{
    if (a->point_len != 0 && a->point_len != sizeof a->point)
        return error_set(err, ERROR_INPUT, "a point of %zu bytes", a->point_len);
    if (a->error.code != ERROR_NONE) {
        fields_add_u8(into, (uint8_t)a->error.code);
        add_shown(into, a->error.problem, sizeof a->error.problem - 1);
        add_shown(into, a->error.text, sizeof a->error.text - 1);
    } else {
        encode_done(a, into);
    }
    return finish(into, err);
}

static size_t
count_fields(struct fields f)
{
    const uint8_t *bytes;
    struct error ignored;
    size_t n = 0, len;

    while (f.left > 0 && fields_take(&f, 0, FIELD_MAX, &bytes, &len, &ignored) == 0)
        n++;
    return n;
}

static int
decode_inject_answer(struct fields *f, struct priv_answer *a, struct error *err)
{
    const uint8_t *point;

    if (strcmp(a->result, "injected") != 0 && strcmp(a->result, "skipped") != 0)
        return error_set(err, ERROR_INPUT, "unknown result of an injection");
    if (fields_take_text(f, 0, sizeof a->reason - 1, a->reason, err) < 0 ||
        fields_take_text(f, 0, sizeof a->text - 1, a->text, err) < 0 ||
        fields_take(f, 0, sizeof a->point, &point, &a->point_len, err) < 0)
        return -1;
    if (a->point_len != 0 && a->point_len != sizeof a->point)
        return error_set(err, ERROR_INPUT, "a point of %zu bytes", a->point_len);
    memcpy(a->point, point, a->point_len);
    return 0;
}

static int
decode_done(struct fields *f, struct priv_answer *a, struct error *err)
{
    size_t n = count_fields(*f);

    if (fields_take_text(f, 1, sizeof a->result - 1, a->result, err) < 0)
        return -1;
    switch (n) {
    case PLAIN_FIELDS:
        return 0;
    case CHANNEL_FIELDS:
        return fields_take_u32(f, &a->pid, err);
    case INJECT_FIELDS:
        return decode_inject_answer(f, a, err);
    default:
        return error_set(err, ERROR_INPUT, "an answer of %zu fields", n);
    }
}

int
priv_answer_decode(const uint8_t *bytes, size_t len, struct priv_answer *ret,
                   struct error *err)
{
    struct fields f = { bytes, len };
    struct priv_answer a = { 0 };
    uint8_t status;
    int r;

    if (len > PRIV_PACKET_MAX)
        return error_set(err, ERROR_INPUT, "answer of %zu bytes", len);
    if (fields_take_u8(&f, &status, err) < 0 ||
        fields_take_text(&f, 0, sizeof a.error.problem - 1, a.error.problem, err) < 0)
        return -1;
    if (status > ERROR_SYSTEM || (status == ERROR_NONE && a.error.problem[0]))
        return error_set(err, ERROR_INPUT, "an answer of status %u", status);
    a.error.code = (enum error_code)status;
    r = status == ERROR_NONE ? decode_done(&f, &a, err)
                             : fields_take_text(&f, 0, sizeof a.error.text - 1, a.error.text, err);
    if (r < 0 || fields_end(&f, err) < 0)
        return -1;
    *ret = a;
    return 0;
}
