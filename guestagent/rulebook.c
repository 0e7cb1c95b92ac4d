#include "config.h"

#include "guestagent/rulebook.h"

#include <errno.h>
#include <pthread.h>
#include <stdlib.h>
#include <string.h>

#include "lib/common/log.h"

enum { PREFETCH_MAX = 32 + WORKLOAD_AUDIENCES_MAX }; /* words of a list in agent.conf, and files */

struct rulebook {
    struct rulebook_options options;
    pthread_mutex_t lock;
    struct workloads *now; /* NULL: none was ever understood */
    struct error failure;
};

/* With the lock held. What is kept fresh: what agent.conf says, and what has a file. */
static int
prefetch_all(const struct rulebook *b, const struct workloads *w, struct error *err)
{
    const char *all[PREFETCH_MAX], *audience;
    const struct workload_file *file;
    size_t n = 0;

    for (size_t i = 0; n < PREFETCH_MAX && (audience = conf_item(b->options.conf, "agent.audiences", i)); i++)
        all[n++] = audience;
    for (size_t i = 0; n < PREFETCH_MAX && w && (file = workloads_file(w, i)); i++)
        all[n++] = file->audience;
    return refresher_prefetch(b->options.refresher, all, n, err);
}

/* With the lock held. */
static int
turn_page(struct rulebook *b, struct error *err)
{
    CLEANUP(workloads_free) struct workloads *w = NULL, *before = NULL;

    if (workloads_read(b->options.path, &w, err) < 0 || prefetch_all(b, w, err) < 0)
        return -1;
    token_files_set(b->options.files, w);
    before = b->now;
    b->now = STEAL(w);
    return 0;
}

int
rulebook_reload(struct rulebook *b, struct error *err)
{
    struct error why = { 0 };
    int outcome;

    pthread_mutex_lock(&b->lock);
    outcome = turn_page(b, &why);
    b->failure = outcome < 0 ? why : (struct error){ 0 };
    pthread_mutex_unlock(&b->lock);
    if (outcome == 0) {
        log_notice("event=workloads-read path=%s", b->options.path);
        return 0;
    }
    log_error(&why, "event=workloads-refused the rules of before hold");
    *err = why;
    return -1;
}

int
rulebook_new(const struct rulebook_options *options, struct rulebook **ret, struct error *err)
{
    struct rulebook *b = calloc(1, sizeof *b);
    struct error told = { 0 };

    if (!b)
        return error_sys(err, ENOMEM, "rules");
    b->options = *options;
    pthread_mutex_init(&b->lock, NULL);
    if (prefetch_all(b, NULL, err) < 0) {
        rulebook_free(b);
        return error_wrap(err, "audiences");
    }
    (void)rulebook_reload(b, &told);
    *ret = b;
    return 0;
}

void
rulebook_free(struct rulebook *b)
{
    if (!b)
        return;
    workloads_free(b->now);
    pthread_mutex_destroy(&b->lock);
    free(b);
}

void
rulebook_failure(struct rulebook *b, struct error *ret)
{
    pthread_mutex_lock(&b->lock);
    *ret = b->failure;
    pthread_mutex_unlock(&b->lock);
}

static bool
is_named(const struct workloads *w, uint64_t mine, const char *audience)
{
    const char *name;

    for (size_t i = 0; (name = workloads_audience(w, i)); i++) {
        if ((mine >> i & 1) && strcmp(name, audience) == 0)
            return true;
    }
    return false;
}

static int
refuse_peer(const struct peer *p, struct error *err)
{
    return p->at_home ? error_problem(err, ERROR_DENIED, "workload-unknown", "no rule is for uid %u (process %d%s%s)",
                                      (unsigned)p->uid, (int)p->pid, p->cgroup[0] ? ", cgroup " : "", p->cgroup)
                      : error_problem(err, ERROR_DENIED, "workload-container",
                                      "process %d of uid %u is in another mount or pid namespace (a container), "
                                      "and no rule names its cgroup %s",
                                      (int)p->pid, (unsigned)p->uid, p->cgroup);
}

int
rulebook_allow(struct rulebook *b, const struct peer *peer, const char *audience, struct error *err)
{
    uint64_t mine;
    bool allowed;

    if (peer->owner)
        return 0;
    pthread_mutex_lock(&b->lock);
    mine = b->now ? workloads_of(b->now, peer) : 0;
    allowed = mine && (!audience || is_named(b->now, mine, audience));
    pthread_mutex_unlock(&b->lock);
    if (allowed)
        return 0;
    if (!mine)
        return refuse_peer(peer, err);
    return error_problem(err, ERROR_DENIED, "workload-audience", "no rule gives uid %u this audience",
                         (unsigned)peer->uid);
}

static bool
has_file(const struct workloads *w, const char *audience)
{
    const struct workload_file *file;

    for (size_t i = 0; (file = workloads_file(w, i)); i++) {
        if (strcmp(file->audience, audience) == 0)
            return true;
    }
    return false;
}

void
rulebook_list(struct rulebook *b, const struct peer *peer,
              void (*tell)(void *context, const char *audience, bool has_file), void *context)
{
    const char *name;
    uint64_t mine;

    pthread_mutex_lock(&b->lock);
    mine = !b->now ? 0 : peer->owner ? UINT64_MAX : workloads_of(b->now, peer);
    for (size_t i = 0; b->now && (name = workloads_audience(b->now, i)); i++) {
        if (mine >> i & 1)
            tell(context, name, has_file(b->now, name));
    }
    pthread_mutex_unlock(&b->lock);
}
