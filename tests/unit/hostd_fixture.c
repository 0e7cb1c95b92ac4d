#include "config.h"

#include "tests/unit/hostd_fixture.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include <cmocka.h>
#include <event2/event.h>

#include "plugin/missed.h"
#include "plugin/vms.h"

int
hostd_rig_make(void **state)
{
    static struct hostd_rig rig;
    struct vm_uuid uuid;
    struct error err;

    memset(&rig, 0, sizeof rig);
    strcpy(rig.dir, "/tmp/virtid-starting-XXXXXX");
    if (!mkdtemp(rig.dir) || vm_uuid_parse("6ba7b810-9dad-11d1-80b4-00c04fd430c8", &uuid, &err) < 0)
        return -1;
    rig.hostd.settings.state_dir = rig.hostd.settings.run_dir = rig.hostd.settings.strict_dir = rig.dir;
    rig.hostd.settings.hook_dir = rig.hostd.settings.libvirt_run_dir = rig.dir;
    rig.hostd.settings.priv_socket = "/nowhere"; /* the root half is away */
    rig.hostd.base = event_base_new();
    if (mailbox_new(rig.hostd.base, &rig.hostd.mailbox, &err) < 0 ||
        journal_open(rig.dir, &rig.hostd.journal, &err) < 0 || missed_open(rig.dir, &err) < 0 ||
        vms_add(&rig.hostd, &uuid, &rig.vm, &err) < 0)
        return -1;
    rig.vm->record.managed = true;
    strcpy(rig.vm->record.name, "web1");
    *state = &rig;
    return 0;
}

int
hostd_rig_end(void **state)
{
    struct hostd_rig *rig = *state;
    char command[80];

    while (rig->hostd.looks > 0) /* threads of its own, whose letters are still to come (made.h) */
        event_base_loop(rig->hostd.base, EVLOOP_ONCE);
    vms_free(&rig->hostd);
    journal_close(rig->hostd.journal);
    mailbox_free(rig->hostd.mailbox);
    event_base_free(rig->hostd.base);
    snprintf(command, sizeof command, "rm -rf '%s'", rig->dir);
    return system(command);
}

void
hostd_rig_running(struct hostd_rig *rig, uint64_t epoch)
{
    strcpy(rig->vm->record.run, "4@100");
    rig->vm->record.e = rig->vm->record.run_e = epoch;
    rig->vm->record.run_resumed = true;
    rig->vm->active = rig->vm->run_confirmed = true;
    rig->vm->id = 4;
}

void
hostd_rig_assert_end(const struct hostd_rig *rig, size_t at, enum lease_view view, uint64_t epoch)
{
    assert_true(rig->vm->record.n_ends > at);
    assert_int_equal(rig->vm->record.ends[at].view, view);
    assert_int_equal(rig->vm->record.ends[at].e, epoch);
}

void
hostd_rig_mark(const struct hostd_rig *rig, const char *lines)
{
    char path[200];
    FILE *file;

    snprintf(path, sizeof path, "%s/missed/6ba7b810-9dad-11d1-80b4-00c04fd430c8", rig->dir);
    file = fopen(path, "w");
    assert_non_null(file);
    assert_true(fputs(lines, file) >= 0 && fclose(file) == 0);
}

struct watch_report *
hostd_rig_seen(const struct hostd_rig *rig, bool active, int id)
{
    static const char xml[] =
        "<domain><name>web1</name><uuid>6ba7b810-9dad-11d1-80b4-00c04fd430c8</uuid></domain>";
    struct watch_report *report = calloc(1, sizeof *report);

    report->kind = WATCH_DOMAIN;
    report->uuid = rig->vm->record.uuid;
    strcpy(report->name, "web1");
    report->active = active;
    report->id = active ? id : -1;
    report->xml = strdup(xml);
    return report;
}
