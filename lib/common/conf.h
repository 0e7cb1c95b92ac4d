/*
 * conf.h - one INI file and its NAME.d/ drop-ins, as section.key = value
 *
 * Files NAME.d/X.conf are read after the file itself in alphabetical order; a later
 * value replaces an earlier one.  An unknown key is an error with its file
 * and line, so a typing error never passes in silence: declare what you take.
 */
#pragma once

#include <stdbool.h>
#include <stdint.h>

#include "lib/common/cleanup.h"
#include "lib/common/error.h"

enum conf_type { CONF_TEXT, CONF_INT, CONF_BOOL, CONF_LIST /* separated by white space */ };

struct conf_key {
    const char *name; /* "section.key" */
    enum conf_type type;
    const char *fallback; /* NULL: must be given */
};

struct conf;

/*
 * Read `path`.  `keys` ends with a NULL name and is borrowed for the life of *ret_conf.
 * A missing file is allowed with `may_be_missing`: all fallbacks.
 * ERROR_INPUT: syntax, unknown key, bad number or boolean, missing key: with file and line.
 */
int conf_read(const char *path, const struct conf_key *keys, bool may_be_missing,
              struct conf **ret_conf, struct error *err);

/* Takes one setting; -1 with *err refuses it, and the reading ends there. */
typedef int conf_take(void *context, const char *section, const char *name, const char *value, struct error *err);
/*
 * The same files for whoever declares no keys, because he does not know the sections beforehand: each setting of
 * each file to `take`, in order.  Errors as conf_read()'s, with file and line.
 */
int conf_each(const char *path, bool may_be_missing, conf_take *take, void *context, struct error *err);

/* Names of settings, separated by commas; "" none. */
enum { CONF_NAMES_MAX = 2048 };
struct conf_changes {
    char taken[CONF_NAMES_MAX], waiting[CONF_NAMES_MAX];
};
/*
 * `fresh` and `running` were read with the same keys.  Values of `fresh` that differ and that `live` names (ends with
 * NULL) change places with `running`'s: *ret's taken.  Other values that differ are `waiting`: texts that somebody
 * borrowed stay where they are.
 */
void conf_take_over(struct conf *running, struct conf *fresh, const char *const *live, struct conf_changes *ret);

void conf_free(struct conf *conf);
DEFINE_CLEANUP(struct conf *, conf_free);

/* Borrowed; asserts that the key was declared with that type. */
const char *conf_text(const struct conf *conf, const char *name);
int64_t conf_int(const struct conf *conf, const char *name);
bool conf_bool(const struct conf *conf, const char *name);
/* The i-th word of a list, or NULL behind the last. */
const char *conf_item(const struct conf *conf, const char *name, size_t i);
