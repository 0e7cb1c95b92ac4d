#include "config.h"

#include "lib/http/http_worker.h"

#include <errno.h>
#include <pthread.h>
#include <signal.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>
#include <sys/eventfd.h>
#include <unistd.h>

#include <event2/event.h>

#include "lib/common/clock.h"
#include "lib/common/fdio.h"

/* About a second of decisions; more would be answered after its client has gone. */
enum {
    QUEUE_MAX = 256,
    TURNS = 4, /* of which one is for what is not urgent */
    PARKED_MAX = 4096,
};

struct queue {
    struct http_job *first, **last;
    unsigned len;
};

struct http_worker {
    pthread_t thread;
    bool started, stop, draining;
    pthread_mutex_t lock; /* all below */
    pthread_cond_t more;
    struct queue urgent, waiting, finished;
    struct queue parked; /* the one whose time is over first in front */
    struct queue woken;
    unsigned turn;
    struct event *wake;
    int wake_fd; /* eventfd: something is in `finished` */
};

static void
queue_put(struct queue *q, struct http_job *job)
{
    job->next = NULL;
    *q->last = job;
    q->last = &job->next;
    q->len++;
}

static struct http_job *
queue_take(struct queue *q)
{
    struct http_job *job = q->first;

    if (!job)
        return NULL;
    q->first = job->next;
    if (!q->first)
        q->last = &q->first;
    q->len--;
    return job;
}

static bool
is_over(const struct http_job *job)
{
    return job && job->until_ms <= clock_monotonic_ms();
}

static struct http_job *
take_next(struct http_worker *w)
{
    bool ordinary;
    struct http_job *job;

    if (w->woken.first)
        return queue_take(&w->woken);
    if (is_over(w->parked.first))
        return queue_take(&w->parked);
    ordinary = w->turn++ % TURNS == TURNS - 1;
    job = queue_take(ordinary ? &w->waiting : &w->urgent);
    return job ? job : queue_take(ordinary ? &w->urgent : &w->waiting);
}

/* False: too many wait already. */
static bool
park(struct http_worker *w, struct http_job *job)
{
    struct http_job **at = &w->parked.first;

    if (job->park_ms == 0 || w->parked.len == PARKED_MAX)
        return false;
    if (w->draining && !job->told) {
        job->told = true;
        queue_put(&w->woken, job);
        return true;
    }
    job->until_ms = clock_monotonic_ms() + job->park_ms;
    while (*at && (*at)->until_ms <= job->until_ms)
        at = &(*at)->next;
    job->next = *at;
    *at = job;
    if (!job->next)
        w->parked.last = &job->next;
    w->parked.len++;
    return true;
}

static void
wait_for_more(struct http_worker *w)
{
    struct timespec until;

    if (!w->parked.first) {
        pthread_cond_wait(&w->more, &w->lock);
        return;
    }
    until.tv_sec = w->parked.first->until_ms / 1000;
    until.tv_nsec = w->parked.first->until_ms % 1000 * 1000000;
    pthread_cond_timedwait(&w->more, &w->lock, &until);
}

static void *
work(void *arg)
{
    struct http_worker *w = arg;
    uint64_t one = 1;

    pthread_mutex_lock(&w->lock);
    while (!w->stop) {
        struct http_job *job = take_next(w);

        if (!job) {
            wait_for_more(w);
            continue;
        }
        pthread_mutex_unlock(&w->lock);
        job->park_ms = 0;
        job->run(job);
        pthread_mutex_lock(&w->lock);
        if (park(w, job))
            continue;
        queue_put(&w->finished, job);
        (void)!write(w->wake_fd, &one, sizeof one);
    }
    pthread_mutex_unlock(&w->lock);
    return NULL;
}

static struct http_job *
take_finished(struct http_worker *w)
{
    struct http_job *job;

    pthread_mutex_lock(&w->lock);
    job = queue_take(&w->finished);
    pthread_mutex_unlock(&w->lock);
    return job;
}

static void
on_wake(evutil_socket_t fd, short what, void *arg)
{
    struct http_worker *w = arg;
    uint64_t count;

    (void)what;
    (void)!read(fd, &count, sizeof count);
    for (struct http_job *job; (job = take_finished(w)) != NULL;)
        job->done(job);
}

/* Signals belong to the loop thread. */
static int
start_thread(struct http_worker *w)
{
    sigset_t all, old;
    int rc;

    sigfillset(&all);
    pthread_sigmask(SIG_SETMASK, &all, &old);
    rc = pthread_create(&w->thread, NULL, work, w);
    pthread_sigmask(SIG_SETMASK, &old, NULL);
    return rc;
}

int
http_worker_new(struct event_base *base, struct http_worker **ret, struct error *err)
{
    CLEANUP(http_worker_free) struct http_worker *w = calloc(1, sizeof *w);
    pthread_condattr_t monotonic;
    int rc;

    if (!w)
        return error_sys(err, ENOMEM, "worker");
    pthread_mutex_init(&w->lock, NULL);
    pthread_condattr_init(&monotonic);
    pthread_condattr_setclock(&monotonic, CLOCK_MONOTONIC);
    pthread_cond_init(&w->more, &monotonic);
    pthread_condattr_destroy(&monotonic);
    w->urgent.last = &w->urgent.first;
    w->waiting.last = &w->waiting.first;
    w->finished.last = &w->finished.first;
    w->parked.last = &w->parked.first;
    w->woken.last = &w->woken.first;
    w->wake_fd = eventfd(0, EFD_CLOEXEC | EFD_NONBLOCK);
    if (w->wake_fd < 0)
        return error_sys(err, errno, "eventfd");
    w->wake = event_new(base, w->wake_fd, EV_READ | EV_PERSIST, on_wake, w);
    if (!w->wake || event_add(w->wake, NULL) < 0)
        return error_set(err, ERROR_SYSTEM, "worker: no event");
    rc = start_thread(w);
    if (rc != 0)
        return error_sys(err, rc, "worker thread");
    w->started = true;
    *ret = STEAL(w);
    return 0;
}

void
http_worker_free(struct http_worker *w)
{
    if (!w)
        return;
    if (w->started) {
        pthread_mutex_lock(&w->lock);
        w->stop = true;
        pthread_cond_signal(&w->more);
        pthread_mutex_unlock(&w->lock);
        pthread_join(w->thread, NULL);
    }
    if (w->wake)
        event_free(w->wake);
    for (struct http_job *job; (job = queue_take(&w->finished)) != NULL;)
        job->done(job);
    for (struct http_job *job; (job = take_next(w)) != NULL;)
        job->drop(job);
    for (struct http_job *job; (job = queue_take(&w->parked)) != NULL;)
        job->drop(job);
    fd_close(w->wake_fd);
    pthread_cond_destroy(&w->more);
    pthread_mutex_destroy(&w->lock);
    free(w);
}

bool
http_worker_add(struct http_worker *w, struct http_job *job)
{
    struct queue *queue = job->urgent ? &w->urgent : &w->waiting;
    bool taken;

    pthread_mutex_lock(&w->lock);
    taken = queue->len < QUEUE_MAX && !w->stop;
    if (taken) {
        queue_put(queue, job);
        pthread_cond_signal(&w->more);
    }
    pthread_mutex_unlock(&w->lock);
    return taken;
}

void
http_worker_drain(struct http_worker *w)
{
    pthread_mutex_lock(&w->lock);
    w->draining = true;
    for (struct http_job *job; (job = queue_take(&w->parked)) != NULL;) {
        job->told = true;
        queue_put(&w->woken, job);
    }
    pthread_cond_signal(&w->more);
    pthread_mutex_unlock(&w->lock);
}

void
http_worker_wake(struct http_worker *w, const char *key)
{
    struct http_job **at = &w->parked.first, *job;

    pthread_mutex_lock(&w->lock);
    while ((job = *at) != NULL) {
        if (strcmp(job->park_key, key) != 0) {
            at = &job->next;
            continue;
        }
        *at = job->next;
        w->parked.len--;
        queue_put(&w->woken, job);
    }
    w->parked.last = at;
    pthread_cond_signal(&w->more);
    pthread_mutex_unlock(&w->lock);
}
