#include "config.h"

#include "guestagent/workloads.h"

#include <errno.h>
#include <grp.h>
#include <pwd.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "guestagent/token_files.h"
#include "lib/common/conf.h"

struct rule {
    char name[WORKLOAD_NAME_MAX + 1];
    unsigned ids[2][WORKLOAD_WORDS_MAX]; /* uids, gids */
    size_t n_ids[2];
    char *cgroups[WORKLOAD_WORDS_MAX];
    size_t n_cgroups;
    uint64_t audiences;
};

struct file_rule {
    char name[WORKLOAD_NAME_MAX + 1];
    bool has_group, has_mode;
    struct workload_file file;
};

struct workloads {
    char *audiences[WORKLOAD_AUDIENCES_MAX];
    size_t n_audiences;
    struct rule rules[WORKLOADS_MAX];
    size_t n_rules;
    struct file_rule files[WORKLOAD_AUDIENCES_MAX];
    size_t n_files;
};

enum { UID, GID };

/*
 * Local accounts alone, and without NSS: an agent that was copied into a guest brings its own C library, which must
 * not load the guest's modules.
 */
static int
find_account(int kind, const char *word, unsigned *ret)
{
    FILE *f = fopen(kind == UID ? "/etc/passwd" : "/etc/group", "re");
    const struct passwd *user;
    const struct group *group;
    int outcome = -1;

    while (f && kind == UID && outcome < 0 && (user = fgetpwent(f))) {
        if (strcmp(user->pw_name, word) == 0) {
            *ret = user->pw_uid;
            outcome = 0;
        }
    }
    while (f && kind == GID && outcome < 0 && (group = fgetgrent(f))) {
        if (strcmp(group->gr_name, word) == 0) {
            *ret = group->gr_gid;
            outcome = 0;
        }
    }
    if (f)
        fclose(f);
    return outcome;
}

static int
read_id(int kind, const char *word, unsigned *ret, struct error *err)
{
    const char *what = kind == UID ? "user" : "group";
    char *end;
    unsigned long n;

    if (strspn(word, "0123456789") != strlen(word))
        return find_account(kind, word, ret) == 0
                   ? 0
                   : error_set(err, ERROR_INPUT, "there is no %s \"%.60s\" in /etc/%s", what, word,
                               kind == UID ? "passwd" : "group");
    errno = 0;
    n = strtoul(word, &end, 10);
    if (errno || *end || n >= UINT32_MAX || (n == 65534 && kind == UID)) /* whom the kernel can not name */
        return error_set(err, ERROR_INPUT, "%.60s is no %s that can be named", word, what);
    *ret = (unsigned)n;
    return 0;
}

static int
add_id(struct rule *r, int kind, const char *word, struct error *err)
{
    if (r->n_ids[kind] == WORKLOAD_WORDS_MAX)
        return error_set(err, ERROR_INPUT, "more than %d words", WORKLOAD_WORDS_MAX);
    if (read_id(kind, word, &r->ids[kind][r->n_ids[kind]], err) < 0)
        return -1;
    r->n_ids[kind]++;
    return 0;
}

/* "/a/b": no part is empty, "." or ".."; not the root, in which everybody is. */
static bool
is_cgroup(const char *word)
{
    size_t len = strlen(word);

    if (len < 2 || len >= PEER_CGROUP_MAX)
        return false;
    while (*word == '/') {
        size_t part = strcspn(++word, "/");

        if (part == 0 || (part <= 2 && strspn(word, ".") >= part))
            return false;
        word += part;
    }
    return *word == '\0';
}

static int
add_cgroup(struct rule *r, const char *word, struct error *err)
{
    if (!is_cgroup(word))
        return error_set(err, ERROR_INPUT, "\"%.100s\" is no cgroup below the root (/system.slice/NAME.service)", word);
    if (r->n_cgroups == WORKLOAD_WORDS_MAX)
        return error_set(err, ERROR_INPUT, "more than %d words", WORKLOAD_WORDS_MAX);
    r->cgroups[r->n_cgroups] = strdup(word);
    if (!r->cgroups[r->n_cgroups])
        return error_sys(err, ENOMEM, "workloads");
    r->n_cgroups++;
    return 0;
}

/* The audience's number; it gets one if it has none. */
static int
number_audience(struct workloads *w, const char *word, size_t *ret, struct error *err)
{
    if (!name_is_audience(word))
        return error_set(err, ERROR_INPUT, "\"%.100s\" is no audience", word);
    for (size_t i = 0; i < w->n_audiences; i++) {
        if (strcmp(w->audiences[i], word) == 0) {
            *ret = i;
            return 0;
        }
    }
    if (w->n_audiences == WORKLOAD_AUDIENCES_MAX)
        return error_set(err, ERROR_INPUT, "more than %d audiences", WORKLOAD_AUDIENCES_MAX);
    w->audiences[w->n_audiences] = strdup(word);
    if (!w->audiences[w->n_audiences])
        return error_sys(err, ENOMEM, "workloads");
    *ret = w->n_audiences++;
    return 0;
}

static int
add_audience(struct workloads *w, struct rule *r, const char *word, struct error *err)
{
    size_t i;

    if (number_audience(w, word, &i, err) < 0)
        return -1;
    r->audiences |= UINT64_C(1) << i;
    return 0;
}

static int
take_rule_word(struct workloads *w, struct rule *r, const char *key, const char *word, struct error *err)
{
    if (strcmp(key, "uid") == 0)
        return add_id(r, UID, word, err);
    if (strcmp(key, "gid") == 0)
        return add_id(r, GID, word, err);
    if (strcmp(key, "cgroup") == 0)
        return add_cgroup(r, word, err);
    if (strcmp(key, "audiences") == 0)
        return add_audience(w, r, word, err);
    return error_set(err, ERROR_INPUT, "unknown setting \"%.50s\"", key);
}

static int
take_rule(struct workloads *w, const char *name, const char *key, const char *value, struct error *err)
{
    CLEANUP(mem_free) char *copy = strdup(value);
    char *save = NULL;
    size_t i = 0;

    if (!copy)
        return error_sys(err, ENOMEM, "workloads");
    if (value[strspn(value, " \t")] == '\0') /* an empty demand would be none */
        return error_set(err, ERROR_INPUT, "nothing is named");
    while (i < w->n_rules && strcmp(w->rules[i].name, name) != 0)
        i++;
    if (i == WORKLOADS_MAX)
        return error_set(err, ERROR_INPUT, "more than %d workloads", WORKLOADS_MAX);
    if (i == w->n_rules) {
        snprintf(w->rules[i].name, sizeof w->rules[i].name, "%s", name);
        w->n_rules++;
    }
    for (char *word = strtok_r(copy, " \t", &save); word; word = strtok_r(NULL, " \t", &save)) {
        if (take_rule_word(w, &w->rules[i], key, word, err) < 0)
            return -1;
    }
    return 0;
}

static int
read_file_audience(struct workloads *w, struct file_rule *f, const char *value, struct error *err)
{
    char name[TOKEN_FILE_NAME_MAX + 1];
    size_t ignored;

    if (number_audience(w, value, &ignored, err) < 0)
        return -1;
    if (token_file_name(value, name) < 0)
        return error_set(err, ERROR_INPUT, "\"%.60s...\" is too long for the name of a file", value);
    for (size_t i = 0; i < w->n_files; i++) {
        if (&w->files[i] != f && strcmp(w->files[i].file.audience, value) == 0)
            return error_set(err, ERROR_INPUT, "audience \"%.100s\" has its file from [file %s] already", value,
                             w->files[i].name);
    }
    snprintf(f->file.audience, sizeof f->file.audience, "%s", value);
    return 0;
}

/* Reading is all that anybody may have. */
static int
read_mode(struct file_rule *f, const char *value, struct error *err)
{
    if (strlen(value) < 3 || strlen(value) > 4 || strspn(value, "04") != strlen(value) ||
        (strlen(value) == 4 && value[0] != '0') || strtoul(value, NULL, 8) == 0)
        return error_set(err, ERROR_INPUT, "mode \"%.20s\": only reading can be given: 0400, 0440, 0040, 0444", value);
    f->file.mode = (mode_t)strtoul(value, NULL, 8);
    f->has_mode = true;
    return 0;
}

static int
take_file(struct workloads *w, const char *name, const char *key, const char *value, struct error *err)
{
    struct file_rule *f;
    unsigned id;
    size_t i = 0;

    while (i < w->n_files && strcmp(w->files[i].name, name) != 0)
        i++;
    if (i == WORKLOAD_AUDIENCES_MAX)
        return error_set(err, ERROR_INPUT, "more than %d files", WORKLOAD_AUDIENCES_MAX);
    f = &w->files[i];
    if (i == w->n_files) {
        snprintf(f->name, sizeof f->name, "%s", name);
        f->file = (struct workload_file){ .owner = geteuid(), .group = getegid(), .mode = 0400 };
        w->n_files++;
    }
    if (strcmp(key, "audience") == 0)
        return read_file_audience(w, f, value, err);
    if (strcmp(key, "mode") == 0)
        return read_mode(f, value, err);
    if (strcmp(key, "owner") != 0 && strcmp(key, "group") != 0)
        return error_set(err, ERROR_INPUT, "unknown setting \"%.50s\"", key);
    if (read_id(key[0] == 'o' ? UID : GID, value, &id, err) < 0)
        return -1;
    if (key[0] == 'o')
        f->file.owner = id;
    else
        f->file.group = id;
    f->has_group |= key[0] == 'g';
    return 0;
}

/* The NAME of "KIND NAME", or NULL. */
static const char *
name_of(const char *section, const char *kind)
{
    size_t len = strlen(kind), n;

    if (strncmp(section, kind, len) != 0 || section[len] != ' ')
        return NULL;
    section += len + 1;
    n = strspn(section, "abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ0123456789._-");
    return n > 0 && n <= WORKLOAD_NAME_MAX && section[n] == '\0' ? section : NULL;
}

static int
take_setting(void *context, const char *section, const char *key, const char *value, struct error *err)
{
    struct workloads *w = context;
    const char *name;
    int outcome;

    if ((name = name_of(section, "workload")))
        outcome = take_rule(w, name, key, value, err);
    else if ((name = name_of(section, "file")))
        outcome = take_file(w, name, key, value, err);
    else
        return error_set(err, ERROR_INPUT, "[%.50s]: there are [workload NAME] and [file NAME]", section);
    return outcome < 0 ? error_wrap(err, "[%.50s] %.50s", section, key) : 0;
}

/* What only the whole can tell. */
static int
finish(struct workloads *w, struct error *err)
{
    for (size_t i = 0; i < w->n_rules; i++) {
        const struct rule *r = &w->rules[i];

        if (r->n_ids[UID] + r->n_ids[GID] + r->n_cgroups == 0)
            return error_set(err, ERROR_INPUT, "[workload %s] names nobody: uid, gid or cgroup", r->name);
        if (r->audiences == 0)
            return error_set(err, ERROR_INPUT, "[workload %s] has no audiences", r->name);
    }
    for (size_t i = 0; i < w->n_files; i++) {
        struct file_rule *f = &w->files[i];

        if (f->file.audience[0] == '\0')
            return error_set(err, ERROR_INPUT, "[file %s] has no audience", f->name);
        if (f->has_group && !f->has_mode)
            f->file.mode = 0440;
    }
    return 0;
}

int
workloads_read(const char *path, struct workloads **ret, struct error *err)
{
    CLEANUP(workloads_free) struct workloads *w = calloc(1, sizeof *w);

    if (!w)
        return error_sys(err, ENOMEM, "workloads");
    if (conf_each(path, true, take_setting, w, err) < 0)
        return -1;
    if (finish(w, err) < 0)
        return error_wrap(err, "%s", path);
    *ret = STEAL(w);
    return 0;
}

void
workloads_free(struct workloads *w)
{
    if (!w)
        return;
    for (size_t i = 0; i < w->n_audiences; i++)
        free(w->audiences[i]);
    for (size_t i = 0; i < w->n_rules; i++) {
        for (size_t k = 0; k < w->rules[i].n_cgroups; k++)
            free(w->rules[i].cgroups[k]);
    }
    free(w);
}

static bool
is_among(const unsigned *ids, size_t n, unsigned id)
{
    for (size_t i = 0; i < n; i++) {
        if (ids[i] == id)
            return true;
    }
    return false;
}

static bool
has_group_of(const struct rule *r, const struct peer *peer)
{
    for (size_t i = 0; i < peer->n_gids; i++) {
        if (is_among(r->ids[GID], r->n_ids[GID], peer->gids[i]))
            return true;
    }
    return false;
}

static bool
is_in_cgroup_of(const struct rule *r, const char *cgroup)
{
    for (size_t i = 0; i < r->n_cgroups; i++) {
        size_t len = strlen(r->cgroups[i]);

        if (strncmp(cgroup, r->cgroups[i], len) == 0 && (cgroup[len] == '\0' || cgroup[len] == '/'))
            return true;
    }
    return false;
}

static bool
means(const struct rule *r, const struct peer *peer)
{
    if (r->n_ids[UID] > 0 && !is_among(r->ids[UID], r->n_ids[UID], peer->uid))
        return false;
    if (r->n_ids[GID] > 0 && !has_group_of(r, peer))
        return false;
    return r->n_cgroups > 0 ? is_in_cgroup_of(r, peer->cgroup) : peer->at_home;
}

uint64_t
workloads_of(const struct workloads *w, const struct peer *peer)
{
    uint64_t all = 0;

    for (size_t i = 0; i < w->n_rules; i++) {
        if (means(&w->rules[i], peer))
            all |= w->rules[i].audiences;
    }
    return all;
}

const char *
workloads_audience(const struct workloads *w, size_t i)
{
    return i < w->n_audiences ? w->audiences[i] : NULL;
}

const struct workload_file *
workloads_file(const struct workloads *w, size_t i)
{
    return i < w->n_files ? &w->files[i].file : NULL;
}
