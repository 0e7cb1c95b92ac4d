#include "config.h"

#include <string.h>

#include "lib/wire/fields.h"
#include "lib/wire/priv_msg.h"

enum { PAYLOAD_MODE_MAX = 0777 /* nothing setuid, setgid or sticky goes into a guest */ };

static bool
is_path_character(uint8_t c)
{
    return (c >= 'a' && c <= 'z') || (c >= 'A' && c <= 'Z') || (c >= '0' && c <= '9') ||
           memchr("._/@+-", c, 6) != NULL;
}

/* "/", "//", a trailing '/', "." and ".." have no place in it. */
static bool
is_payload_path(const uint8_t *path, size_t len)
{
    size_t start = 1;

    if (len < 2 || len > PRIV_PATH_MAX || path[0] != '/')
        return false;
    for (size_t i = 1; i <= len; i++) {
        if (i < len && !is_path_character(path[i]))
            return false;
        if (i < len && path[i] != '/')
            continue;
        size_t n = i - start;

        if (n == 0 || n > 255 || (n == 1 && path[start] == '.') ||
            (n == 2 && path[start] == '.' && path[start + 1] == '.'))
            return false;
        start = i + 1;
    }
    return true;
}

static int
check_entry(const struct payload_entry *e, struct error *err)
{
    if (!is_payload_path((const uint8_t *)e->path, e->path_len))
        return error_set(err, ERROR_INPUT, "payload: not a path of ours");
    if (e->mode > PAYLOAD_MODE_MAX)
        return error_set(err, ERROR_INPUT, "payload: mode 0%o", e->mode);
    switch (e->kind) {
    case 'd':
    case 's':
        if (e->len == 0)
            return 0;
        break;
    case 'l':
        if (e->len > 0 && e->len < PRIV_PATH_MAX && !memchr(e->content, '\0', e->len))
            return 0;
        break;
    case 'f':
        return 0;
    case '+':
        if (e->len > 0)
            return 0;
        break;
    default:
        return error_set(err, ERROR_INPUT, "payload: unknown kind 0x%02x", (uint8_t)e->kind);
    }
    return error_set(err, ERROR_INPUT, "payload: kind %c with %zu bytes of content", e->kind, e->len);
}

static void
add_piece(struct buf *into, const char *path, uint32_t mode, char kind, const uint8_t *content,
          size_t len)
{
    fields_add_text(into, path);
    fields_add_u32(into, mode);
    fields_add(into, &kind, 1);
    fields_add(into, content, len);
}

int
payload_add(struct buf *into, const char *path, uint32_t mode, char kind, const void *content,
            size_t len, struct error *err)
{
    struct payload_entry e = { path, strlen(path), mode, kind, content, len };
    const uint8_t *at = content;
    size_t first = kind == 'f' && len > FIELD_MAX ? FIELD_MAX : len;

    if (kind == '+')
        return error_set(err, ERROR_INPUT, "payload: a continuation is made here, not given");
    if (check_entry(&e, err) < 0)
        return -1;
    add_piece(into, path, mode, kind, at, first);
    for (size_t done = first; done < len && buf_ok(into);) {
        size_t n = len - done > FIELD_MAX ? FIELD_MAX : len - done;

        add_piece(into, path, mode, '+', at + done, n);
        done += n;
    }
    if (!buf_ok(into))
        return error_set(err, buf_error_code(into), "payload: %s does not fit", path);
    return 0;
}

int
payload_next(const uint8_t *bytes, size_t len, size_t *at, struct payload_entry *ret,
             bool *ret_end, struct error *err)
{
    struct fields f;
    struct payload_entry e = { 0 };
    const uint8_t *path;
    uint8_t kind;

    if (*at >= len) {
        *ret_end = true;
        return 0;
    }
    f = (struct fields){ bytes + *at, len - *at };
    if (fields_take(&f, 2, PRIV_PATH_MAX, &path, &e.path_len, err) < 0 ||
        fields_take_u32(&f, &e.mode, err) < 0 || fields_take_u8(&f, &kind, err) < 0 ||
        fields_take(&f, 0, FIELD_MAX, &e.content, &e.len, err) < 0)
        return -1;
    e.path = (const char *)path;
    e.kind = (char)kind;
    if (check_entry(&e, err) < 0)
        return -1;
    *at = len - f.left;
    *ret = e;
    *ret_end = false;
    return 0;
}
