#include "config.h"

#include "plugin/channels.h"

#include <event2/event.h>
#include <pthread.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "lib/common/clock.h"
#include "lib/common/fdio.h"
#include "lib/common/log.h"
#include "plugin/priv_client.h"
#include "plugin/service.h"
#include "plugin/vms.h"

enum { RETRY_FIRST_MS = 500, RETRY_MOST_MS = 15000, FDS_WANTED = 2 };

struct connecting {
    struct vm *vm;
    struct mailbox *mailbox;
    const char *priv_socket;
    unsigned generation;
    struct priv_request request;
    int fds[FDS_WANTED]; /* socket, pidfd */
    int failed;
    struct error error;
};

static const struct host_channel_identity *
identity_of(void *context)
{
    struct vm *vm = context;

    return vm->hostd->identity ? &vm->hostd->channel_identity : NULL;
}

static uint64_t
may_sign(void *context, const char **ret_reason)
{
    return vm_may_sign(context, clock_monotonic_ms(), ret_reason);
}

static void
on_retry(int fd, short what, void *context)
{
    struct vm *vm = context;

    (void)fd;
    (void)what;
    if (vm->channel) {
        struct host_channel_status status;

        host_channel_status(vm->channel, &status);
        if (status.state == HOST_CHANNEL_GONE) {
            host_channel_free(vm->channel);
            vm->channel = NULL;
        }
    }
    channels_consider(vm);
}

static void
retry(struct vm *vm)
{
    int64_t ms = RETRY_FIRST_MS;
    struct timeval wait;

    for (unsigned i = 0; i < vm->connect_failures && ms < RETRY_MOST_MS; i++)
        ms *= 2;
    if (ms > RETRY_MOST_MS)
        ms = RETRY_MOST_MS;
    wait = (struct timeval){ .tv_sec = ms / 1000, .tv_usec = ms % 1000 * 1000 };
    if (!vm->channel_retry)
        vm->channel_retry = evtimer_new(vm->hostd->base, on_retry, vm);
    if (vm->channel_retry)
        evtimer_add(vm->channel_retry, &wait);
}

/* One request to the root half; the VM may be gone when it is answered. */
struct syncing {
    struct hostd *hostd; /* for the main loop alone */
    struct mailbox *mailbox;
    uint64_t session;
    const char *priv_socket;
    struct priv_request request;
    int failed;
    struct error error;
};

static void
synced(void *context)
{
    CLEANUP(mem_free) struct syncing *s = context;
    struct vm *vm = vms_find(s->hostd, &s->request.uuid);

    if (s->failed < 0)
        log_error(&s->error, "event=sync-failed vm=%s", vm ? vm->record.name : "?");
    if (vm && vm->channel)
        host_channel_synced(vm->channel, s->session, s->failed < 0 ? "sync-failed" : NULL);
}

static void *
sync_thread(void *context)
{
    struct syncing *s = context;
    struct priv_answer answer;

    s->failed = priv_client_ask(s->priv_socket, &s->request, -1, clock_monotonic_ms() + PRIV_CLIENT_MS, &answer,
                                NULL, 0, &s->error);
    mailbox_post(s->mailbox, synced, s);
    return NULL;
}

static void
begin_sync(void *context, uint64_t session)
{
    struct vm *vm = context;
    struct syncing *s = calloc(1, sizeof *s);
    pthread_t thread;

    if (s)
        *s = (struct syncing){ .hostd = vm->hostd, .mailbox = vm->hostd->mailbox, .session = session,
                               .priv_socket = vm->hostd->settings.priv_socket,
                               .request = { .op = PRIV_SYNC_VTPM, .uuid = vm->record.uuid } };
    if (s && pthread_create(&thread, NULL, sync_thread, s) == 0) {
        pthread_detach(thread);
        return;
    }
    free(s);
    host_channel_synced(vm->channel, session, "sync-failed");
}

/* Not freed here: the channel is in the middle of its own call. */
static void
changed(void *context)
{
    struct vm *vm = context;
    struct host_channel_status status;

    if (!vm->channel)
        return;
    host_channel_status(vm->channel, &status);
    if (status.state == HOST_CHANNEL_GONE)
        retry(vm);
    else if (status.word[0]) /* the agent's news are often the service's */
        service_ask_vm(vm);
}

static void
behind(void *context, uint64_t serial)
{
    service_step_bundle(context, serial);
}

static void
connected(void *context)
{
    struct connecting *c = context;
    struct vm *vm = c->vm;
    struct host_channel_owner owner = { vm, identity_of, may_sign, begin_sync, changed, behind };

    vm->connecting = false;
    fd_close(c->fds[1]); /* the socket's end tells of QEMU's as well */
    if (c->failed == 0 && vm->active && vm->record.managed && !vm->channel && vm->generation == c->generation) {
        c->failed = host_channel_new(vm->hostd->base, &vm->record.uuid, fd_steal(&c->fds[0]), &owner,
                                     &vm->channel, &c->error);
        vm->connect_failures = 0;
    }
    fd_close(c->fds[0]);
    vm->channel_problem[0] = '\0';
    if (c->failed < 0) {
        vm->connect_failures++;
        snprintf(vm->channel_problem, sizeof vm->channel_problem, "%.199s", c->error.text);
        if (vm->active)
            retry(vm);
    }
    free(c);
}

static void *
connect_thread(void *context)
{
    struct connecting *c = context;
    struct priv_answer answer;

    c->failed = priv_client_ask(c->priv_socket, &c->request, -1, clock_monotonic_ms() + PRIV_CLIENT_MS,
                                &answer, c->fds, FDS_WANTED, &c->error);
    mailbox_post(c->mailbox, connected, c);
    return NULL;
}

void
channels_consider(struct vm *vm)
{
    struct connecting *c;
    pthread_t thread;

    if (vm_is_observed(vm) || !vm->active || vm->channel || vm->connecting || !vm->record.managed ||
        !vm->domain.channel_path[0] || !vm->hostd->identity)
        return;
    c = calloc(1, sizeof *c);
    if (!c)
        return;
    *c = (struct connecting){ .vm = vm, .mailbox = vm->hostd->mailbox, .priv_socket = vm->hostd->settings.priv_socket,
                              .generation = vm->generation, .fds = { -1, -1 } };
    c->request.op = PRIV_CHANNEL;
    c->request.uuid = vm->record.uuid;
    memcpy(c->request.name, vm->domain.name, sizeof vm->domain.name);
    memcpy(c->request.path, vm->domain.channel_path, strlen(vm->domain.channel_path) + 1);
    vm->connecting = true;
    if (pthread_create(&thread, NULL, connect_thread, c) == 0) {
        pthread_detach(thread);
        return;
    }
    vm->connecting = false;
    free(c);
    retry(vm);
}

void
channels_hello_all(struct hostd *hostd)
{
    for (struct vm *vm = hostd->vms; vm; vm = vm->next) {
        if (vm->channel)
            host_channel_hello(vm->channel);
        else
            channels_consider(vm);
    }
}

void
channels_look(struct hostd *hostd)
{
    for (struct vm *vm = hostd->vms; vm; vm = vm->next) {
        if (vm->channel)
            host_channel_look(vm->channel);
    }
}

void
channels_tell_stale(struct hostd *hostd, int64_t since_ms)
{
    if (since_ms == 0 || since_ms == hostd->tokens_since_ms)
        return;
    hostd->tokens_since_ms = since_ms;
    log_notice("event=key-revoked guests get new tokens");
    for (struct vm *vm = hostd->vms; vm; vm = vm->next) {
        if (vm->channel)
            host_channel_stale(vm->channel);
    }
}
