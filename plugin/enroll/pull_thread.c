#include "config.h"

#include "plugin/enroll/pull_thread.h"

#include <errno.h>
#include <pthread.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>

enum { AGAIN_SECONDS = 2 /* the service is down, or does not like us; reports say so */ };

struct pull_thread {
    char *state_dir;
    pull_wanted *wanted;
    void *context;
    pthread_t thread;
    pthread_mutex_t lock;
    pthread_cond_t wake;
    atomic_bool ending;
    struct host_identity *identity;
    struct enroll *enroll;
};

static void
close_connection(struct pull_thread *t)
{
    enroll_free(t->enroll);
    t->enroll = NULL;
    host_identity_free(t->identity);
    t->identity = NULL;
}

/* With the certificate that is the newest now. */
static int
open_connection(struct pull_thread *t, struct error *err)
{
    if (t->enroll && !host_identity_is_old(t->state_dir, t->identity))
        return 0;
    close_connection(t);
    if (host_identity_load(t->state_dir, &t->identity, err) < 0)
        return -1;
    return enroll_new_waiting(t->identity, &t->ending, &t->enroll, err);
}

static void
pause_thread(struct pull_thread *t)
{
    struct timespec until;

    clock_gettime(CLOCK_REALTIME, &until);
    until.tv_sec += AGAIN_SECONDS;
    pthread_mutex_lock(&t->lock);
    if (!t->ending)
        pthread_cond_timedwait(&t->wake, &t->lock, &until);
    pthread_mutex_unlock(&t->lock);
}

static void *
pull_thread_main(void *opaque)
{
    struct pull_thread *t = opaque;
    struct lease_pull pull;
    uint64_t after = 0;
    struct error err;

    while (!t->ending) {
        if (open_connection(t, &err) < 0 || enroll_pull(t->enroll, after, &pull, &err) < 0) {
            close_connection(t);
            after = 0; /* another run of the service may count from below */
            pause_thread(t);
            continue;
        }
        if (pull.pull == 0)
            continue;
        after = pull.pull;
        t->wanted(t->context, &pull);
    }
    close_connection(t);
    return NULL;
}

int
pull_thread_start(const char *state_dir, pull_wanted *wanted, void *context, struct pull_thread **ret,
                  struct error *err)
{
    struct pull_thread *t = calloc(1, sizeof *t);
    int failed;

    if (!t || !(t->state_dir = strdup(state_dir))) {
        free(t);
        return error_sys(err, ENOMEM, "thread for the service's questions");
    }
    t->wanted = wanted;
    t->context = context;
    pthread_mutex_init(&t->lock, NULL);
    pthread_cond_init(&t->wake, NULL);
    failed = pthread_create(&t->thread, NULL, pull_thread_main, t);
    if (failed) {
        free(t->state_dir);
        free(t);
        return error_sys(err, failed, "thread for the service's questions");
    }
    *ret = t;
    return 0;
}

void
pull_thread_stop(struct pull_thread *t)
{
    if (!t)
        return;
    pthread_mutex_lock(&t->lock);
    t->ending = true;
    pthread_cond_signal(&t->wake);
    pthread_mutex_unlock(&t->lock);
    pthread_join(t->thread, NULL);
    pthread_mutex_destroy(&t->lock);
    pthread_cond_destroy(&t->wake);
    free(t->state_dir);
    free(t);
}
