#include "config.h"

#include "plugin/host_metrics.h"

#include <string.h>
#include <sys/statvfs.h>

#include "lib/common/clock.h"
#include "lib/common/metrics.h"
#include "plugin/hook_health.h"
#include "plugin/vms.h"

enum {
    PAGE_MAX = 65536 + VMS_MAX * 8 * (150 + 2 * NAME_DOMAIN_MAX), /* 8 lines of each VM; a name may be all escapes */
    CONNECTIONS_MAX = 16,
    PER_ADDRESS_MAX = 8,
    PER_SECOND_MAX = 10,
};

/* The HTTP worker asks, the main loop answers. */
struct scrape {
    struct hostd *hostd;
    struct http_reply *reply;
};

static void
add_host(struct metrics *m, const struct hostd *hostd)
{
    static const char *const hooks[] = { "ok", "unproven", "absent", "unusable", "late", "silent", "unknown" };

    metrics_flag(m, "virtid_hostd_joined", "1: this host has an identity in the trust domain.", hostd->identity != NULL);
    metrics_flag(m, "virtid_hostd_service_up", "1: the token service answers this host.", hostd->identity && hostd->service_up);
    metrics_flag(m, "virtid_hostd_libvirt_connected", "1: libvirtd answers this daemon.",
             libvirt_watch_connected(hostd->watch));
    metrics_begin(m, "virtid_hostd_hook_state", METRIC_GAUGE,
                  "1 at the one that is so: does libvirt call our hook (virtid host check says more)?");
    for (size_t i = 0; i < sizeof hooks / sizeof hooks[0]; i++)
        metrics_add(m, strcmp(hook_health_word(hostd), hooks[i]) == 0, "state", hooks[i], NULL);
    metrics_begin(m, "virtid_hostd_hook_answers_total", METRIC_COUNTER,
                  "Starts, migrations and restores of managed VMs, by what the hook was answered.");
    metrics_add(m, (int64_t)hostd->hook_answers[HOOK_GO], "answer", "go", NULL);
    metrics_add(m, (int64_t)hostd->hook_answers[HOOK_NO], "answer", "no", NULL);
    if (hostd->identity) {
        metrics_begin(m, "virtid_hostd_certificate_end_timestamp_seconds", METRIC_GAUGE,
                      "When this host's certificate ends, since 1970; it is renewed after half of its day.");
        metrics_add(m, hostd->identity->not_after, NULL);
    }
    if (hostd->has_clock) {
        metrics_begin(m, "virtid_hostd_clock_ahead_seconds", METRIC_GAUGE,
                      "How far the token service's clock is ahead of this host's; good to a second.");
        metrics_add_ms(m, hostd->clock_ahead_ms, NULL);
    }
}

static void
add_disk(struct metrics *m, const struct hostd *hostd)
{
    struct statvfs disk;

    metrics_begin(m, "virtid_hostd_journal_bad_files", METRIC_GAUGE,
                  "Files of the journal that could not be read and were put aside.");
    metrics_add(m, hostd->journal_bad, NULL);
    if (statvfs(hostd->settings.state_dir, &disk) < 0)
        return;
    metrics_begin(m, "virtid_hostd_state_free_bytes", METRIC_GAUGE,
                  "What the daemon may still write where its journal is.");
    metrics_add(m, (int64_t)disk.f_bavail * (int64_t)disk.f_frsize, NULL);
}

/* ---- one line for each VM ---- */

/* A number of one VM; false: it has none of this kind now. */
typedef bool vm_number(const struct vm *vm, int64_t *ret);

static bool
is_running(const struct vm *vm, int64_t *ret)
{
    *ret = vm->active;
    return true;
}

static bool
lease_left_ms(const struct vm *vm, int64_t *ret)
{
    int64_t now = clock_monotonic_ms();
    const char *reason;

    *ret = vm_may_sign(vm, now, &reason) ? vm->lease_until_ms - now : 0;
    return vm_needs_lease(vm);
}

static bool
runs_without_right(const struct vm *vm, int64_t *ret)
{
    *ret = vm->answer == LEASE_FOREIGN || vm->answer == LEASE_RETIRED;
    return vm->active && !vm_is_observed(vm);
}

static bool
channel_ready(const struct vm *vm, int64_t *ret)
{
    struct host_channel_status status = { .state = HOST_CHANNEL_GONE };

    if (vm->channel)
        host_channel_status(vm->channel, &status);
    *ret = status.state == HOST_CHANNEL_READY;
    return vm->active && !vm_is_observed(vm);
}

static bool
signed_ms(const struct vm *vm, int64_t *ret)
{
    struct host_channel_status status = { .signed_ms = 0 };

    if (vm->channel)
        host_channel_status(vm->channel, &status);
    *ret = status.signed_ms;
    return *ret != 0;
}

static bool
token_ms(const struct vm *vm, int64_t *ret)
{
    struct host_channel_status status = { .token_ms = 0 };

    if (vm->channel)
        host_channel_status(vm->channel, &status);
    *ret = status.token_ms;
    return *ret != 0;
}

/* As the agent says of itself; before it has said anything there is no line. */
static bool
proof_fails(const struct vm *vm, int64_t *ret)
{
    struct host_channel_status status = { .word = "" };

    if (vm->channel)
        host_channel_status(vm->channel, &status);
    *ret = strcmp(status.word, "token") != 0;
    return status.word[0] != '\0';
}

static const struct {
    const char *name, *help;
    vm_number *number;
    bool is_ms;
} NUMBERS[] = {
    { "virtid_vm_running", "1: the domain runs here.", is_running, false },
    { "virtid_vm_lease_remaining_seconds",
      "How long this host may still sign for a VM that needs its lease; 0: it may not.", lease_left_ms, true },
    { "virtid_vm_without_right", "1: it runs here, and another host has its lease or its identity was retired.",
      runs_without_right, false },
    { "virtid_vm_channel_ready", "1: the agent in a running VM has answered this host.", channel_ready, false },
    { "virtid_vm_proof_timestamp_seconds", "When this host last signed a proof of the VM, since 1970.", signed_ms, true },
    { "virtid_vm_token_timestamp_seconds", "When the agent in the VM last said that it has a new token, since 1970.",
      token_ms, true },
    { "virtid_vm_proof_failing", "1: the agent in the VM says that its last proof was of no use.", proof_fails, false },
};

static void
add_vms(struct metrics *m, const struct hostd *hostd)
{
    char uuid[VM_UUID_TEXT];

    metrics_begin(m, "virtid_vm_info", METRIC_GAUGE, "Each managed VM: its mode, and its account as the service said last.");
    for (const struct vm *vm = hostd->vms; vm; vm = vm->next) {
        if (!vm->record.managed)
            continue;
        vm_uuid_print(&vm->record.uuid, uuid);
        metrics_add(m, 1, "domain", vm->record.name, "uuid", uuid, "mode", lease_mode_name(vm_mode(vm)), "account",
                    vm->record.account[0] ? vm->record.account : "none", NULL);
    }
    for (size_t i = 0; i < sizeof NUMBERS / sizeof NUMBERS[0]; i++) {
        metrics_begin(m, NUMBERS[i].name, METRIC_GAUGE, NUMBERS[i].help);
        for (const struct vm *vm = hostd->vms; vm; vm = vm->next) {
            int64_t value;

            if (!vm->record.managed || !NUMBERS[i].number(vm, &value))
                continue;
            vm_uuid_print(&vm->record.uuid, uuid);
            (NUMBERS[i].is_ms ? metrics_add_ms : metrics_add)(m, value, "domain", vm->record.name, "uuid", uuid, NULL);
        }
    }
}

void
host_metrics_write(const struct hostd *hostd, struct buf *into)
{
    struct metrics m = { .into = into };

    metrics_add_program(&m, "virtid-hostd", PACKAGE_VERSION, hostd->started_ms);
    add_host(&m, hostd);
    add_disk(&m, hostd);
    add_vms(&m, hostd);
}

static void
write_page(void *context)
{
    struct scrape *scrape = context;

    host_metrics_write(scrape->hostd, &scrape->reply->body);
}

static void
answer_scrape(void *context, const struct http_request *request, struct http_reply *reply)
{
    struct scrape scrape = { context, reply };

    if (strcmp(request->message->path, "/metrics") != 0) {
        reply->status = 404;
        return;
    }
    if (strcmp(request->message->method, "GET") != 0) {
        reply->status = 405;
        return;
    }
    mailbox_call(scrape.hostd->mailbox, write_page, &scrape);
    reply->content_type = METRICS_TYPE;
    reply->status = 200;
}

int
host_metrics_open(struct hostd *hostd, struct error *err)
{
    struct http_listener listener = { .body_max = 1024,
                                      .reply_max = PAGE_MAX,
                                      .connections_max = CONNECTIONS_MAX,
                                      .per_address_max = PER_ADDRESS_MAX,
                                      .requests_per_second_per_address = PER_SECOND_MAX,
                                      .handler = answer_scrape,
                                      .context = hostd };

    hostd->started_ms = clock_realtime_ms();
    if (!hostd->settings.metrics || !hostd->settings.metrics[0])
        return 0;
    if (http_metrics_listen(hostd->settings.metrics, &listener.fd, err) < 0)
        return -1;
    return http_server_listen(hostd->http, &listener, err);
}
