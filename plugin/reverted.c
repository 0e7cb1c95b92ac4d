#include "config.h"

#include "plugin/reverted.h"

#include <event2/event.h>
#include <string.h>

#include "lib/common/clock.h"
#include "lib/common/log.h"
#include "plugin/vms.h"

enum { MORE_MS = 3000 /* hook, events and genid of one revert are told together */ };

void
reverted_note(struct vm *vm, enum lease_saw saw)
{
    char words[LEASE_SAW_MAX + 1];

    vm->saw_ms = clock_monotonic_ms();
    if (vm->record.saw & saw)
        return;
    vm->record.saw |= saw;
    vm->record.saw_seq = 0; /* what is added while it is told is told again */
    vm_save(vm);
    lease_saw_print(saw, words);
    log_notice("event=put-back vm=%s saw=%s", vm->record.name, words);
}

void
reverted_see_genid(struct vm *vm, const struct domain *live, const struct domain *next)
{
    char *last = vm->record.genid;

    if (strcmp(last, live->genid) == 0)
        return;
    memcpy(last, live->genid, sizeof vm->record.genid);
    /* A guest that came here brought the one that it had there. */
    if (live->genid[0] && next && next->genid[0] && strcmp(live->genid, next->genid) != 0 && !vm->record.run_k &&
        !vm->incoming)
        reverted_note(vm, SAW_GENID);
    else
        vm_save(vm);
}

unsigned
reverted_tell(struct vm *vm, int64_t now_ms)
{
    struct error err;

    if (vm->record.saw == 0 || now_ms - vm->saw_ms < MORE_MS)
        return 0;
    if (vm->record.saw_seq != 0)
        return vm->record.saw;
    /* Not before: what acknowledges a later end would acknowledge this, which was not told yet. */
    if (journal_next_seq(vm->hostd->journal, &vm->record.saw_seq, &err) < 0) {
        log_error(&err, "ending");
        vm->hostd->journal_failed = true;
        event_base_loopbreak(vm->hostd->base);
        return 0;
    }
    vm_save(vm);
    return vm->record.saw;
}

bool
reverted_acknowledged(struct vm *vm, uint64_t acked_seq)
{
    if (vm->record.saw_seq == 0 || vm->record.saw_seq > acked_seq)
        return false;
    vm->record.saw = 0;
    vm->record.saw_seq = 0;
    return true;
}
