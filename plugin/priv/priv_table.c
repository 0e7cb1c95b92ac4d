#include "config.h"

#include "plugin/priv/priv_table.h"

#include <stdio.h>

#include "lib/common/fdio.h"
#include "lib/common/log.h"
#include "plugin/priv/priv_channel.h"
#include "plugin/priv/priv_state.h"
#include "plugin/priv/priv_stop.h"
#include "plugin/priv/priv_vtpm.h"

struct call {
    struct priv_table *table;
    const struct priv_request *request;
    int fd; /* of the request; a handler that keeps it sets -1 */
    uint64_t who;
    int64_t now;
};

static void
set_result(struct priv_reply *reply, const char *result)
{
    snprintf(reply->answer.result, sizeof reply->answer.result, "%s", result);
}

static int
do_inject(struct call *c, struct priv_reply *reply, struct error *err)
{
    reply->later = true;
    return priv_inject_add(c->table->injections, c->request, fd_steal(&c->fd), c->who, c->now, err);
}

static int
do_place_vtpm(struct call *c, struct priv_reply *reply, struct error *err)
{
    char uuid[VM_UUID_TEXT];
    bool placed;

    if (priv_vtpm_place(c->table->settings, &c->request->uuid, c->fd, &placed, err) < 0)
        return -1;
    set_result(reply, placed ? "placed" : "exists");
    vm_uuid_print(&c->request->uuid, uuid);
    log_notice("event=place-vtpm uuid=%s result=%s", uuid, reply->answer.result);
    return 0;
}

static int
do_channel(struct call *c, struct priv_reply *reply, struct error *err)
{
    pid_t pid;

    if (priv_channel_connect(c->table->settings, &c->request->uuid, c->request->name,
                             c->request->path, &reply->fds[0], &reply->fds[1], &pid, err) < 0)
        return -1;
    reply->n_fds = 2;
    reply->answer.pid = (uint32_t)pid;
    set_result(reply, "connected");
    return 0;
}

static int
do_vtpm_state(struct call *c, struct priv_reply *reply, struct error *err)
{
    bool exists;

    if (priv_vtpm_exists(c->table->settings, &c->request->uuid, &exists, err) < 0)
        return -1;
    set_result(reply, exists ? "present" : "absent");
    return 0;
}

static int
do_save_state(struct call *c, struct priv_reply *reply, struct error *err)
{
    bool saved;

    if (priv_state_saved(c->table->settings, c->request->name, &saved, err) < 0)
        return -1;
    set_result(reply, saved ? "managed" : "none");
    return 0;
}

static int
do_cancel(struct call *c, struct priv_reply *reply, struct error *err)
{
    (void)err;
    set_result(reply, priv_inject_cancel(c->table->injections, &c->request->uuid));
    return 0;
}

static int
do_sync_vtpm(struct call *c, struct priv_reply *reply, struct error *err)
{
    if (priv_vtpm_sync(c->table->settings, &c->request->uuid, err) < 0)
        return -1;
    set_result(reply, "synced");
    return 0;
}

static int
do_stop_guest(struct call *c, struct priv_reply *reply, struct error *err)
{
    const char *done;
    char uuid[VM_UUID_TEXT];

    if (priv_stop_guest(c->table->settings, &c->request->uuid, c->request->name, &done, err) < 0)
        return -1;
    set_result(reply, done);
    if (c->table->settings->fence_action == PRIV_FENCE_REPORT)
        return 0;
    vm_uuid_print(&c->request->uuid, uuid);
    log_warning("event=fenced-guest uuid=%s action=%s another host has it since this one was fenced", uuid, done);
    return 0;
}

/* A host with a thousand VMs that all start within a minute is served; a loop is not. */
static const struct entry {
    const char *name;
    bool wants_fd;
    int per_minute;
    int (*handler)(struct call *, struct priv_reply *, struct error *);
} table[PRIV_TABLE_OPS + 1] = {
    [PRIV_INJECT] = { "inject", true, 1200, do_inject },
    [PRIV_PLACE_VTPM] = { "place-vtpm", true, 1200, do_place_vtpm },
    [PRIV_CHANNEL] = { "channel", false, 6000, do_channel },
    [PRIV_VTPM_STATE] = { "vtpm-state", false, 6000, do_vtpm_state },
    [PRIV_SAVE_STATE] = { "save-state", false, 6000, do_save_state },
    [PRIV_CANCEL] = { "cancel", false, 1200, do_cancel },
    [PRIV_SYNC_VTPM] = { "sync-vtpm", false, 6000, do_sync_vtpm },
    [PRIV_STOP_GUEST] = { "stop-guest", false, 1200, do_stop_guest },
};

void
priv_table_init(struct priv_table *t, const struct priv_settings *s, struct priv_inject *q,
                int64_t now)
{
    t->settings = s;
    t->injections = q;
    t->malformed = false;
    for (size_t i = 0; i < PRIV_TABLE_OPS; i++) {
        t->rates[i].tokens = (int64_t)table[i + 1].per_minute * 1000;
        t->rates[i].filled_at = now;
    }
}

/* A bucket that a minute fills. */
static int
take_token(struct priv_table *t, enum priv_op op, int64_t now, struct error *err)
{
    int64_t full = (int64_t)table[op].per_minute * 1000;
    int64_t *tokens = &t->rates[op - 1].tokens;

    *tokens += (now - t->rates[op - 1].filled_at) * table[op].per_minute / 60;
    if (*tokens > full)
        *tokens = full;
    t->rates[op - 1].filled_at = now;
    if (*tokens < 1000)
        return error_set(err, ERROR_BUSY, "more than %d requests of this kind in a minute",
                         table[op].per_minute);
    *tokens -= 1000;
    return 0;
}

static int
do_request(struct call *c, struct priv_reply *reply, struct error *err)
{
    const struct entry *e = &table[c->request->op];

    if (take_token(c->table, c->request->op, c->now, err) < 0)
        return -1;
    if (e->wants_fd != (c->fd >= 0))
        return error_set(err, ERROR_INPUT, "%s comes %s a descriptor", e->name,
                         e->wants_fd ? "with" : "without");
    if (e->handler(c, reply, err) < 0)
        return error_wrap(err, "%s", e->name);
    return 0;
}

void
priv_table_do(struct priv_table *t, const uint8_t *bytes, size_t len, int take_fd,
              uint64_t who, int64_t now, struct priv_reply *ret)
{
    CLEANUP(fd_close) int fd = take_fd;
    struct priv_request request;
    struct call call = { t, &request, -1, who, now };
    struct error err;

    *ret = (struct priv_reply){ .fds = { -1, -1 } };
    if (priv_request_decode(bytes, len, &request, &err) < 0) {
        if (!t->malformed)
            log_error(&err, "event=refused a packet that is no request; hanging up, and silently from now on");
        t->malformed = true;
        *ret = (struct priv_reply){ .answer.error = err, .fds = { -1, -1 }, .hang_up = true };
        return;
    }
    call.fd = fd_steal(&fd);
    if (do_request(&call, ret, &err) == 0) {
        fd_close(call.fd);
        return;
    }
    fd_close(call.fd);
    log_error(&err, "event=refused");
    *ret = (struct priv_reply){ .answer.error = err, .fds = { -1, -1 } };
}
