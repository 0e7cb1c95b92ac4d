#include "config.h"

#include "tpmsim/sim_guest.h"

#include <errno.h>
#include <event2/event.h>
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <unistd.h>

#include "lib/common/clock.h"
#include "lib/common/fdio.h"
#include "lib/common/log.h"
#include "lib/crypto/random.h"
#include "plugin/vtpm/swtpm_run.h"
#include "tpmsim/sim_child.h"
#include "tpmsim/sim_loop.h"
#include "tpmsim/sim_provision.h"
#include "tpmsim/sim_record.h"

enum {
    PATH_ROOM = 128,
    READY_MS = 20000,
    STOP_MS = 5000,
    CONF_LINE_MAX = 190, /* inih's line, with its newline */
};

struct sim_guest {
    struct sim_host *host;
    char folder[SIM_GUEST_FOLDER_MAX + 1];
    char record_path[PATH_ROOM], conf_path[PATH_ROOM], channel_path[PATH_ROOM];
    const struct sim_order *order;
    struct sim_record record;
    struct sim_lease *lease; /* the host's */
    struct swtpm_run *swtpm;
    int listener;
    struct event *listen_event;
    struct host_channel *channel;
    struct sim_child agent, server;
};

/* ---- name and UUID ---- */

static int
make_record(struct sim_guest *g, struct error *err)
{
    struct sim_record *r = &g->record;
    uint8_t number[4];

    if (random_bytes(r->uuid.bytes, sizeof r->uuid.bytes, err) < 0 ||
        random_bytes(number, sizeof number, err) < 0)
        return -1;
    r->uuid.bytes[6] = (r->uuid.bytes[6] & 0x0f) | 0x40; /* RFC 9562, 5.4 */
    r->uuid.bytes[8] = (r->uuid.bytes[8] & 0x3f) | 0x80;
    snprintf(r->name, sizeof r->name, "sim-%02x%02x%02x%02x", number[0], number[1],
             number[2], number[3]);
    return 0;
}

/* What a copy brings along is nothing that this host made for its new UUID. */
static int
become_copy(struct sim_guest *g, const struct vm_uuid *uuid, struct error *err)
{
    char from[VM_UUID_TEXT], to[VM_UUID_TEXT], old[PATH_ROOM], new[PATH_ROOM];
    struct sim_record copy = { .uuid = *uuid };

    vm_uuid_print(&g->record.uuid, from);
    vm_uuid_print(uuid, to);
    snprintf(old, sizeof old, "%s/%s", g->folder, from);
    snprintf(new, sizeof new, "%s/%s", g->folder, to);
    if (rename(old, new) < 0 && errno != ENOENT)
        return error_sys(err, errno, "rename %s", old);
    memcpy(copy.name, g->record.name, sizeof copy.name);
    g->record = copy;
    log_notice("event=copy of=%s uuid=%s", from, to);
    return 0;
}

static int
find_record(struct sim_guest *g, struct error *err)
{
    const struct sim_order *o = g->order;
    bool known = true;

    if (sim_record_read(g->record_path, &g->record, err) < 0) {
        if (err->code != ERROR_MISSING || make_record(g, err) < 0)
            return -1;
        known = false;
    }
    if (o->uuid && !vm_uuid_equal(o->uuid, &g->record.uuid)) {
        if (known && become_copy(g, o->uuid, err) < 0)
            return -1;
        g->record.uuid = *o->uuid;
    }
    if (o->name)
        snprintf(g->record.name, sizeof g->record.name, "%s", o->name);
    return sim_record_write(g->record_path, &g->record, err);
}

/* ---- the host's side of the channel ---- */

static const struct host_channel_identity *
identity_of(void *context)
{
    struct sim_guest *g = context;

    return sim_host_identity(g->host);
}

static uint64_t
may_sign(void *context, const char **ret_reason)
{
    struct sim_guest *g = context;

    if (clock_monotonic_ms() < g->lease->until_ms)
        return g->lease->epoch;
    *ret_reason = "no-lease";
    return 0;
}

/* As the root half does it: the file, then its name. */
static int
sync_tpm(const struct sim_guest *g, struct error *err)
{
    CLEANUP(fd_close) int folder = -1;
    CLEANUP(fd_close) int file = -1;
    char uuid[VM_UUID_TEXT], path[PATH_ROOM];

    vm_uuid_print(&g->record.uuid, uuid);
    snprintf(path, sizeof path, "%s/%s", g->folder, uuid);
    folder = open(path, O_RDONLY | O_DIRECTORY | O_CLOEXEC);
    file = folder < 0 ? -1 : openat(folder, "tpm2-00.permall", O_RDONLY | O_NOFOLLOW | O_CLOEXEC);
    if (file < 0 || fsync(file) < 0 || fsync(folder) < 0)
        return error_sys(err, errno, "%s: making the TPM's state durable", path);
    return 0;
}

static void
on_sync(void *context, uint64_t session)
{
    struct sim_guest *g = context;
    struct error err = { 0 };
    int failed = sync_tpm(g, &err);

    if (failed < 0)
        log_error(&err, "event=sync-failed name=%s", g->record.name);
    host_channel_synced(g->channel, session, failed < 0 ? "sync-failed" : NULL);
}

static void
on_behind(void *context, uint64_t serial)
{
    struct sim_guest *g = context;

    sim_host_step_bundle(g->host, g->lease, serial);
}

static void
offer(void *context, const uint8_t *bundle, size_t len)
{
    struct sim_guest *g = context;

    if (g->channel && bundle)
        host_channel_offer(g->channel, bundle, len);
    else if (g->channel)
        host_channel_hello(g->channel);
}

static void
on_connection(evutil_socket_t fd, short what, void *context)
{
    struct host_channel_owner owner = { context, identity_of, may_sign, on_sync, NULL, on_behind };
    struct sim_guest *g = context;
    int peer = accept4(fd, NULL, NULL, SOCK_CLOEXEC | SOCK_NONBLOCK);
    struct error err;

    (void)what;
    if (peer < 0)
        return;
    host_channel_free(g->channel); /* the agent before this one */
    g->channel = NULL;
    if (host_channel_new(sim_loop_base(sim_host_loop(g->host)), &g->record.uuid, peer,
                         &owner, &g->channel, &err) < 0)
        log_error(&err, "channel");
}

static void
on_renewed(void *context)
{
    struct sim_guest *g = context;

    if (g->channel)
        host_channel_hello(g->channel);
}

static void
on_stale(void *context)
{
    struct sim_guest *g = context;

    if (g->channel)
        host_channel_stale(g->channel);
}

static int
open_channel(struct sim_guest *g, struct error *err)
{
    if (unix_listen(g->channel_path, SOCK_STREAM, 0600, &g->listener, err) < 0)
        return -1;
    g->listen_event = event_new(sim_loop_base(sim_host_loop(g->host)), g->listener,
                                EV_READ | EV_PERSIST, on_connection, g);
    if (!g->listen_event || event_add(g->listen_event, NULL) < 0)
        return error_set(err, ERROR_SYSTEM, "event loop");
    return 0;
}

/* ---- the machine ---- */

static int
provision(struct sim_guest *g, bool *ret_tpm, struct error *err)
{
    struct sim_provision p = { .folder = g->folder,
                               .record_path = g->record_path,
                               .record = &g->record,
                               .swtpm = g->order->swtpm,
                               .epoch = g->lease->epoch,
                               .no_tpm = g->order->no_tpm,
                               .no_secret = g->order->no_secret };

    if (sim_provision_run(g->host, &p, err) < 0)
        return -1;
    *ret_tpm = !g->order->no_tpm && sim_provision_has_tpm(&p);
    return 0;
}

static int
power_on(struct sim_guest *g, struct error *err)
{
    char uuid[VM_UUID_TEXT], state[PATH_ROOM];

    vm_uuid_print(&g->record.uuid, uuid);
    snprintf(state, sizeof state, "%s/%s", g->folder, uuid);
    return swtpm_run_start(g->order->swtpm, state, clock_monotonic_ms() + READY_MS,
                           &g->swtpm, err);
}

/* Those whose name an INI file can hold are fetched before anyone asks, and kept fresh.
 */
static void
add_audiences(const struct sim_order *order, struct buf *into)
{
    size_t room = CONF_LINE_MAX - strlen("audiences =");

    buf_add_text(into, "audiences =");
    for (size_t i = 0; i < order->n_audiences; i++) {
        size_t len = strlen(order->audiences[i]);

        if (strpbrk(order->audiences[i], ";#'\"") || len + 1 > room)
            continue;
        buf_printf(into, " %s", order->audiences[i]);
        room -= len + 1;
    }
    buf_add_text(into, "\n");
}

static int
configure_agent(struct sim_guest *g, struct error *err)
{
    CLEANUP(buf_clear) struct buf text = BUF(2048);

    buf_printf(&text,
               "[agent]\ntcti = %s\nchannel = unix:%s\nstate_dir = %s/disk\nrun_dir = "
               "%s/run\nworkloads = %s/workloads.conf\n",
               g->swtpm ? swtpm_run_tcti(g->swtpm) : "none", g->channel_path, g->folder,
               g->folder, g->folder);
    add_audiences(g->order, &text);
    if (!buf_ok(&text))
        return error_set(err, ERROR_INPUT, "configuration of the agent is too long");
    return file_replace(g->conf_path, text.data, text.len, 0600, err);
}

static void
agent_ended(void *context)
{
    struct sim_guest *g = context;
    struct error err;

    error_set(&err, ERROR_SYSTEM, "%s: virtid-agent ended by itself (status %d)",
              g->record.name, g->agent.ended ? g->agent.status : g->server.status);
    sim_loop_fail(sim_host_loop(g->host), &err);
}

static int
start_agent(struct sim_guest *g, struct error *err)
{
    const char *run[] = { g->order->agent, "run",          "--config",
                          g->conf_path,    "--ready-fd=3", NULL };
    const char *serve[] = {
        g->order->agent, "serve", g->order->serve, "--config", g->conf_path,
        "--ready-fd=3",  NULL
    };
    int stderr_fd = g->order->quiet ? -1 : STDERR_FILENO;
    char line[128];

    g->agent.on_end = g->server.on_end = agent_ended;
    g->agent.context = g->server.context = g;
    if (sim_child_start(&g->agent, sim_loop_base(sim_host_loop(g->host)), run, -1,
                        stderr_fd, line, sizeof line, err) < 0)
        return -1;
    if (!g->order->serve)
        return 0;
    if (sim_child_start(&g->server, sim_loop_base(sim_host_loop(g->host)), serve, -1,
                        stderr_fd, line, sizeof line, err) < 0)
        return -1;
    log_notice("event=serving name=%s address=%s", g->record.name, line);
    return 0;
}

static int
start(struct sim_guest *g, int64_t deadline_ms, struct error *err)
{
    char uuid[VM_UUID_TEXT];
    bool tpm = false;

    if (dir_make(g->folder, 0700, err) < 0 || find_record(g, err) < 0)
        return -1;
    if (sim_host_acquire(g->host, &g->record.uuid, deadline_ms, &g->lease, err) < 0)
        return -1;
    g->lease->renewed = on_renewed;
    g->lease->stale = on_stale;
    g->lease->offer = offer;
    g->lease->context = g;
    if (provision(g, &tpm, err) < 0)
        return -1;
    if ((tpm && power_on(g, err) < 0) || open_channel(g, err) < 0 ||
        configure_agent(g, err) < 0 || start_agent(g, err) < 0)
        return -1;
    vm_uuid_print(&g->record.uuid, uuid);
    log_notice("event=started name=%s uuid=%s epoch=%llu", g->record.name, uuid,
               (unsigned long long)g->lease->epoch);
    return 0;
}

int
sim_guest_start(struct sim_host *host, const char *folder,
                const struct sim_order *order, int64_t deadline_ms,
                struct sim_guest **ret, struct error *err)
{
    CLEANUP(sim_guest_end) struct sim_guest *g = calloc(1, sizeof *g);

    if (!g)
        return error_sys(err, ENOMEM, "VM");
    g->host = host;
    g->order = order;
    g->listener = -1;
    if ((size_t)snprintf(g->folder, sizeof g->folder, "%s", folder) >= sizeof g->folder)
        return error_set(err, ERROR_INPUT, "%s: more than %d characters", folder,
                         SIM_GUEST_FOLDER_MAX);
    snprintf(g->record_path, sizeof g->record_path, "%s/vm.json", g->folder);
    snprintf(g->conf_path, sizeof g->conf_path, "%s/agent.conf", g->folder);
    snprintf(g->channel_path, sizeof g->channel_path, "%s/channel", g->folder);
    if (start(g, deadline_ms, err) < 0)
        return error_wrap(err, "%s", g->record.name[0] ? g->record.name : folder);
    *ret = STEAL(g);
    return 0;
}

void
sim_guest_end(struct sim_guest *g)
{
    struct error err;

    if (!g)
        return;
    sim_child_stop(&g->server);
    sim_child_stop(&g->agent);
    if (g->swtpm &&
        swtpm_run_stop(STEAL(g->swtpm), clock_monotonic_ms() + STOP_MS, &err) < 0)
        log_warning("event=tpm-not-stopped name=%s %s", g->record.name, err.text);
    host_channel_free(g->channel);
    if (g->listen_event)
        event_free(g->listen_event);
    if (g->listener >= 0)
        (void)unlink(g->channel_path);
    fd_close(g->listener);
    if (g->lease) {
        g->lease->renewed = g->lease->stale = NULL;
        g->lease->offer = NULL;
    }
    free(g);
}

/* What the agent's exit status says (virtid-agent(8)). */
static enum error_code
code_of(int status)
{
    static const enum error_code codes[] = { ERROR_NONE,   ERROR_SYSTEM,  ERROR_INPUT,
                                             ERROR_DENIED, ERROR_MISSING, ERROR_BUSY };

    return status < (int)(sizeof codes / sizeof codes[0]) ? codes[status]
                                                          : ERROR_SYSTEM;
}

int
sim_guest_print_token(struct sim_guest *g, const char *audience, int64_t deadline_ms,
                      struct error *err)
{
    int64_t left = (deadline_ms - clock_monotonic_ms()) / 1000;
    char wait[32];
    const char *argv[] = { g->order->agent, "token",      "-a", audience,
                           "--config",      g->conf_path, wait, NULL };
    struct sim_child child = { 0 };
    int failed;

    snprintf(wait, sizeof wait, "--wait=%lld", (long long)(left > 1 ? left : 1));
    if (sim_child_start(&child, sim_loop_base(sim_host_loop(g->host)), argv,
                        STDOUT_FILENO, STDERR_FILENO, NULL, 0, err) < 0)
        return -1;
    /* It ends by itself: its own limit, and half a minute for its last try. */
    failed =
        sim_loop_wait(sim_host_loop(g->host), &child.ended, deadline_ms + 30000, err);
    sim_child_stop(&child);
    if (failed == 0 && child.status != 0)
        failed = error_set(err, code_of(child.status),
                           "%s: virtid-agent token -a %s ended with status %d",
                           g->record.name, audience, child.status);
    return failed;
}
