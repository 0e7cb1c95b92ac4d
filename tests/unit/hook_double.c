#include "config.h"

#include "tests/unit/hook_double.h"

#include <stdlib.h>
#include <string.h>

#include "plugin/reconcile.h"
#include "plugin/starting.h"

struct hook_answers hook_answers;

/* In their places: what a hook is answered. */
void __wrap_hook_call_answer(struct hook_call *call, enum hook_verdict verdict, const char *reason);
void __wrap_hook_call_wait(struct hook_call *call, unsigned seconds);

void
__wrap_hook_call_answer(struct hook_call *call, enum hook_verdict verdict, const char *reason)
{
    (void)call;
    (void)reason;
    hook_answers.go += verdict == HOOK_GO;
    hook_answers.no += verdict == HOOK_NO;
}

void
__wrap_hook_call_wait(struct hook_call *call, unsigned seconds)
{
    (void)call;
    (void)seconds;
}

void
hook_double_call(struct hostd_rig *rig, const char *op)
{
    struct hook_msg msg = { .name = "web1", .uuid = "6ba7b810-9dad-11d1-80b4-00c04fd430c8" };

    strcpy(msg.op, op);
    starting_begin(&rig->hostd, NULL, &msg);
}

void
hook_double_event(struct hostd_rig *rig, enum watch_event event)
{
    struct watch_report *report = calloc(1, sizeof *report);

    report->kind = WATCH_EVENT;
    report->event = event;
    report->uuid = rig->vm->record.uuid;
    reconcile_take(&rig->hostd, report);
}
