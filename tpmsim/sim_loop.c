#include "config.h"

#include "tpmsim/sim_loop.h"

#include <errno.h>
#include <event2/event.h>
#include <signal.h>

#include "lib/common/clock.h"

enum { N_SIGNALS = 3 };

struct sim_loop {
    struct event_base *base;
    struct event *wake, *signals[N_SIGNALS];
    int signal;
    bool failed;
    struct error failure;
};

static void
on_signal(evutil_socket_t number, short what, void *context)
{
    struct sim_loop *loop = context;

    (void)what;
    if (!loop->signal)
        loop->signal = (int)number;
}

static void
on_wake(evutil_socket_t fd, short what, void *context)
{
    (void)fd;
    (void)what;
    (void)context;
}

/* Not before: until then nobody looks, and a signal ends us as it ends any program. */
static void
note_signals(struct sim_loop *loop)
{
    for (size_t i = 0; i < N_SIGNALS; i++) {
        if (!event_pending(loop->signals[i], EV_SIGNAL, NULL))
            (void)event_add(loop->signals[i], NULL);
    }
}

static int
serve_until(struct sim_loop *loop, const bool *done, int64_t deadline_ms, bool stubborn,
            struct error *err)
{
    note_signals(loop);
    while (!*done) {
        int64_t left = deadline_ms - clock_monotonic_ms();
        struct timeval wait = { .tv_sec = left / 1000, .tv_usec = left % 1000 * 1000 };

        if (!stubborn && loop->failed) {
            *err = loop->failure;
            return -1;
        }
        if (!stubborn && loop->signal)
            return error_set(err, ERROR_BUSY, "interrupted");
        if (left <= 0)
            return error_set(err, ERROR_BUSY, "took too long");
        if (deadline_ms != INT64_MAX)
            evtimer_add(loop->wake, &wait);
        if (event_base_loop(loop->base, EVLOOP_ONCE) < 0)
            return error_set(err, ERROR_SYSTEM, "event loop");
        evtimer_del(loop->wake);
    }
    return 0;
}

int
sim_loop_wait(struct sim_loop *loop, const bool *done, int64_t deadline_ms,
              struct error *err)
{
    return serve_until(loop, done, deadline_ms, false, err);
}

int
sim_loop_finish(struct sim_loop *loop, const bool *done, struct error *err)
{
    return serve_until(loop, done, INT64_MAX, true, err);
}

void
sim_loop_fail(struct sim_loop *loop, const struct error *why)
{
    if (!loop->failed)
        loop->failure = *why;
    loop->failed = true;
}

int
sim_loop_signal(const struct sim_loop *loop)
{
    return loop->signal;
}

int
sim_loop_new(struct sim_loop **ret, struct error *err)
{
    static const int numbers[N_SIGNALS] = { SIGINT, SIGTERM, SIGHUP };
    CLEANUP(sim_loop_free) struct sim_loop *loop = calloc(1, sizeof *loop);
    bool made;

    if (!loop || !(loop->base = event_base_new()))
        return error_sys(err, ENOMEM, "event loop");
    loop->wake = evtimer_new(loop->base, on_wake, NULL);
    made = loop->wake != NULL;
    for (size_t i = 0; i < N_SIGNALS; i++) {
        loop->signals[i] = evsignal_new(loop->base, numbers[i], on_signal, loop);
        made = made && loop->signals[i];
    }
    if (!made)
        return error_set(err, ERROR_SYSTEM, "event loop");
    *ret = STEAL(loop);
    return 0;
}

void
sim_loop_free(struct sim_loop *loop)
{
    if (!loop)
        return;
    for (size_t i = 0; i < N_SIGNALS; i++) {
        if (loop->signals[i])
            event_free(loop->signals[i]);
    }
    if (loop->wake)
        event_free(loop->wake);
    if (loop->base)
        event_base_free(loop->base);
    free(loop);
}

struct event_base *
sim_loop_base(struct sim_loop *loop)
{
    return loop->base;
}
