#include "config.h"

#include "plugin/mailbox.h"

#include <errno.h>
#include <event2/event.h>
#include <pthread.h>
#include <stdbool.h>
#include <stdint.h>
#include <stdlib.h>
#include <sys/eventfd.h>
#include <unistd.h>

#include "lib/common/clock.h"
#include "lib/common/fdio.h"

enum { TURN_MS = 20 /* then the loop looks at everything else */ };

struct letter {
    mailbox_letter *run;
    void *context;
    bool *done; /* somebody waits */
    struct letter *next;
};

struct mailbox {
    int fd;
    struct event *event;
    pthread_mutex_t lock;
    pthread_cond_t done;
    struct letter *first, **last;
    bool closed;
};

static struct letter *
take_first(struct mailbox *m)
{
    struct letter *first;

    pthread_mutex_lock(&m->lock);
    first = m->first;
    if (first && !(m->first = first->next))
        m->last = &m->first;
    pthread_mutex_unlock(&m->lock);
    return first;
}

static void
finish(struct mailbox *m, struct letter *letter)
{
    if (letter->done) {
        pthread_mutex_lock(&m->lock);
        *letter->done = true;
        pthread_cond_broadcast(&m->done);
        pthread_mutex_unlock(&m->lock);
    }
    free(letter);
}

/* A sweep of a thousand domains is a thousand letters: libvirt's hook must be heard between them. */
static void
on_letters(int fd, short what, void *context)
{
    int64_t until = clock_monotonic_ms() + TURN_MS;
    struct mailbox *m = context;
    struct letter *letter;
    uint64_t n = 1;

    (void)what;
    (void)!read(fd, &n, sizeof n);
    while ((letter = take_first(m))) {
        letter->run(letter->context);
        finish(m, letter);
        if (clock_monotonic_ms() >= until) {
            n = 1;
            (void)!write(fd, &n, sizeof n);
            return;
        }
    }
}

int
mailbox_new(struct event_base *base, struct mailbox **ret, struct error *err)
{
    CLEANUP(mailbox_free) struct mailbox *m = calloc(1, sizeof *m);

    if (!m)
        return error_sys(err, ENOMEM, "mailbox");
    m->last = &m->first;
    pthread_mutex_init(&m->lock, NULL);
    pthread_cond_init(&m->done, NULL);
    m->fd = eventfd(0, EFD_CLOEXEC | EFD_NONBLOCK);
    if (m->fd < 0)
        return error_sys(err, errno, "mailbox");
    m->event = event_new(base, m->fd, EV_READ | EV_PERSIST, on_letters, m);
    if (!m->event || event_add(m->event, NULL) < 0)
        return error_sys(err, ENOMEM, "mailbox");
    *ret = STEAL(m);
    return 0;
}

void
mailbox_close(struct mailbox *m)
{
    struct letter *letter;

    pthread_mutex_lock(&m->lock);
    m->closed = true;
    pthread_mutex_unlock(&m->lock);
    while ((letter = take_first(m)))
        finish(m, letter);
}

void
mailbox_free(struct mailbox *m)
{
    if (!m)
        return;
    mailbox_close(m);
    if (m->event)
        event_free(m->event);
    fd_close(m->fd);
    pthread_cond_destroy(&m->done);
    pthread_mutex_destroy(&m->lock);
    free(m);
}

static void
put(struct mailbox *m, mailbox_letter *run, void *context, bool *done)
{
    struct letter *letter = malloc(sizeof *letter);
    uint64_t one = 1;

    if (!letter)
        abort(); /* a lost letter would be a start that nobody answers */
    *letter = (struct letter){ .run = run, .context = context, .done = done };
    pthread_mutex_lock(&m->lock);
    if (m->closed) {
        if (done)
            *done = true;
        free(letter);
    } else {
        *m->last = letter;
        m->last = &letter->next;
    }
    pthread_mutex_unlock(&m->lock);
    (void)!write(m->fd, &one, sizeof one);
}

void
mailbox_post(struct mailbox *m, mailbox_letter *letter, void *context)
{
    put(m, letter, context, NULL);
}

void
mailbox_call(struct mailbox *m, mailbox_letter *letter, void *context)
{
    bool done = false;

    put(m, letter, context, &done);
    pthread_mutex_lock(&m->lock);
    while (!done)
        pthread_cond_wait(&m->done, &m->lock);
    pthread_mutex_unlock(&m->lock);
}
