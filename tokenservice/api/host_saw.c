#include "config.h"

#include "tokenservice/api/host_saw.h"

#include <stdio.h>
#include <string.h>
#include <time.h>

#include "lib/common/log.h"
#include "tokenservice/api/decision.h"

static bool
is_of_lease(const struct lease_record *lease, const char *host)
{
    return strcmp(lease->hol, host) == 0 || lease_epoch_of(lease, host) != 0;
}

void
host_saw_print_epoch(uint64_t epoch, char ret[static HOST_SAW_EPOCH_MAX])
{
    snprintf(ret, HOST_SAW_EPOCH_MAX, "epoch %llu", (unsigned long long)epoch);
}

int
host_saw_take(struct service *s, struct api_call *call, const struct lease_report_vm *vm,
              const struct lease_record *lease, uint64_t heard, struct store_seq *seq, struct error *err)
{
    struct decision d = { .uuid = &vm->uuid, .what = HOST_SAW };
    char words[LEASE_SAW_MAX + 1], epoch[HOST_SAW_EPOCH_MAX], uuid[VM_UUID_TEXT];

    if (vm->saw == 0 || vm->saw_seq <= heard)
        return 0;
    if (vm->saw_seq > seq->ended)
        seq->ended = vm->saw_seq;
    if (!is_of_lease(lease, call->host.name))
        return 0;
    lease_saw_print(vm->saw, words);
    host_saw_print_epoch(lease->ep, epoch);
    d.seen = words;
    d.why = epoch;
    vm_uuid_print(&vm->uuid, uuid);
    log_notice("event=" HOST_SAW " uuid=%s host=%s saw=%s", uuid, call->host.name, words);
    return decision_add(s, call, &d, err);
}

void
host_saw_step(const struct audit_record *record, json_t *steps)
{
    static const struct {
        enum lease_saw saw;
        const char *text;
    } said[] = {
        { SAW_SNAPSHOT, "libvirt reverted it to a snapshot" },
        { SAW_RESTORE, "its memory came from a save file" },
        { SAW_GENID, "its genid is a new one" },
    };
    time_t when = (time_t)(record->ms / 1000);
    char seen[300], at[32] = "";
    struct error err;
    unsigned saw = 0, n = 0;
    struct tm tm;
    size_t len;

    if (lease_saw_find(record->seen, &saw, &err) < 0 || !gmtime_r(&when, &tm))
        return;
    strftime(at, sizeof at, "%Y-%m-%d %H:%M:%S UTC", &tm);
    len = (size_t)snprintf(seen, sizeof seen, "%s told at %s", record->who, at);
    for (size_t i = 0; i < sizeof said / sizeof said[0]; i++) {
        if (saw & said[i].saw)
            len += (size_t)snprintf(seen + len, sizeof seen - len, "%s %s", n++ ? ";" : ":", said[i].text);
    }
    json_array_append_new(steps, json_pack("{s:s,s:s,s:s,s:s,s:s}", "step", "host saw", "state", "ok", "seen", seen,
                                           "expected", "", "repair", ""));
}
