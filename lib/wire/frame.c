#include "config.h"

#include "lib/wire/frame.h"

#include <assert.h>
#include <string.h>

#include "lib/wire/fields.h"

static const uint8_t MAGIC[4] = { 'V', 'T', 'D', '1' };

static uint64_t
read_integer(const uint8_t *at, size_t bytes)
{
    uint64_t v = 0;

    for (size_t i = 0; i < bytes; i++)
        v = v << 8 | at[i];
    return v;
}

void
frame_encode(enum frame_type type, uint64_t session, const void *payload, size_t len,
             struct buf *into)
{
    if (len > FRAME_PAYLOAD_MAX) {
        into->failed = true;
        return;
    }
    buf_add(into, MAGIC, sizeof MAGIC);
    buf_add_u8(into, (uint8_t)type);
    buf_add(into, "\0\0\0", 3);
    buf_add_u64(into, session);
    buf_add_u32(into, (uint32_t)len);
    buf_add(into, payload, len);
}

void
frame_reader_clear(struct frame_reader *r)
{
    buf_clear(&r->bytes);
    r->taken = 0;
    r->lost = false;
}

size_t
frame_room(const struct frame_reader *r)
{
    return r->bytes.max - (r->bytes.len - r->taken);
}

static void
drop_taken(struct frame_reader *r)
{
    buf_drop(&r->bytes, r->taken);
    r->taken = 0;
}

void
frame_feed(struct frame_reader *r, const void *bytes, size_t len)
{
    assert(len <= frame_room(r));
    drop_taken(r);
    buf_add(&r->bytes, bytes, len);
    if (!buf_ok(&r->bytes)) {
        /* No memory: these bytes are gone, so the stream is lost until a new greeting. */
        buf_clear(&r->bytes);
        r->lost = true;
    }
}

struct header {
    uint8_t type;
    uint64_t session;
    size_t len;
};

/* False: no frame begins here.  `at` has FRAME_HEADER_LEN bytes. */
static bool
read_header(const uint8_t *at, struct header *ret)
{
    if (memcmp(at, MAGIC, sizeof MAGIC) != 0 || at[5] || at[6] || at[7])
        return false;
    ret->type = at[4];
    ret->session = read_integer(at + 8, 8);
    ret->len = (size_t)read_integer(at + 16, 4);
    return ret->len <= FRAME_PAYLOAD_MAX;
}

/* A greeting is what brings a lost reader back. */
static bool
is_greeting(const struct header *h)
{
    return h->type == FRAME_HELLO || (h->type == FRAME_WHO && h->len == 0);
}

/*
 * Skip to the next place where a greeting may begin.  False: nothing but the start of a
 * possible header is left.
 */
static bool
find_greeting(struct frame_reader *r, size_t from)
{
    const uint8_t *bytes = r->bytes.data;
    size_t len = r->bytes.len, at = from;
    bool found = false;

    for (; at + FRAME_HEADER_LEN <= len; at++) {
        const uint8_t *next =
            memchr(bytes + at, MAGIC[0], len - FRAME_HEADER_LEN + 1 - at);
        struct header h;

        if (!next) {
            at = len - FRAME_HEADER_LEN + 1;
            break;
        }
        at = (size_t)(next - bytes);
        if (read_header(next, &h) && is_greeting(&h)) {
            found = true;
            break;
        }
    }
    buf_drop(&r->bytes, at < len ? at : len);
    return found;
}

bool
frame_next(struct frame_reader *r, struct frame *ret)
{
    drop_taken(r);
    for (;;) {
        struct header h;
        size_t whole;

        if (r->lost && !find_greeting(r, 0))
            return false;
        if (r->bytes.len < FRAME_HEADER_LEN)
            return false;
        if (!read_header(r->bytes.data, &h)) {
            r->lost = true;
            if (!find_greeting(r, 1))
                return false;
            continue;
        }
        whole = FRAME_HEADER_LEN + h.len;
        if (r->bytes.len < whole)
            return false;
        r->lost = false;
        if (h.type < FRAME_WHO || h.type > FRAME_STALE) {
            buf_drop(&r->bytes, whole);
            continue;
        }
        ret->type = (enum frame_type)h.type;
        ret->session = h.session;
        ret->payload = r->bytes.data + FRAME_HEADER_LEN;
        ret->len = h.len;
        r->taken = whole;
        return true;
    }
}

/* The end of the year 9999: later than that no calendar goes, and sums of times do not overflow. */
static const uint64_t UTC_MS_MAX = 253402300799999;

int
hello_encode(const struct hello *h, struct buf *into, struct error *err)
{
    if (!name_is_issuer(h->issuer) || h->bundle_len > BUNDLE_MAX)
        return error_set(err, ERROR_INPUT, "HELLO with a bad issuer or bundle");
    fields_add_u8(into, h->version);
    fields_add_u64(into, h->session);
    fields_add(into, h->uuid.bytes, sizeof h->uuid.bytes);
    fields_add_u64(into, h->epoch);
    fields_add_u64(into, h->utc_ms);
    fields_add_text(into, h->issuer);
    fields_add(into, h->bundle, h->bundle_len);
    if (!buf_ok(into))
        return error_set(err, ERROR_SYSTEM, "HELLO: no room");
    return 0;
}

int
hello_decode(const uint8_t *payload, size_t len, struct hello *ret, struct error *err)
{
    struct fields f = { payload, len };
    struct hello h = { 0 };
    const uint8_t *bundle;

    if (fields_take_u8(&f, &h.version, err) < 0)
        return error_wrap(err, "HELLO");
    if (h.version != CHANNEL_VERSION)
        return error_set(err, ERROR_INPUT, "HELLO of version %u, ours is %d", h.version,
                         CHANNEL_VERSION);
    if (fields_take_u64(&f, &h.session, err) < 0 ||
        fields_take_exact(&f, h.uuid.bytes, sizeof h.uuid.bytes, err) < 0 ||
        fields_take_u64(&f, &h.epoch, err) < 0 || fields_take_u64(&f, &h.utc_ms, err) < 0 ||
        fields_take_text(&f, 1, NAME_ISSUER_MAX, h.issuer, err) < 0 ||
        fields_take(&f, 0, BUNDLE_MAX, &bundle, &h.bundle_len, err) < 0 ||
        fields_end(&f, err) < 0)
        return error_wrap(err, "HELLO");
    if (!name_is_issuer(h.issuer))
        return error_set(err, ERROR_INPUT, "HELLO: not an issuer URL");
    if (h.utc_ms > UTC_MS_MAX)
        return error_set(err, ERROR_INPUT, "HELLO: a time beyond the year 9999");
    if (h.bundle_len > 0)
        memcpy(h.bundle, bundle, h.bundle_len);
    *ret = h;
    return 0;
}
