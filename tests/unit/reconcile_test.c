#include "config.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>
#include <event2/event.h>

#include "plugin/missed.h"
#include "plugin/no_channel.h"
#include "plugin/reconcile.h"
#include "plugin/vms.h"

#define UUID "6ba7b810-9dad-11d1-80b4-00c04fd430c8"
#define MARKER "<metadata><v:identity xmlns:v='urn:virtid:domain:1'/></metadata>"
#define CHANNEL "<channel type='unix'><target type='virtio' name='org.virtid.0'/></channel>"
#define TPM "<tpm model='tpm-crb'><backend type='emulator' version='2.0'/></tpm>"

/* A daemon without threads, sockets and token service: libvirt's words go in, decisions come out. */
struct rig {
    struct hostd hostd;
    struct vm_uuid uuid;
    char dir[40];
};

static int
make_rig(void **state)
{
    static struct rig rig;
    struct error err;

    memset(&rig, 0, sizeof rig);
    strcpy(rig.dir, "/tmp/virtid-reconcile-XXXXXX");
    if (!mkdtemp(rig.dir) || vm_uuid_parse(UUID, &rig.uuid, &err) < 0)
        return -1;
    rig.hostd.settings.state_dir = rig.hostd.settings.run_dir = rig.hostd.settings.strict_dir = rig.dir;
    rig.hostd.settings.hook_dir = rig.hostd.settings.libvirt_run_dir = rig.dir;
    rig.hostd.settings.priv_socket = "/nowhere"; /* the root half is away */
    rig.hostd.settings.mode = MODE_LOOSE;
    rig.hostd.base = event_base_new();
    if (mailbox_new(rig.hostd.base, &rig.hostd.mailbox, &err) < 0 ||
        journal_open(rig.dir, &rig.hostd.journal, &err) < 0 || missed_open(rig.dir, &err) < 0)
        return -1;
    *state = &rig;
    return 0;
}

static int
end_rig(void **state)
{
    struct rig *rig = *state;
    char command[80];

    vms_free(&rig->hostd);
    journal_close(rig->hostd.journal);
    mailbox_free(rig->hostd.mailbox);
    event_base_free(rig->hostd.base);
    snprintf(command, sizeof command, "rm -rf '%s'", rig->dir);
    return system(command);
}

static char *
xml(const char *metadata, const char *devices)
{
    char text[2000];

    snprintf(text, sizeof text, "<domain><name>web1</name><uuid>" UUID "</uuid>%s<devices>%s</devices></domain>",
             metadata, devices);
    return strdup(text);
}

static void
say(struct rig *rig, enum watch_kind kind)
{
    struct watch_report *report = calloc(1, sizeof *report);

    report->kind = kind;
    report->uuid = rig->uuid;
    reconcile_take(&rig->hostd, report);
}

/* libvirt shows it; with `next`: it runs, and that is what it will be when started again. */
static struct vm *
show(struct rig *rig, bool active, char *take_xml, char *take_next)
{
    struct watch_report *report = calloc(1, sizeof *report);

    report->kind = WATCH_DOMAIN;
    report->uuid = rig->uuid;
    strcpy(report->name, "web1");
    report->active = active;
    report->persistent = true;
    report->id = active ? 5 : -1;
    report->xml = take_xml;
    report->next_xml = take_next;
    reconcile_take(&rig->hostd, report);
    return vms_find(&rig->hostd, &rig->uuid);
}

static size_t
n_listed(const struct rig *rig)
{
    CLEANUP(json_decref) json_t *page = no_channel_page(&rig->hostd, NULL, 10);

    return json_array_size(json_object_get(page, "domains"));
}

static void
with_manage_all_a_channel_is_enough(void **state)
{
    struct rig *rig = *state;

    assert_null(show(rig, false, xml("", CHANNEL), NULL));
    rig->hostd.settings.manage_all = true;
    assert_true(show(rig, false, xml("", CHANNEL), NULL)->record.managed);
}

static void
with_manage_all_a_domain_without_channel_is_listed_and_no_more(void **state)
{
    struct rig *rig = *state;

    assert_null(show(rig, false, xml("", ""), NULL));
    assert_int_equal(n_listed(rig), 0); /* manage=enabled: it is nobody's business */
    rig->hostd.settings.manage_all = true;
    assert_null(show(rig, true, xml("", TPM), NULL));
    assert_int_equal(n_listed(rig), 1);
    say(rig, WATCH_SWEEP_BEGINS);
    show(rig, false, xml("", ""), NULL);
    say(rig, WATCH_SWEEP_ENDS);
    assert_int_equal(n_listed(rig), 1);
    assert_non_null(show(rig, false, xml("", CHANNEL), NULL)); /* it was added */
    assert_int_equal(n_listed(rig), 0);
}

static void
a_listed_domain_that_is_gone_is_not_listed(void **state)
{
    struct rig *rig = *state;

    rig->hostd.settings.manage_all = true;
    show(rig, false, xml("", ""), NULL);
    say(rig, WATCH_GONE);
    assert_int_equal(n_listed(rig), 0);
    show(rig, false, xml("", ""), NULL);
    say(rig, WATCH_SWEEP_BEGINS);
    say(rig, WATCH_SWEEP_ENDS);
    assert_int_equal(n_listed(rig), 0);
}

static void
a_running_domain_that_is_enabled_waits_for_its_restart(void **state)
{
    struct rig *rig = *state;
    struct vm *vm;

    assert_null(show(rig, true, xml("", ""), xml("", "")));
    vm = show(rig, true, xml("", ""), xml(MARKER, CHANNEL TPM));
    assert_non_null(vm);
    assert_true(vm->record.managed && vm->restart_pending && vm->active);
    vm = show(rig, true, xml(MARKER, CHANNEL TPM), NULL); /* started again */
    assert_false(vm->restart_pending);
    vm = show(rig, true, xml("", CHANNEL TPM), xml(MARKER, CHANNEL TPM)); /* the marker alone changes no device */
    assert_false(vm->restart_pending);
}

static void
an_empty_list_of_domains_forgets_nobody(void **state)
{
    struct rig *rig = *state;
    struct vm *vm = show(rig, true, xml(MARKER, CHANNEL), NULL);

    vm->record.steps[STEP_ACCOUNT].state = STEP_DONE;
    vm->record.e = 7;
    say(rig, WATCH_SWEEP_BEGINS);
    say(rig, WATCH_SWEEP_ENDS);
    assert_ptr_equal(vms_find(&rig->hostd, &rig->uuid), vm);
    assert_true(vm->record.managed && vm_is_enrolled(vm));
    assert_string_equal(vm_state_word(vm), "absent");
    assert_int_equal(vm->record.ends[0].view, VIEW_GU); /* nobody saw it end */
    vm = show(rig, false, xml(MARKER, CHANNEL), NULL);
    assert_true(vm_is_enrolled(vm) && strcmp(vm_state_word(vm), "off") == 0);
}

/* libvirt's reason is all that tells of a plain save: the file may lie anywhere. */
static void
one_that_was_saved_before_we_knew_it_has_run(void **state)
{
    struct rig *rig = *state;
    struct watch_report *report = calloc(1, sizeof *report);
    struct vm *vm;

    report->kind = WATCH_DOMAIN;
    report->uuid = rig->uuid;
    strcpy(report->name, "web1");
    report->persistent = report->left_saved = true;
    report->id = -1;
    report->xml = xml(MARKER, CHANNEL);
    reconcile_take(&rig->hostd, report);
    vm = vms_find(&rig->hostd, &rig->uuid);
    assert_true(vm->record.ran && !vm->record.clean);
    assert_memory_equal(&vm->saved, &vm->record, sizeof vm->saved);
}

static void
undefined_and_defined_a_hundred_times_it_is_the_same(void **state)
{
    struct rig *rig = *state;
    struct vm *vm = show(rig, false, xml(MARKER, CHANNEL), NULL);

    vm->record.steps[STEP_ACCOUNT].state = STEP_DONE;
    strcpy(vm->record.account, "ok"); /* it has proved itself; what never did is made anew */
    for (int i = 0; i < 100; i++) {
        say(rig, WATCH_GONE);
        assert_string_equal(vm_state_word(vm), "absent");
        assert_ptr_equal(show(rig, false, xml(MARKER, CHANNEL), NULL), vm);
        assert_true(vm_is_enrolled(vm));
    }
    assert_int_equal(rig->hostd.n_vms, 1);
    assert_int_equal(vm->record.n_ends, 0);
}

/* `virsh domrename`: to libvirt's listeners the old one goes, and another comes. */
static void
a_domain_that_is_renamed_is_the_same(void **state)
{
    struct rig *rig = *state;
    struct vm *vm = show(rig, false, xml(MARKER, CHANNEL), NULL);
    struct watch_report *report = calloc(1, sizeof *report);

    vm->record.steps[STEP_ACCOUNT].state = STEP_DONE;
    strcpy(vm->record.account, "ok");
    say(rig, WATCH_GONE);
    report->kind = WATCH_DOMAIN;
    report->uuid = rig->uuid;
    strcpy(report->name, "shop");
    report->persistent = true;
    report->id = -1;
    report->xml = xml(MARKER, CHANNEL);
    reconcile_take(&rig->hostd, report);
    assert_ptr_equal(vms_find(&rig->hostd, &rig->uuid), vm);
    assert_int_equal(rig->hostd.n_vms, 1);
    assert_string_equal(vm->record.name, "shop");
    assert_true(vm->record.managed && vm_is_enrolled(vm));
}

static void
a_running_domain_that_is_undefined_goes_on(void **state)
{
    struct rig *rig = *state;
    struct vm *vm = show(rig, true, xml(MARKER, CHANNEL), NULL);
    struct watch_report *event = calloc(1, sizeof *event);

    vm->record.e = vm->record.run_e = 7;
    event->kind = WATCH_EVENT;
    event->event = WATCH_OTHER; /* Undefined Removed, of a domain that runs on as a transient one */
    event->uuid = rig->uuid;
    reconcile_take(&rig->hostd, event);
    vm = show(rig, true, xml(MARKER, CHANNEL), NULL);
    assert_true(vm->active);
    assert_int_equal(vm->record.e, 7);
    assert_int_equal(vm->record.n_ends, 0);
}

static void
nothing_in_the_metadata_but_the_marker_counts(void **state)
{
    static const char *const others[] = {
        "",
        "<metadata><v:identity xmlns:v='urn:virtid:domain:1' mode='strict' owner='eve' managed='no'>text</v:identity></metadata>",
        "<metadata><v:identity xmlns:v='urn:virtid:domain:2'/></metadata>",
        "<metadata><v:mode xmlns:v='urn:virtid:domain:1'>strict</v:mode><o:x xmlns:o='urn:other'/></metadata>",
    };
    struct rig *rig = *state;
    struct vm *vm = show(rig, false, xml(MARKER, CHANNEL), NULL);

    vm->record.steps[STEP_ACCOUNT].state = STEP_DONE;
    for (size_t i = 0; i < sizeof others / sizeof others[0]; i++) {
        struct vm_record before = vm->record;

        assert_ptr_equal(show(rig, false, xml(others[i], CHANNEL), NULL), vm);
        assert_memory_equal(&before, &vm->record, sizeof before);
        assert_int_equal(vm_mode(vm), MODE_LOOSE);
    }
}

#define IN_RIG(test) cmocka_unit_test_setup_teardown(test, make_rig, end_rig)

int
main(void)
{
    const struct CMUnitTest tests[] = {
        IN_RIG(with_manage_all_a_channel_is_enough),
        IN_RIG(with_manage_all_a_domain_without_channel_is_listed_and_no_more),
        IN_RIG(a_listed_domain_that_is_gone_is_not_listed),
        IN_RIG(a_running_domain_that_is_enabled_waits_for_its_restart),
        IN_RIG(an_empty_list_of_domains_forgets_nobody),
        IN_RIG(one_that_was_saved_before_we_knew_it_has_run),
        IN_RIG(undefined_and_defined_a_hundred_times_it_is_the_same),
        IN_RIG(a_domain_that_is_renamed_is_the_same),
        IN_RIG(a_running_domain_that_is_undefined_goes_on),
        IN_RIG(nothing_in_the_metadata_but_the_marker_counts),
    };

    return cmocka_run_group_tests_name("reconcile", tests, NULL, NULL);
}
