#include "config.h"

#include "guestagent/token_files.h"

#include <ctype.h>
#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <pthread.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include "lib/common/clock.h"
#include "lib/common/fdio.h"
#include "lib/common/log.h"

enum { LOOK_AGAIN_MS = 30000 };

/* No audience's file begins with a dot. */
static const char BESIDE[] = ".new";

struct kept_file {
    struct workload_file rule;
    char name[TOKEN_FILE_NAME_MAX + 1];
    uint64_t number;    /* of the token in it; 0: none of ours */
    int64_t keep_until; /* what an earlier agent left; 0: nothing of that */
};

struct token_files {
    const char *run_dir;
    struct refresher *refresher;
    pthread_t thread;
    pthread_mutex_t lock;
    bool stop, started, set, swept;
    struct kept_file files[WORKLOAD_AUDIENCES_MAX];
    size_t n;
    struct error failure;
};

static bool
stands_for_itself(char c)
{
    return c != '\0' && strchr("abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ0123456789._-", c);
}

int
token_file_name(const char *audience, char ret[static TOKEN_FILE_NAME_MAX + 1])
{
    char *to = ret;

    for (const char *at = audience; *at; at++) {
        bool plain = stands_for_itself(*at) && !(at == audience && *at == '.');

        if (to - ret + (plain ? 1 : 3) > TOKEN_FILE_NAME_MAX)
            return -1;
        if (plain)
            *to++ = *at;
        else
            to += sprintf(to, "=%02X", (unsigned char)*at);
    }
    *to = '\0';
    return 0;
}

int
token_file_audience(const char *name, char ret[static NAME_AUDIENCE_MAX + 1])
{
    char again[TOKEN_FILE_NAME_MAX + 1], *to = ret;

    for (const char *at = name; *at; at++) {
        if (to - ret == NAME_AUDIENCE_MAX)
            return -1;
        if (*at != '=') {
            *to++ = *at;
            continue;
        }
        if (!isxdigit((unsigned char)at[1]) || !isxdigit((unsigned char)at[2]))
            return -1;
        *to++ = (char)strtoul((char[]){ at[1], at[2], '\0' }, NULL, 16);
        at += 2;
    }
    *to = '\0';
    /* One spelling each. */
    return name_is_audience(ret) && token_file_name(ret, again) == 0 && strcmp(again, name) == 0 ? 0 : -1;
}

/* ---- the folder ---- */

/* <run_dir>/tokens, ours alone to write in; if it is not `wanted` it need not be there: then *ret_fd is -1. */
static int
open_folder(const char *run_dir, bool wanted, int *ret_fd, struct error *err)
{
    CLEANUP(fd_close) int run = open(run_dir, O_RDONLY | O_DIRECTORY | O_CLOEXEC);
    CLEANUP(fd_close) int dir = -1;
    struct stat st;

    *ret_fd = -1;
    if (run < 0 && errno == ENOENT && !wanted)
        return 0;
    if (run < 0)
        return error_sys(err, errno, "open %s", run_dir);
    if (wanted)
        (void)mkdirat(run, "tokens", 0700);
    dir = openat(run, "tokens", O_RDONLY | O_DIRECTORY | O_NOFOLLOW | O_CLOEXEC);
    if (dir < 0 && errno == ENOENT && !wanted)
        return 0;
    if (dir < 0 || fstat(dir, &st) < 0)
        return error_sys(err, errno, "open %s/tokens", run_dir);
    if (st.st_uid != geteuid() || (st.st_mode & 0022))
        return error_set(err, ERROR_DENIED, "%s/tokens is not a folder that this agent alone may write in; remove it",
                         run_dir);
    /* Nobody but us learns by it which audiences there are. */
    if (wanted && (st.st_mode & 07777) != 0711 && fchmod(dir, 0711) < 0)
        return error_sys(err, errno, "mode of %s/tokens", run_dir);
    *ret_fd = fd_steal(&dir);
    return 0;
}

static const struct kept_file *
find_kept(const struct token_files *t, const char *name)
{
    for (size_t i = 0; i < t->n; i++) {
        if (strcmp(t->files[i].name, name) == 0)
            return &t->files[i];
    }
    return NULL;
}

static int
remove_file(int dir, const char *name, struct error *err)
{
    if (unlinkat(dir, name, 0) < 0 && errno != ENOENT)
        return error_sys(err, errno, "remove tokens/%s", name);
    return 0;
}

/* What `t` does not name (NULL: anything) goes. */
static int
sweep(const struct token_files *t, int dir, void (*tell)(void *context, const char *name), void *context,
      struct error *err)
{
    CLEANUP(fd_close) int fd = openat(dir, ".", O_RDONLY | O_DIRECTORY | O_CLOEXEC);
    DIR *d = fd < 0 ? NULL : fdopendir(fd);
    const struct dirent *e;
    int outcome = 0;

    if (!d)
        return error_sys(err, errno, "read the folder of tokens");
    (void)fd_steal(&fd);
    while ((e = readdir(d))) {
        if (strcmp(e->d_name, ".") == 0 || strcmp(e->d_name, "..") == 0 || (t && find_kept(t, e->d_name)))
            continue;
        if (remove_file(dir, e->d_name, err) < 0)
            outcome = -1;
        else if (tell)
            tell(context, e->d_name);
    }
    closedir(d);
    return outcome;
}

int
token_files_forget(const char *run_dir, void (*tell)(void *context, const char *name), void *context,
                   struct error *err)
{
    CLEANUP(fd_close) int dir = -1;

    if (open_folder(run_dir, false, &dir, err) < 0)
        return -1;
    return dir < 0 ? 0 : sweep(NULL, dir, tell, context, err);
}

static int
write_beside(int fd, const struct kept_file *f, const struct secret *text, struct error *err)
{
    if (fd_write_all(fd, text->bytes, text->len, err) < 0)
        return -1;
    if (fchmod(fd, f->rule.mode) < 0)
        return error_sys(err, errno, "mode");
    if ((f->rule.owner != geteuid() || f->rule.group != getegid()) &&
        fchown(fd, f->rule.owner, f->rule.group) < 0)
        return error_sys(err, errno, "owner");
    return 0;
}

/* The folder is gone after a crash of the machine, so nothing is made durable. */
static int
write_file(int dir, const struct kept_file *f, const struct secret *text, struct error *err)
{
    CLEANUP(fd_close) int fd = -1;

    if (remove_file(dir, BESIDE, err) < 0)
        return -1;
    fd = openat(dir, BESIDE, O_WRONLY | O_CREAT | O_EXCL | O_NOFOLLOW | O_CLOEXEC, 0600);
    if (fd < 0)
        return error_sys(err, errno, "tokens/%s", f->name);
    if (write_beside(fd, f, text, err) == 0) {
        if (renameat(dir, BESIDE, dir, f->name) == 0)
            return 0;
        error_sys(err, errno, "rename");
    }
    (void)unlinkat(dir, BESIDE, 0);
    return error_wrap(err, "tokens/%s", f->name);
}

/* A file that was left is kept only if it is what the rule says. */
static bool
is_as_configured(int dir, const struct kept_file *f)
{
    struct stat st;

    return fstatat(dir, f->name, &st, AT_SYMLINK_NOFOLLOW) == 0 && S_ISREG(st.st_mode) &&
           st.st_uid == f->rule.owner && st.st_gid == f->rule.group && (st.st_mode & 07777) == f->rule.mode;
}

/* ---- the thread ---- */

/* *next: when to look again, if it is sooner. */
static int
look_at_file(struct token_files *t, int dir, struct kept_file *f, int64_t *next, struct error *err)
{
    struct refresher_token_now now = { 0 };
    CLEANUP(secret_free) struct secret *text = NULL;
    int64_t ms = clock_monotonic_ms();

    if (refresher_peek(t->refresher, f->rule.audience, &now, err) < 0)
        return -1;
    text = now.text;
    if (text) {
        if (now.left_ms < *next)
            *next = now.left_ms;
        if (now.number == f->number)
            return 0;
        if (write_file(dir, f, text, err) < 0)
            return -1;
        f->number = now.number;
        f->keep_until = 0;
        return 0;
    }
    if (ms < f->keep_until && is_as_configured(dir, f)) {
        if (f->keep_until - ms < *next)
            *next = f->keep_until - ms;
        return 0;
    }
    f->number = 0;
    f->keep_until = 0;
    return remove_file(dir, f->name, err);
}

/* With the lock held: everything as it should be now. One trouble does not keep the others from theirs. */
static int
look(struct token_files *t, int64_t *next, struct error *err)
{
    CLEANUP(fd_close) int dir = -1;
    int outcome = 0;

    if (t->n == 0 && t->swept)
        return 0;
    if (open_folder(t->run_dir, t->n > 0, &dir, err) < 0)
        return -1;
    for (size_t i = 0; i < t->n; i++) {
        if (look_at_file(t, dir, &t->files[i], next, err) < 0)
            outcome = -1;
    }
    if (dir >= 0 && !t->swept && sweep(t, dir, NULL, NULL, err) < 0)
        outcome = -1;
    t->swept = outcome == 0;
    return outcome;
}

static void *
run(void *context)
{
    struct token_files *t = context;
    uint64_t seen = 0;

    pthread_mutex_lock(&t->lock);
    while (!t->stop) {
        struct error failure = { 0 };
        int64_t next = LOOK_AGAIN_MS;

        if (look(t, &next, &failure) == 0)
            failure = (struct error){ 0 };
        if (failure.code != ERROR_NONE && strcmp(failure.text, t->failure.text) != 0)
            log_error(&failure, "event=token-files-failed");
        t->failure = failure;
        pthread_mutex_unlock(&t->lock);
        refresher_wait(t->refresher, &seen, next);
        pthread_mutex_lock(&t->lock);
    }
    pthread_mutex_unlock(&t->lock);
    return NULL;
}

int
token_files_new(const char *run_dir, struct refresher *refresher, struct token_files **ret, struct error *err)
{
    struct token_files *t = calloc(1, sizeof *t);
    int failed;

    if (!t)
        return error_sys(err, ENOMEM, "token files");
    t->run_dir = run_dir;
    t->refresher = refresher;
    t->swept = true; /* not before the first token_files_set() */
    pthread_mutex_init(&t->lock, NULL);
    failed = pthread_create(&t->thread, NULL, run, t);
    if (failed) {
        token_files_free(t);
        return error_sys(err, failed, "thread of the token files");
    }
    t->started = true;
    *ret = t;
    return 0;
}

/* What is in the file stays known if the rule is the same. */
static void
fill_kept(struct kept_file *f, const struct workload_file *rule, const struct token_files *before, bool first)
{
    const struct kept_file *old;

    *f = (struct kept_file){ .rule = *rule };
    (void)token_file_name(rule->audience, f->name); /* workloads_read() has tried it */
    old = find_kept(before, f->name);
    if (old && old->rule.owner == rule->owner && old->rule.group == rule->group && old->rule.mode == rule->mode) {
        f->number = old->number;
        f->keep_until = old->keep_until;
    } else if (first) {
        f->keep_until = clock_monotonic_ms() + TOKEN_FILES_LEFTOVER_MS;
    }
}

void
token_files_set(struct token_files *t, const struct workloads *w)
{
    struct kept_file files[WORKLOAD_AUDIENCES_MAX];
    const struct workload_file *rule;
    size_t n = 0;

    pthread_mutex_lock(&t->lock);
    for (; (rule = workloads_file(w, n)); n++)
        fill_kept(&files[n], rule, t, !t->set);
    memcpy(t->files, files, n * sizeof *files);
    t->n = n;
    t->set = true;
    t->swept = false;
    pthread_mutex_unlock(&t->lock);
    refresher_wake(t->refresher);
}

void
token_files_failure(struct token_files *t, struct error *ret)
{
    pthread_mutex_lock(&t->lock);
    *ret = t->failure;
    pthread_mutex_unlock(&t->lock);
}

void
token_files_free(struct token_files *t)
{
    if (!t)
        return;
    if (t->started) {
        pthread_mutex_lock(&t->lock);
        t->stop = true;
        pthread_mutex_unlock(&t->lock);
        refresher_wake(t->refresher);
        pthread_join(t->thread, NULL);
    }
    pthread_mutex_destroy(&t->lock);
    free(t);
}
