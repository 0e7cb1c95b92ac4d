#include "config.h"

#include "lib/common/conf.h"

#include <assert.h>
#include <dirent.h>
#include <errno.h>
#include <fnmatch.h>
#include <ini.h>
#include <stdio.h>
#include <string.h>

enum { CONF_KEYS_MAX = 64, CONF_ITEMS_MAX = 32, CONF_VALUE_MAX = 1024 };

struct conf {
    const struct conf_key *keys;
    char *values[CONF_KEYS_MAX];
    char *items[CONF_KEYS_MAX][CONF_ITEMS_MAX + 1]; /* into lists[] */
    char *lists[CONF_KEYS_MAX];
};

/* One reading: who takes each setting, and what he said when he refused. */
struct reading {
    conf_take *take;
    void *context;
    struct error *err;
    bool refused;
};

static int
find_key(const struct conf *conf, const char *name)
{
    for (int i = 0; conf->keys[i].name; i++) {
        if (strcmp(conf->keys[i].name, name) == 0)
            return i;
    }
    return -1;
}

static int
parse_bool(const char *text)
{
    if (!strcmp(text, "yes") || !strcmp(text, "true") || !strcmp(text, "on"))
        return 1;
    if (!strcmp(text, "no") || !strcmp(text, "false") || !strcmp(text, "off"))
        return 0;
    return -1;
}

static bool
is_good(enum conf_type type, const char *value)
{
    char *end;

    if (type == CONF_BOOL)
        return parse_bool(value) >= 0;
    if (type == CONF_INT) {
        errno = 0;
        (void)strtoll(value, &end, 10);
        return *value && !*end && !errno;
    }
    return true;
}

static int
set_value(struct conf *conf, int at, const char *value)
{
    char *copy = strdup(value);

    if (!copy)
        return -1;
    free(conf->values[at]);
    conf->values[at] = copy;
    return 0;
}

static int
take_declared(void *context, const char *section, const char *name, const char *value, struct error *err)
{
    struct conf *conf = context;
    char full[128];
    int at;

    snprintf(full, sizeof full, "%s.%s", section, name);
    at = find_key(conf, full);
    if (at < 0)
        return error_set(err, ERROR_INPUT, "unknown setting \"%s\" in [%s]", name, section);
    if (!is_good(conf->keys[at].type, value))
        return error_set(err, ERROR_INPUT, "[%s] %s: bad value \"%.60s\"", section, name, value);
    return set_value(conf, at, value) < 0 ? error_sys(err, ENOMEM, "configuration") : 0;
}

static int
take_one(void *user, const char *section, const char *name, const char *value)
{
    struct reading *r = user;

    if (r->refused) /* inih goes on; what is told is the first mistake, of which it gives the line */
        return 0;
    if (strlen(value) > CONF_VALUE_MAX)
        error_set(r->err, ERROR_INPUT, "[%s] %s: bad value \"%.60s\"", section, name, value);
    else if (r->take(r->context, section, name, value, r->err) == 0)
        return 1;
    r->refused = true;
    return 0;
}

static int
read_one(struct reading *r, const char *path, bool may_be_missing, struct error *err)
{
    FILE *file = fopen(path, "re");
    int line;

    if (!file && errno == ENOENT && may_be_missing)
        return 0;
    if (!file)
        return error_sys(err, errno, "open %s", path);
    r->err = err;
    r->refused = false;
    line = ini_parse_file(file, take_one, r);
    fclose(file);
    if (line == 0)
        return 0;
    if (line < 0)
        return error_sys(err, ENOMEM, "%s", path);
    if (!r->refused)
        error_set(err, ERROR_INPUT, "syntax error, or a line over 200 characters");
    return error_wrap(err, "%s:%d", path, line);
}

static int
is_dropin(const struct dirent *entry)
{
    return fnmatch("*.conf", entry->d_name, FNM_PERIOD) == 0;
}

static int
read_dropins(struct reading *r, const char *path, struct error *err)
{
    struct dirent **names = NULL;
    char folder[4096], file[4500];
    int n, failed = 0;

    snprintf(folder, sizeof folder, "%s.d", path);
    n = scandir(folder, &names, is_dropin, alphasort);
    if (n < 0 && errno != ENOENT) /* what it would say is not the fallbacks */
        return error_sys(err, errno, "%s", folder);
    for (int i = 0; i < n; i++) {
        snprintf(file, sizeof file, "%s/%s", folder, names[i]->d_name);
        if (!failed)
            failed = read_one(r, file, false, err);
        free(names[i]);
    }
    free(names);
    return failed;
}

static int
split_list(struct conf *conf, int at, struct error *err)
{
    size_t n = 0;
    char *save = NULL;

    conf->lists[at] = strdup(conf->values[at]);
    if (!conf->lists[at])
        return error_sys(err, ENOMEM, "configuration");
    for (char *word = strtok_r(conf->lists[at], " \t", &save); word;
         word = strtok_r(NULL, " \t", &save)) {
        if (n == CONF_ITEMS_MAX)
            return error_set(err, ERROR_INPUT, "%s: more than %d words", conf->keys[at].name,
                             CONF_ITEMS_MAX);
        conf->items[at][n++] = word;
    }
    return 0;
}

static int
fill_in(struct conf *conf, const char *path, struct error *err)
{
    for (int i = 0; conf->keys[i].name; i++) {
        assert(i < CONF_KEYS_MAX);
        if (!conf->values[i] && !conf->keys[i].fallback)
            return error_set(err, ERROR_INPUT, "%s: setting %s is missing", path,
                             conf->keys[i].name);
        if (!conf->values[i] && set_value(conf, i, conf->keys[i].fallback) < 0)
            return error_sys(err, ENOMEM, "configuration");
        if (conf->keys[i].type == CONF_LIST && split_list(conf, i, err) < 0)
            return -1;
    }
    return 0;
}

int
conf_each(const char *path, bool may_be_missing, conf_take *take, void *context, struct error *err)
{
    struct reading r = { .take = take, .context = context };

    return read_one(&r, path, may_be_missing, err) < 0 ? -1 : read_dropins(&r, path, err);
}

int
conf_read(const char *path, const struct conf_key *keys, bool may_be_missing,
          struct conf **ret_conf, struct error *err)
{
    CLEANUP(conf_free) struct conf *conf = calloc(1, sizeof *conf);

    if (!conf)
        return error_sys(err, ENOMEM, "configuration");
    conf->keys = keys;
    if (conf_each(path, may_be_missing, take_declared, conf, err) < 0 || fill_in(conf, path, err) < 0)
        return -1;
    *ret_conf = STEAL(conf);
    return 0;
}

static void
swap(struct conf *a, struct conf *b, int at)
{
    char *value = a->values[at], *list = a->lists[at], *items[CONF_ITEMS_MAX + 1];

    memcpy(items, a->items[at], sizeof items);
    a->values[at] = b->values[at];
    a->lists[at] = b->lists[at];
    memcpy(a->items[at], b->items[at], sizeof items);
    b->values[at] = value;
    b->lists[at] = list;
    memcpy(b->items[at], items, sizeof items);
}

static bool
is_live(const char *const *live, const char *name)
{
    while (*live && strcmp(*live, name) != 0)
        live++;
    return *live != NULL;
}

static void
add_name(char list[static CONF_NAMES_MAX], const char *name)
{
    size_t len = strlen(list);

    snprintf(list + len, CONF_NAMES_MAX - len, "%s%s", len > 0 ? "," : "", name);
}

void
conf_take_over(struct conf *running, struct conf *fresh, const char *const *live, struct conf_changes *ret)
{
    assert(running->keys == fresh->keys);
    for (const char *const *name = live; *name; name++)
        assert(find_key(running, *name) >= 0);
    *ret = (struct conf_changes){ .taken = "" };
    for (int i = 0; running->keys[i].name; i++) {
        const char *name = running->keys[i].name;
        bool takes = is_live(live, name);

        if (strcmp(running->values[i], fresh->values[i]) == 0)
            continue;
        add_name(takes ? ret->taken : ret->waiting, name);
        if (takes)
            swap(running, fresh, i);
    }
}

void
conf_free(struct conf *conf)
{
    if (!conf)
        return;
    for (int i = 0; i < CONF_KEYS_MAX; i++) {
        free(conf->values[i]);
        free(conf->lists[i]);
    }
    free(conf);
}

static int
typed(const struct conf *conf, const char *name, enum conf_type type)
{
    int at = find_key(conf, name);

    assert(at >= 0 && conf->keys[at].type == type);
    return at;
}

const char *
conf_text(const struct conf *conf, const char *name)
{
    return conf->values[typed(conf, name, CONF_TEXT)];
}

int64_t
conf_int(const struct conf *conf, const char *name)
{
    return strtoll(conf->values[typed(conf, name, CONF_INT)], NULL, 10);
}

bool
conf_bool(const struct conf *conf, const char *name)
{
    return parse_bool(conf->values[typed(conf, name, CONF_BOOL)]) == 1;
}

const char *
conf_item(const struct conf *conf, const char *name, size_t i)
{
    int at = typed(conf, name, CONF_LIST);

    return i < CONF_ITEMS_MAX ? conf->items[at][i] : NULL;
}
