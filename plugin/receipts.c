#include "config.h"

#include "plugin/receipts.h"

#include <stdlib.h>
#include <string.h>

#include "lib/common/log.h"
#include "plugin/lease.h"
#include "plugin/vms.h"

/* The job comes first, so that the thread's pointer is ours. */
struct showing {
    struct enroll_job job;
    struct hostd *hostd;
    struct enroll_receipts receipts;
    struct vm *vms[ENROLL_RECEIPTS_MAX];
};

bool
receipts_take(struct vm *vm, const struct lease_result *result)
{
    struct vm_record *r = &vm->record;

    vm->show = result->show;
    if (result->receipt_len == 0 || result->ver == 0)
        return false;
    memcpy(r->receipt, result->receipt, result->receipt_len);
    r->receipt_len = result->receipt_len;
    r->receipt_ver = result->ver;
    r->receipt_row_ver = result->row_ver;
    return true;
}

/* Not one that this service made: another one's, or its keys are new. It would be asked for again and again. */
static void
forget(struct vm *vm)
{
    struct vm_record *r = &vm->record;

    log_warning("event=receipt-refused vm=%s the service does not take what it signed for this VM before", r->name);
    memset(r->receipt, 0, sizeof r->receipt);
    r->receipt_len = 0;
    r->receipt_ver = r->receipt_row_ver = 0;
    vm_save(vm);
}

static void
shown(void *context)
{
    struct showing *s = context;
    struct hostd *hostd = s->hostd;

    hostd->showing = false;
    for (size_t i = 0; i < s->receipts.n && s->job.failed == 0; i++) {
        struct vm *vm = s->vms[i];

        vm->show = false;
        if (s->receipts.of[i].refused)
            forget(vm);
        else
            log_notice("event=receipt-shown vm=%s epoch=%llu", vm->record.name, (unsigned long long)vm->record.e);
        lease_report_soon(vm);
    }
    if (s->job.failed < 0)
        log_error(&s->job.error, "what the service lost is not shown to it yet");
    else
        receipts_show(hostd);
    free(s);
}

static void
thread_has_shown(struct enroll_job *take_job)
{
    struct showing *s = (struct showing *)take_job;

    mailbox_post(s->hostd->mailbox, shown, s);
}

void
receipts_show(struct hostd *hostd)
{
    struct showing *s;
    size_t room = ENROLL_RECEIPTS_ROOM;

    if (!hostd->enroll || hostd->showing)
        return;
    s = calloc(1, sizeof *s);
    if (!s) /* with the next report */
        return;
    for (struct vm *vm = hostd->vms; vm && s->receipts.n < ENROLL_RECEIPTS_MAX; vm = vm->next) {
        const struct vm_record *r = &vm->record;

        if (!vm->show || r->receipt_len == 0 || r->receipt_len > room)
            continue;
        room -= r->receipt_len;
        memcpy(s->receipts.of[s->receipts.n].bytes, r->receipt, r->receipt_len);
        s->receipts.of[s->receipts.n].len = r->receipt_len;
        s->vms[s->receipts.n++] = vm;
    }
    if (s->receipts.n == 0) {
        free(s);
        return;
    }
    hostd->showing = true;
    s->hostd = hostd;
    s->job.kind = ENROLL_JOB_RECEIPTS;
    s->job.receipts = &s->receipts;
    s->job.done = thread_has_shown;
    enroll_thread_submit(hostd->enroll, &s->job);
}
