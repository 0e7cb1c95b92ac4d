#include "config.h"

#include "lib/common/json.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>

#include "lib/common/encode.h"

static int
check_limits(const json_t *value, int depth, struct error *err)
{
    const char *key;
    json_t *member;
    size_t i;

    if (depth > JSON_DEPTH_MAX)
        return error_set(err, ERROR_INPUT, "JSON deeper than %d", JSON_DEPTH_MAX);
    if (json_is_string(value) && json_string_length(value) > JSON_STRING_MAX)
        return error_set(err, ERROR_INPUT, "JSON string longer than %d", JSON_STRING_MAX);
    if (json_is_object(value) && json_object_size(value) > JSON_MEMBERS_MAX)
        return error_set(err, ERROR_INPUT, "JSON object with %zu members",
                         json_object_size(value));
    json_object_foreach((json_t *)(uintptr_t)value, key, member) {
        if (check_limits(member, depth + 1, err) < 0)
            return -1;
    }
    json_array_foreach(value, i, member) {
        if (check_limits(member, depth + 1, err) < 0)
            return -1;
    }
    return 0;
}

/* jansson says nothing of a lack of memory in its parser (a string may then lack its end) and is
 * hardly ever asked by those who put a text together: so its allocations are watched. */
static __thread bool ran_short;

static void *
watched_malloc(size_t size)
{
    void *room = malloc(size);

    if (!room)
        ran_short = true;
    return room;
}

void
json_watch_memory(void)
{
    json_set_alloc_funcs(watched_malloc, free);
}

void
json_begin(void)
{
    ran_short = false;
    errno = 0; /* ENOMEM from here on is of this text */
}

static json_t *
load(const char *text, size_t len, struct error *err)
{
    CLEANUP(json_decref) json_t *value = NULL;
    bool before = ran_short, failed;
    json_error_t where;

    ran_short = false;
    value = json_loadb(text, len, JSON_REJECT_DUPLICATES, &where);
    failed = ran_short;
    ran_short = before;
    if (failed)
        error_sys(err, ENOMEM, "JSON");
    else if (!value)
        error_set(err, ERROR_INPUT, "not JSON: %s", where.text);
    return failed ? NULL : STEAL(value);
}

int
json_parse(const char *text, size_t len, json_t **ret_object, struct error *err)
{
    CLEANUP(json_decref) json_t *value = NULL;
    size_t opened = 0;

    if (len > JSON_TEXT_MAX)
        return error_set(err, ERROR_INPUT, "JSON of %zu bytes", len);
    /* jansson's own parser is recursive: bound the depth before it sees the text. */
    for (size_t i = 0; i < len; i++) {
        if (text[i] == '{' || text[i] == '[')
            opened++;
    }
    if (opened > 4096)
        return error_set(err, ERROR_INPUT, "JSON with %zu brackets", opened);
    value = load(text, len, err);
    if (!value)
        return -1;
    if (!json_is_object(value))
        return error_set(err, ERROR_INPUT, "not a JSON object");
    if (check_limits(value, 1, err) < 0)
        return -1;
    *ret_object = STEAL(value);
    return 0;
}

static int
append(const char *bytes, size_t len, void *into)
{
    buf_add(into, bytes, len);
    return buf_ok(into) ? 0 : -1;
}

int
json_print(const json_t *value, struct buf *into, struct error *err)
{
    bool failed = json_dump_callback(value, append, into, JSON_COMPACT | JSON_ENCODE_ANY) < 0 || ran_short;

    ran_short = false;
    return failed ? error_set(err, ERROR_SYSTEM, "JSON does not fit or no memory") : 0;
}

static bool
is_listed(const char *names, const char *name)
{
    size_t len = strlen(name);

    for (const char *at = names; (at = strstr(at, name)); at += len) {
        if ((at == names || at[-1] == ' ') && (at[len] == '\0' || at[len] == ' '))
            return len > 0;
    }
    return false;
}

int
json_only(const json_t *object, const char *names, struct error *err)
{
    const char *name;
    json_t *member;

    json_object_foreach((json_t *)(uintptr_t)object, name, member) {
        if (!*name || strchr(name, ' ') || !is_listed(names, name))
            return error_set(err, ERROR_INPUT, "unknown member \"%.40s\"", name);
    }
    return 0;
}

/* The member, or NULL; *missing says whether that is allowed and so. */
static int
find(const json_t *object, const char *name, bool optional, const json_t **ret,
     struct error *err)
{
    *ret = json_object_get(object, name);
    if (!*ret && !optional)
        return error_set(err, ERROR_INPUT, "member \"%s\" is missing", name);
    return 0;
}

int
json_get_string(const json_t *object, const char *name, bool optional, size_t max,
                const char **ret, struct error *err)
{
    const json_t *v;

    if (find(object, name, optional, &v, err) < 0)
        return -1;
    if (!v)
        return 0;
    if (!json_is_string(v) || json_string_length(v) > max ||
        strlen(json_string_value(v)) != json_string_length(v))
        return error_set(err, ERROR_INPUT, "member \"%s\" is no string of at most %zu bytes",
                         name, max);
    *ret = json_string_value(v);
    return 0;
}

int
json_get_int(const json_t *object, const char *name, bool optional, int64_t min, int64_t max,
             int64_t *ret, struct error *err)
{
    const json_t *v;

    if (find(object, name, optional, &v, err) < 0)
        return -1;
    if (!v)
        return 0;
    if (!json_is_integer(v) || json_integer_value(v) < min || json_integer_value(v) > max)
        return error_set(err, ERROR_INPUT, "member \"%s\" is no integer in range", name);
    *ret = json_integer_value(v);
    return 0;
}

int
json_get_bool(const json_t *object, const char *name, bool optional, bool *ret,
              struct error *err)
{
    const json_t *v;

    if (find(object, name, optional, &v, err) < 0)
        return -1;
    if (!v)
        return 0;
    if (!json_is_boolean(v))
        return error_set(err, ERROR_INPUT, "member \"%s\" is no boolean", name);
    *ret = json_is_true(v);
    return 0;
}

int
json_get_bytes(const json_t *object, const char *name, bool optional, uint8_t *ret, size_t max,
               size_t *ret_len, struct error *err)
{
    const char *text = NULL;

    if (json_get_string(object, name, optional, B64URL_LEN(max), &text, err) < 0)
        return -1;
    if (!text) {
        *ret_len = 0;
        return 0;
    }
    if (b64url_decode(text, strlen(text), ret, max, ret_len, err) < 0)
        return error_wrap(err, "member \"%s\"", name);
    return 0;
}

int
json_get_array(const json_t *object, const char *name, bool optional, size_t max,
               const json_t **ret, struct error *err)
{
    const json_t *v;

    if (find(object, name, optional, &v, err) < 0)
        return -1;
    if (!v)
        return 0;
    if (!json_is_array(v) || json_array_size(v) > max)
        return error_set(err, ERROR_INPUT, "member \"%s\" is no array of at most %zu", name,
                         max);
    *ret = v;
    return 0;
}

int
json_get_object(const json_t *object, const char *name, bool optional, const json_t **ret,
                struct error *err)
{
    const json_t *v;

    if (find(object, name, optional, &v, err) < 0)
        return -1;
    if (!v)
        return 0;
    if (!json_is_object(v))
        return error_set(err, ERROR_INPUT, "member \"%s\" is no object", name);
    *ret = v;
    return 0;
}

int
json_set_bytes(json_t *object, const char *name, const uint8_t *bytes, size_t len)
{
    CLEANUP(mem_free) char *text = malloc(B64URL_LEN(len) + 1);

    if (!text)
        return -1;
    b64url_encode(bytes, len, text);
    return json_object_set_new(object, name, json_string(text));
}
