#include "config.h"

#include "plugin/priv/priv_inject.h"

#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>

#include "lib/common/fdio.h"
#include "lib/common/log.h"
#include "plugin/priv/priv_open_image.h"
#include "plugin/priv/priv_path.h"
#include "plugin/priv/priv_worker.h"

enum {
    GRACE_MS = 60 * 1000, /* a write that has begun is let finish this long behind its deadline */
    EXIT_MS = 10 * 1000,  /* from the worker's answer to its exit */
    PREPARE_MS = 600 * 1000,
};

enum phase { PHASE_LOOKING, PHASE_WRITING, PHASE_ANSWERED, PHASE_KILLED };

struct waiting {
    struct priv_request request;
    int payload;
    uint64_t who; /* 0: the client left */
    int64_t deadline;
};

struct priv_inject {
    const struct priv_settings *settings;
    priv_inject_answer *answer;
    void *context;
    struct waiting *waiting[PRIV_INJECT_WAITING_MAX];
    size_t n_waiting;
    /* the one that runs */
    struct waiting *job;
    enum phase phase;
    int64_t until;
    struct priv_worker worker;
    struct priv_image images[PRIV_CHAIN_MAX + 1];
    size_t n_images;
    struct priv_answer result;
    bool preparing; /* no job: the worker builds its appliance ahead of time */
    bool prepared;  /* looked at since the last job */
    bool closed;    /* shutting down */
};

static void
waiting_free(struct waiting *w)
{
    if (!w)
        return;
    fd_close(w->payload);
    free(w);
}

static void
skip(struct priv_answer *a, const char *problem, const char *text)
{
    *a = (struct priv_answer){ 0 };
    snprintf(a->result, sizeof a->result, "skipped");
    snprintf(a->reason, sizeof a->reason, "%s", problem);
    snprintf(a->text, sizeof a->text, "%s", text);
}

/* An image that may not be touched is an answer; only what is our own fault is an error. */
static void
skip_error(struct priv_answer *a, const struct error *err)
{
    char text[sizeof a->text];

    snprintf(text, sizeof text, "%.*s", (int)sizeof text - 1, err->text);
    skip(a, err->problem[0] ? err->problem : "inject-failed", text);
}

static void
send_answer(struct priv_inject *q, const struct waiting *w, const struct priv_answer *a)
{
    char uuid[VM_UUID_TEXT];

    vm_uuid_print(&w->request.uuid, uuid);
    log_notice("event=inject uuid=%s result=%s%s%s%s%s", uuid, a->result,
               a->reason[0] ? " reason=" : "", a->reason, a->text[0] ? " text=" : "", a->text);
    if (w->who)
        q->answer(q->context, w->who, a);
}

static void
close_images(struct priv_inject *q)
{
    for (size_t i = 0; i < q->n_images; i++)
        priv_open_image_close(&q->images[i]);
    q->n_images = 0;
}

int
priv_inject_new(const struct priv_settings *s, priv_inject_answer *answer, void *context,
                struct priv_inject **ret, struct error *err)
{
    struct priv_inject *q = calloc(1, sizeof *q);

    if (!q)
        return error_set(err, ERROR_SYSTEM, "out of memory");
    q->settings = s;
    q->answer = answer;
    q->context = context;
    q->worker = PRIV_WORKER();
    *ret = q;
    return 0;
}

void
priv_inject_free(struct priv_inject *q)
{
    if (!q)
        return;
    priv_worker_kill(&q->worker);
    priv_worker_reap(&q->worker);
    close_images(q);
    waiting_free(q->job);
    for (size_t i = 0; i < q->n_waiting; i++)
        waiting_free(q->waiting[i]);
    free(q);
}

/* Sealed: what was checked stays what is written. */
static int
check_payload(int fd, struct error *err)
{
    const int wanted = F_SEAL_SEAL | F_SEAL_SHRINK | F_SEAL_GROW | F_SEAL_WRITE;
    int seals = fd < 0 ? -1 : fcntl(fd, F_GET_SEALS);
    struct stat st;

    if (seals < 0 || (seals & wanted) != wanted)
        return error_set(err, ERROR_INPUT, "payload: not a sealed memfd");
    if (fstat(fd, &st) < 0 || st.st_size < 1 || st.st_size > PRIV_PAYLOAD_MAX)
        return error_set(err, ERROR_INPUT, "payload: empty, or larger than %d bytes", PRIV_PAYLOAD_MAX);
    return 0;
}

static void
end_job(struct priv_inject *q)
{
    struct waiting *job = q->job;
    bool killed = q->phase == PHASE_KILLED;

    q->job = NULL;
    priv_worker_reap(&q->worker);
    close_images(q);
    if (killed)
        priv_worker_clean(q->settings);
    send_answer(q, job, &q->result);
    waiting_free(job);
}

static void
kill_job(struct priv_inject *q)
{
    q->phase = PHASE_KILLED;
    q->until = INT64_MAX; /* SIGKILL is certain; the pidfd tells */
    priv_worker_kill(&q->worker);
}

static int
start_worker(struct priv_inject *q, struct error *err)
{
    const struct priv_request *r = &q->job->request;
    struct inject_msg m = { .kind = INJECT_JOB, .uuid = r->uuid,
                            .never_ran = r->flags & PRIV_FLAG_NEVER_RAN };

    memcpy(m.format, r->format, sizeof m.format);
    memcpy(m.accel, q->settings->accel, sizeof m.accel);
    snprintf(m.path, sizeof m.path, "%s", q->settings->worker_dir);
    q->images[0] = PRIV_IMAGE();
    if (priv_open_image_top(q->settings, r->path, &q->images[0], err) < 0)
        return -1;
    q->n_images = 1;
    return priv_worker_start(q->settings, &m, q->job->payload, &q->images[0], &q->worker, err);
}

/* Whoever is killed while it waits for the appliance's first build would leave it unbuilt for the next. */
static void
prepare_when_idle(struct priv_inject *q, int64_t now)
{
    struct error err;

    if (q->job || q->preparing || q->prepared || q->closed)
        return;
    q->prepared = true;
    if (priv_worker_is_prepared(q->settings))
        return;
    if (priv_worker_prepare(q->settings, &q->worker, &err) < 0) {
        log_error(&err, "building the appliance ahead of time");
        return;
    }
    q->preparing = true;
    q->until = now + PREPARE_MS;
}

static void
end_preparing(struct priv_inject *q)
{
    if (!q->preparing)
        return;
    q->preparing = false;
    priv_worker_kill(&q->worker);
    priv_worker_reap(&q->worker);
}

static void
start_next(struct priv_inject *q)
{
    struct error err;

    if (q->n_waiting > 0)
        end_preparing(q); /* a job builds what it misses itself */
    while (!q->job && q->n_waiting > 0) {
        q->job = q->waiting[0];
        q->n_waiting--;
        memmove(q->waiting, q->waiting + 1, q->n_waiting * sizeof *q->waiting);
        q->prepared = false;
        q->phase = PHASE_LOOKING;
        q->until = q->job->deadline;
        skip(&q->result, "inject-failed", "the worker ended without an answer");
        if (start_worker(q, &err) == 0)
            return;
        skip_error(&q->result, &err);
        end_job(q);
    }
}

int
priv_inject_add(struct priv_inject *q, const struct priv_request *r, int take_payload,
                uint64_t who, int64_t now, struct error *err)
{
    CLEANUP(fd_close) int payload = take_payload;
    struct waiting *w;

    if (check_payload(payload, err) < 0)
        return -1;
    if (r->deadline_ms == 0 || r->deadline_ms > PRIV_INJECT_MS_MAX)
        return error_set(err, ERROR_INPUT, "deadline of %u ms", r->deadline_ms);
    if (q->n_waiting == PRIV_INJECT_WAITING_MAX)
        return error_set(err, ERROR_BUSY, "%d injections wait already", PRIV_INJECT_WAITING_MAX);
    w = calloc(1, sizeof *w);
    if (!w)
        return error_set(err, ERROR_SYSTEM, "out of memory");
    *w = (struct waiting){ *r, fd_steal(&payload), who, now + r->deadline_ms };
    q->waiting[q->n_waiting++] = w;
    return 0; /* the next step starts it: its answer then comes from there, too */
}

static bool
forget(struct priv_inject *q, size_t i, const char *why)
{
    struct waiting *w = q->waiting[i];
    struct priv_answer a;

    q->n_waiting--;
    memmove(q->waiting + i, q->waiting + i + 1, (q->n_waiting - i) * sizeof *q->waiting);
    skip(&a, "took-too-long", why);
    send_answer(q, w, &a);
    waiting_free(w);
    return true;
}

/* True when the job can still be stopped, and is. */
static bool
stop_looking(struct priv_inject *q, const char *why)
{
    if (q->phase != PHASE_LOOKING)
        return false;
    skip(&q->result, "took-too-long", why);
    kill_job(q);
    return true;
}

const char *
priv_inject_cancel(struct priv_inject *q, const struct vm_uuid *uuid)
{
    bool found = false;

    for (size_t i = q->n_waiting; i-- > 0;)
        if (vm_uuid_equal(&q->waiting[i]->request.uuid, uuid))
            found = forget(q, i, "cancelled");
    if (q->job && vm_uuid_equal(&q->job->request.uuid, uuid)) {
        if (!stop_looking(q, "cancelled") && q->phase != PHASE_KILLED)
            return "too-late";
        found = true;
    }
    return found ? "cancelled" : "none";
}

void
priv_inject_gone(struct priv_inject *q, uint64_t who)
{
    for (size_t i = q->n_waiting; i-- > 0;) {
        if (q->waiting[i]->who == who) {
            q->waiting[i]->who = 0;
            (void)forget(q, i, "the host daemon left");
        }
    }
    if (q->job && q->job->who == who) {
        q->job->who = 0;
        (void)stop_looking(q, "the host daemon left");
    }
}

bool
priv_inject_idle(const struct priv_inject *q)
{
    return !q->job && q->n_waiting == 0;
}

void
priv_inject_give_up(struct priv_inject *q)
{
    q->closed = true;
    end_preparing(q);
    while (q->n_waiting > 0)
        (void)forget(q, q->n_waiting - 1, "virtid-privd ends");
    if (q->job)
        (void)stop_looking(q, "virtid-privd ends");
}

static int
open_next(struct priv_inject *q, const char *name, struct priv_image *image, struct error *err)
{
    if (q->n_images > PRIV_CHAIN_MAX)
        return error_problem(err, ERROR_DENIED, "image-chain", "more than %d backing files",
                             PRIV_CHAIN_MAX);
    if (priv_open_image_backing(q->settings, &q->images[q->n_images - 1], name, image, err) < 0)
        return -1;
    for (size_t i = 0; i < q->n_images; i++) {
        if (priv_path_same(&image->st, &q->images[i].st)) {
            priv_open_image_close(image);
            return error_problem(err, ERROR_DENIED, "image-chain", "a file backs itself");
        }
    }
    return 0;
}

static int
answer_next(struct priv_inject *q, const char *name, struct error *err)
{
    struct inject_msg m = { .kind = INJECT_FILE };
    struct priv_image image = PRIV_IMAGE();
    struct error why;

    if (open_next(q, name, &image, &why) < 0) {
        snprintf(m.problem, sizeof m.problem, "%s", why.problem[0] ? why.problem : "image-chain");
        snprintf(m.text, sizeof m.text, "%.*s", (int)sizeof m.text - 1, why.text);
        return priv_worker_send(&q->worker, &m, -1, err);
    }
    q->images[q->n_images++] = image;
    return priv_worker_send(&q->worker, &m, image.read_fd, err);
}

/* The last look before the first write. */
static int
answer_ready(struct priv_inject *q, struct error *err)
{
    struct inject_msg m = { .kind = INJECT_GO };

    for (size_t i = 0; i < q->n_images; i++)
        if (priv_open_image_check(&q->images[i], q->worker.pid, err) < 0)
            return -1;
    q->phase = PHASE_WRITING;
    if (q->until < INT64_MAX - GRACE_MS)
        q->until += GRACE_MS;
    return priv_worker_send(&q->worker, &m, -1, err);
}

static void
take_done(struct priv_inject *q, const struct inject_msg *m, int64_t now)
{
    skip(&q->result, m->problem, m->text);
    if (m->point_len > 0) {
        q->result = (struct priv_answer){ .point_len = m->point_len };
        snprintf(q->result.result, sizeof q->result.result, "injected");
        memcpy(q->result.point, m->point, m->point_len);
    }
    q->phase = PHASE_ANSWERED;
    q->until = now + EXIT_MS;
}

static int
take_message(struct priv_inject *q, int64_t now, struct error *err)
{
    struct inject_msg m;

    if (priv_worker_receive(&q->worker, &m, err) < 0)
        return -1;
    if (m.kind == INJECT_NEXT && q->phase == PHASE_LOOKING)
        return answer_next(q, m.path, err);
    if (m.kind == INJECT_READY && q->phase == PHASE_LOOKING)
        return answer_ready(q, err);
    if (m.kind == INJECT_DONE &&
        (m.point_len == 0 ? q->phase <= PHASE_WRITING : q->phase == PHASE_WRITING)) {
        take_done(q, &m, now);
        return 0;
    }
    return error_set(err, ERROR_INPUT, "the worker said %u out of turn", m.kind);
}

static void
handle_message(struct priv_inject *q, int64_t now)
{
    struct error err;

    if (take_message(q, now, &err) == 0)
        return;
    /* Its exit follows, or is made to; without an answer the first reason stands. */
    if (q->phase != PHASE_ANSWERED && q->phase != PHASE_KILLED) {
        if (err.code != ERROR_MISSING)
            skip_error(&q->result, &err);
        kill_job(q);
    }
    fd_close(q->worker.socket);
    q->worker.socket = -1;
}

static void
handle_deadline(struct priv_inject *q)
{
    if (stop_looking(q, "it did not fit into its time"))
        return;
    if (q->phase == PHASE_WRITING)
        skip(&q->result, "inject-failed",
             "ended while it wrote, far behind its time; the guest's journal puts that in order");
    kill_job(q);
}

/* Those whose time is over before their turn has come. */
static void
expire_waiting(struct priv_inject *q, int64_t now)
{
    for (size_t i = q->n_waiting; i-- > 0;)
        if (i < q->n_waiting && now >= q->waiting[i]->deadline)
            (void)forget(q, i, "its turn did not come in time");
}

static int64_t
next_deadline(const struct priv_inject *q)
{
    int64_t first = q->job || q->preparing ? q->until : INT64_MAX;

    for (size_t i = 0; i < q->n_waiting; i++)
        if (q->waiting[i]->deadline < first)
            first = q->waiting[i]->deadline;
    return first;
}

void
priv_inject_poll(const struct priv_inject *q, struct pollfd ret[static PRIV_INJECT_POLLFDS],
                 int64_t now, int *ret_timeout_ms)
{
    int64_t first = next_deadline(q);
    int64_t left = first < now ? 0 : first - now;

    ret[0] = (struct pollfd){ .fd = q->job ? q->worker.socket : -1, .events = POLLIN };
    ret[1] = (struct pollfd){ .fd = q->job || q->preparing ? q->worker.pidfd : -1, .events = POLLIN };
    if (!q->job && (q->n_waiting > 0 || (!q->prepared && !q->preparing && !q->closed)))
        *ret_timeout_ms = 0;
    else if (first == INT64_MAX)
        *ret_timeout_ms = -1;
    else
        *ret_timeout_ms = left > INT32_MAX ? INT32_MAX : (int)left;
}

void
priv_inject_step(struct priv_inject *q, const struct pollfd fds[static PRIV_INJECT_POLLFDS],
                 int64_t now)
{
    if (q->job && fds[0].fd >= 0 && fds[0].revents)
        handle_message(q, now);
    else if (q->job && fds[1].fd >= 0 && fds[1].revents)
        end_job(q); /* after its last message was read */
    else if (q->job && now >= q->until)
        handle_deadline(q);
    else if (q->preparing && (fds[1].revents || now >= q->until))
        end_preparing(q);
    expire_waiting(q, now);
    start_next(q);
    prepare_when_idle(q, now);
}
