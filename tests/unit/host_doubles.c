/* In place of what a host daemon talks to, and of its clock: the linker puts these there (--wrap, plugin/module.am). */
#include "config.h"

#include <event2/event.h>
#include <pthread.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdio.h>
#include <string.h>

#include <cmocka.h>

#include "lib/common/fdio.h"
#include "plugin/hookd.h"
#include "plugin/priv_client.h"
#include "plugin/run_id.h"
#include "tests/unit/host_world.h"

enum { UTC_AHEAD_S = 1700000000 };

int64_t __wrap_clock_monotonic_ms(void);
int64_t __wrap_clock_realtime_ms(void);
void __wrap_log_error(const struct error *err, const char *fmt, ...);
void __wrap_enroll_thread_submit(struct enroll_thread *thread, struct enroll_job *take_job);
void __wrap_hook_call_answer(struct hook_call *call, enum hook_verdict verdict, const char *reason);
void __wrap_hook_call_wait(struct hook_call *call, unsigned seconds);
uint64_t __wrap_libvirt_watch_look(struct libvirt_watch *watch, const struct vm_uuid *uuid);
void __wrap_run_id_find(const struct vm_uuid *uuid, int id, char ret[static RUN_ID_MAX + 1]);
int __wrap_priv_client_ask(const char *socket, const struct priv_request *request, int fd, int64_t deadline_ms,
                           struct priv_answer *ret, int *ret_fds, size_t n_fds, struct error *err);
void __wrap_mailbox_post(struct mailbox *mailbox, mailbox_letter *letter, void *context);
int __wrap_pthread_create(pthread_t *thread, const pthread_attr_t *attr, void *(*run)(void *), void *context);
int __wrap_pthread_detach(pthread_t thread);
int __wrap_fsync(int fd);
struct event *__wrap_event_new(struct event_base *base, int fd, short what, event_callback_fn fn, void *context);
int __wrap_event_add(struct event *event, const struct timeval *after);
int __wrap_event_pending(const struct event *event, short what, struct timeval *ret);
void __wrap_event_free(struct event *event);
int __real_file_replace_at(int dir, const char *name, const void *bytes, size_t len, mode_t mode, struct error *err);
int __wrap_file_replace_at(int dir, const char *name, const void *bytes, size_t len, mode_t mode, struct error *err);
struct event *__real_event_new(struct event_base *base, int fd, short what, event_callback_fn fn, void *context);
void __real_event_free(struct event *event);

int64_t
__wrap_clock_monotonic_ms(void)
{
    return world_now_ms;
}

int64_t
__wrap_clock_realtime_ms(void)
{
    return world_now_ms + INT64_C(1000) * UTC_AHEAD_S;
}

void
__wrap_log_error(const struct error *err, const char *fmt, ...)
{
    (void)err;
    (void)fmt;
}

void
__wrap_enroll_thread_submit(struct enroll_thread *thread, struct enroll_job *take_job)
{
    struct world_host *host = (struct world_host *)thread;
    struct enroll_job **at = take_job->urgent ? &host->urgent : &host->later;

    while (*at)
        at = &(*at)->next;
    take_job->next = NULL;
    *at = take_job;
}

void
__wrap_hook_call_answer(struct hook_call *call, enum hook_verdict verdict, const char *reason)
{
    (void)reason;
    call->answers++;
    call->answer = verdict == HOOK_GO ? CALL_GO : CALL_NO;
}

void
__wrap_hook_call_wait(struct hook_call *call, unsigned seconds)
{
    (void)seconds;
    assert_int_equal(call->answer, CALL_WAITS);
}

uint64_t
__wrap_libvirt_watch_look(struct libvirt_watch *watch, const struct vm_uuid *uuid)
{
    struct world_host *host = (struct world_host *)watch;

    (void)uuid;
    host->look = host->moving = true;
    return ++host->looks;
}

/* Each run has a number of its own, also behind a reboot of its host. */
void
__wrap_run_id_find(const struct vm_uuid *uuid, int id, char ret[static RUN_ID_MAX + 1])
{
    (void)uuid;
    snprintf(ret, RUN_ID_MAX + 1, "%d@%d", id, 100 + id);
}

int
__wrap_priv_client_ask(const char *socket, const struct priv_request *request, int fd, int64_t deadline_ms,
                       struct priv_answer *ret, int *ret_fds, size_t n_fds, struct error *err)
{
    (void)socket;
    (void)fd;
    (void)deadline_ms;
    (void)ret_fds;
    (void)n_fds;
    (void)err;
    world_present->stops += request->op == PRIV_STOP_GUEST;
    *ret = (struct priv_answer){ .error.code = ERROR_NONE };
    strcpy(ret->result, "report");
    return 0;
}

void
__wrap_mailbox_post(struct mailbox *mailbox, mailbox_letter *letter, void *context)
{
    struct world_host *host = (struct world_host *)mailbox;

    assert_true(host->n_letters < WORLD_LETTERS);
    host->letters[host->n_letters++] = (struct world_letter){ letter, context };
}

int
__wrap_pthread_create(pthread_t *thread, const pthread_attr_t *attr, void *(*run)(void *), void *context)
{
    (void)thread;
    (void)attr;
    run(context);
    return 0;
}

int
__wrap_pthread_detach(pthread_t thread)
{
    (void)thread;
    return 0;
}

int
__wrap_fsync(int fd)
{
    (void)fd;
    return 0;
}

int
__wrap_file_replace_at(int dir, const char *name, const void *bytes, size_t len, mode_t mode, struct error *err)
{
    if (!world_present || !world_present->full)
        return __real_file_replace_at(dir, name, bytes, len, mode, err);
    if (world_present->written)
        (void)__real_file_replace_at(dir, name, bytes, len, mode, err);
    return error_set(err, ERROR_SYSTEM, "no space left on device");
}

static struct world_timer *
timer_of(const struct event *event)
{
    for (size_t i = 0; i < WORLD_TIMERS; i++) {
        if (world_present->timers[i].event == event)
            return &world_present->timers[i];
    }
    fail_msg("a timer that nobody made");
    return NULL;
}

struct event *
__wrap_event_new(struct event_base *base, int fd, short what, event_callback_fn fn, void *context)
{
    struct event *event = __real_event_new(base, fd, what, fn, context);

    timer_of(NULL)->event = event;
    return event;
}

int
__wrap_event_add(struct event *event, const struct timeval *after)
{
    struct world_timer *t = timer_of(event);

    t->set = true;
    t->due_ms = world_now_ms + after->tv_sec * 1000 + after->tv_usec / 1000;
    return 0;
}

int
__wrap_event_pending(const struct event *event, short what, struct timeval *ret)
{
    (void)what;
    (void)ret;
    return timer_of(event)->set;
}

void
__wrap_event_free(struct event *event)
{
    *timer_of(event) = (struct world_timer){ 0 };
    __real_event_free(event);
}
