#include "config.h"

#include "plugin/enroll/enroll_thread.h"

#include <errno.h>
#include <pthread.h>
#include <stdlib.h>
#include <string.h>

#include "lib/common/clock.h"

struct enroll_thread {
    char *state_dir;
    pthread_t thread;
    pthread_mutex_t lock;
    pthread_cond_t wake;
    struct enroll_job *urgent, *later; /* queues, oldest first */
    bool ending;
    struct host_identity *identity;
    struct enroll *enroll;
};

static void
close_connection(struct enroll_thread *t)
{
    enroll_free(t->enroll);
    t->enroll = NULL;
}

/* With the certificate that is the newest now: a renewed one is used at once. */
static int
open_connection(struct enroll_thread *t, struct error *err)
{
    if (t->enroll && !host_identity_is_old(t->state_dir, t->identity))
        return 0;
    close_connection(t);
    host_identity_free(t->identity);
    t->identity = NULL;
    if (host_identity_load(t->state_dir, &t->identity, err) < 0)
        return -1;
    return enroll_new(t->identity, &t->enroll, err);
}

static int
run_kind(struct enroll_thread *t, struct enroll_job *job)
{
    int failed;

    switch (job->kind) {
    case ENROLL_JOB_BUNDLE:
        return enroll_bundle(t->enroll, job->after, job->bundle, &job->bundle_len, &job->error);
    case ENROLL_JOB_RENEW:
        return enroll_renew(t->enroll, t->state_dir, &job->error);
    case ENROLL_JOB_VM:
        return enroll_vm(t->enroll, &job->uuid, job->epoch, &job->vm, &job->error);
    case ENROLL_JOB_RECEIPTS:
        return enroll_show_receipts(t->enroll, job->receipts, &job->error);
    case ENROLL_JOB_REPORT:
        break;
    }
    failed = enroll_report(t->enroll, &job->report, job->timeout_ms, job->results, LEASE_VMS_MAX,
                           &job->n_results, &job->error);
    job->has_clock = enroll_clock(t->enroll, &job->ahead_ms);
    job->tokens_since_ms = enroll_tokens_since(t->enroll);
    job->bundle_serial = enroll_bundle_serial(t->enroll);
    return failed;
}

static void
run(struct enroll_thread *t, struct enroll_job *job)
{
    job->sent_ms = clock_monotonic_ms();
    job->failed = open_connection(t, &job->error);
    if (job->failed == 0)
        job->failed = run_kind(t, job);
    /* Its database was restored, and is older than our certificates. */
    if (job->failed < 0 && strcmp(job->error.problem, "certificate-unknown") == 0 &&
        enroll_show_certificates(t->enroll, &job->error) == 0)
        job->failed = run_kind(t, job);
    if (job->failed < 0) /* a connection in doubt: the next job begins afresh */
        close_connection(t);
    job->done(job);
}

static struct enroll_job *
take_first(struct enroll_job **queue)
{
    struct enroll_job *job = *queue;

    if (job)
        *queue = job->next;
    return job;
}

static struct enroll_job *
next_job(struct enroll_thread *t)
{
    struct enroll_job *job;

    pthread_mutex_lock(&t->lock);
    while (!t->urgent && !t->later && !t->ending)
        pthread_cond_wait(&t->wake, &t->lock);
    job = t->ending ? NULL : take_first(&t->urgent);
    if (!job && !t->ending)
        job = take_first(&t->later);
    pthread_mutex_unlock(&t->lock);
    return job;
}

static void
refuse_rest(struct enroll_job *job)
{
    while (job) {
        struct enroll_job *next = job->next;

        job->failed = error_set(&job->error, ERROR_BUSY, "the host daemon ends");
        job->done(job);
        job = next;
    }
}

static void *
enroll_thread_main(void *opaque)
{
    struct enroll_thread *t = opaque;
    struct enroll_job *job;

    while ((job = next_job(t)))
        run(t, job);
    return NULL;
}

int
enroll_thread_start(const char *state_dir, struct enroll_thread **ret, struct error *err)
{
    struct enroll_thread *t = calloc(1, sizeof *t);
    int failed;

    if (!t || !(t->state_dir = strdup(state_dir))) {
        free(t);
        return error_sys(err, ENOMEM, "thread for the token service");
    }
    pthread_mutex_init(&t->lock, NULL);
    pthread_cond_init(&t->wake, NULL);
    failed = pthread_create(&t->thread, NULL, enroll_thread_main, t);
    if (failed) {
        free(t->state_dir);
        free(t);
        return error_sys(err, failed, "thread for the token service");
    }
    *ret = t;
    return 0;
}

void
enroll_thread_stop(struct enroll_thread *t)
{
    if (!t)
        return;
    pthread_mutex_lock(&t->lock);
    t->ending = true;
    pthread_cond_signal(&t->wake);
    pthread_mutex_unlock(&t->lock);
    pthread_join(t->thread, NULL);
    refuse_rest(t->urgent);
    refuse_rest(t->later);
    close_connection(t);
    host_identity_free(t->identity);
    pthread_mutex_destroy(&t->lock);
    pthread_cond_destroy(&t->wake);
    free(t->state_dir);
    free(t);
}

void
enroll_thread_submit(struct enroll_thread *t, struct enroll_job *take_job)
{
    struct enroll_job **at;

    take_job->next = NULL;
    pthread_mutex_lock(&t->lock);
    at = take_job->urgent ? &t->urgent : &t->later;
    while (*at)
        at = &(*at)->next;
    *at = take_job;
    pthread_cond_signal(&t->wake);
    pthread_mutex_unlock(&t->lock);
}
