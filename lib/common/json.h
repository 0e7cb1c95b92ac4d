/*
 * json.h - JSON from outside, strictly; JSON for outside, compactly
 *
 * Not a wrapper around jansson: callers use its json_t.  This is where text
 * becomes json_t (bounded, no duplicate members, depth and count limited:
 * CHECKS C19) and where the few shapes we read are read.
 */
#pragma once

#include <stdbool.h>
#include <stdint.h>

#include <jansson.h>

#include "lib/common/buf.h"
#include "lib/common/cleanup.h"
#include "lib/common/error.h"

enum {
    JSON_TEXT_MAX = 65536,  /* our largest answer: a page of a list */
    JSON_DEPTH_MAX = 8,
    JSON_MEMBERS_MAX = 64,  /* of one object */
    JSON_STRING_MAX = 16384,
};

DEFINE_CLEANUP(json_t *, json_decref);

/*
 * Text to an object.  ERROR_INPUT: not UTF-8 JSON, not an object, duplicate members,
 * trailing bytes, deeper, wider or longer than the limits above.
 */
int json_parse(const char *text, size_t len, json_t **ret_object, struct error *err);

/*
 * Programs call json_watch_memory() first.  From json_begin() (or the print before) on, a text of
 * which a part found no memory is then not printed but ERROR_SYSTEM: who puts it together need not
 * ask each time.  A library leaves its user's jansson alone.  json_begin() clears errno too.
 */
void json_watch_memory(void);
void json_begin(void);

/* Compact text, appended to `into`. */
int json_print(const json_t *value, struct buf *into, struct error *err);

/* Only the named members may be there ("uuid name ek": separated by spaces). */
int json_only(const json_t *object, const char *names, struct error *err);

/*
 * Read one member.  ERROR_INPUT names the member.  With `optional` a missing
 * member leaves the output as it was.  Strings are borrowed from the object.
 */
int json_get_string(const json_t *object, const char *name, bool optional, size_t max,
                    const char **ret, struct error *err);
int json_get_int(const json_t *object, const char *name, bool optional, int64_t min,
                 int64_t max, int64_t *ret, struct error *err);
int json_get_bool(const json_t *object, const char *name, bool optional, bool *ret,
                  struct error *err);
/* base64url; an absent optional member gives *ret_len = 0. */
int json_get_bytes(const json_t *object, const char *name, bool optional, uint8_t *ret,
                   size_t max, size_t *ret_len, struct error *err);
int json_get_array(const json_t *object, const char *name, bool optional, size_t max,
                   const json_t **ret, struct error *err);
int json_get_object(const json_t *object, const char *name, bool optional,
                    const json_t **ret, struct error *err);

/* object[name] = base64url(bytes); 0 or -1. */
int json_set_bytes(json_t *object, const char *name, const uint8_t *bytes, size_t len);
