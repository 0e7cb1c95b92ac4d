#include "config.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <unistd.h>

#include <cmocka.h>
#include <event2/event.h>
#include <event2/thread.h>

#include "lib/common/clock.h"
#include "lib/common/fdio.h"
#include "plugin/made.h"
#include "plugin/missed.h"
#include "plugin/provision_steps.h"
#include "plugin/reconcile.h"
#include "plugin/vms.h"
#include "tests/unit/false_root_half.h"

#define UUID "6ba7b810-9dad-11d1-80b4-00c04fd430c8"

enum { LIMIT_MS = 10000 };

/* A daemon with a root half, and no service; libvirt's words go in. */
static struct hostd hostd;
static struct vm_uuid uuid;

static int
open_hostd(void)
{
    struct error err;

    memset(&hostd, 0, sizeof hostd);
    hostd.settings.state_dir = hostd.settings.run_dir = hostd.settings.strict_dir = root.dir;
    hostd.settings.hook_dir = hostd.settings.libvirt_run_dir = root.dir;
    hostd.settings.priv_socket = root.socket;
    hostd.settings.mode = MODE_LOOSE;
    hostd.base = event_base_new();
    return mailbox_new(hostd.base, &hostd.mailbox, &err) < 0 || journal_open(root.dir, &hostd.journal, &err) < 0 ||
                   missed_open(root.dir, &err) < 0 || reconcile_load(&hostd, &err) < 0
               ? -1
               : 0;
}

static void
close_hostd(void)
{
    mailbox_close(hostd.mailbox);
    vms_free(&hostd);
    journal_close(hostd.journal);
    mailbox_free(hostd.mailbox);
    event_base_free(hostd.base);
}

static void
start_root_half(void)
{
    struct error err;

    assert_int_equal(unix_listen(root.socket, SOCK_SEQPACKET, 0600, &root.listener, &err), 0);
    assert_int_equal(pthread_create(&root.thread, NULL, root_half, NULL), 0);
}

static int
set_up(void **state)
{
    struct error err;

    (void)state;
    evthread_use_pthreads();
    root = (struct root_half){ .held = -1, .service = -1, .listener = -1 };
    strcpy(root.dir, "/tmp/virtid-made-XXXXXX");
    if (!mkdtemp(root.dir) || pipe(root.stop) < 0 || vm_uuid_parse(UUID, &uuid, &err) < 0)
        return -1;
    snprintf(root.socket, sizeof root.socket, "%s/priv", root.dir);
    snprintf(root.placed, sizeof root.placed, "%s/tpm2-00.permall", root.dir);
    return open_hostd();
}

static int
tear_down(void **state)
{
    char command[100];

    (void)state;
    close_hostd();
    fd_close(root.stop[1]);
    if (root.listener >= 0)
        pthread_join(root.thread, NULL);
    fd_close(root.stop[0]);
    fd_close(root.listener);
    snprintf(command, sizeof command, "rm -rf '%s'", root.dir);
    return system(command);
}

/* libvirt shows it, off, with that disk. */
static struct vm *
show(const char *disk)
{
    struct watch_report *report = calloc(1, sizeof *report);
    char text[800];

    snprintf(text, sizeof text,
             "<domain><name>web1</name><uuid>" UUID "</uuid>"
             "<metadata><v:identity xmlns:v='urn:virtid:domain:1'/></metadata><devices>"
             "<disk type='file' device='disk'><driver name='qemu' type='raw'/><source file='%s'/><target dev='vda'/></disk>"
             "<channel type='unix'><target type='virtio' name='org.virtid.0'/></channel>"
             "<tpm model='tpm-crb'><backend type='emulator' version='2.0'/></tpm></devices></domain>",
             disk);
    report->kind = WATCH_DOMAIN;
    report->uuid = uuid;
    strcpy(report->name, "web1");
    report->persistent = true;
    report->id = -1;
    report->xml = strdup(text);
    reconcile_take(&hostd, report);
    return vms_find(&hostd, &uuid);
}

static void
say(enum watch_kind kind)
{
    struct watch_report *report = calloc(1, sizeof *report);

    report->kind = kind;
    report->uuid = uuid;
    reconcile_take(&hostd, report);
}

static void
put_tpm(void)
{
    struct error err;

    assert_int_equal(file_replace(root.placed, "x", 1, 0600, &err), 0);
}

/* Everything is made and told, and in the journal. */
static struct vm *
provisioned(void)
{
    struct vm *vm = show("/images/a.raw");
    struct vm_record *r = &vm->record;

    for (int i = 0; i < STEP_COUNT; i++)
        r->steps[i].state = STEP_DONE;
    r->ek_len = 5;
    r->has_x0 = r->has_point = true;
    r->disk = provision_disk_number(&vm->domain);
    strcpy(r->account, "pending");
    assert_int_not_equal(r->disk, 0);
    put_tpm();
    vm_save(vm);
    return vm;
}

/* The daemon begins again, over the same journal. */
static void
restart(void)
{
    close_hostd();
    assert_int_equal(open_hostd(), 0);
}

static void
wait_for_looks(void)
{
    int64_t until = clock_monotonic_ms() + LIMIT_MS;

    while (hostd.looks > 0 && clock_monotonic_ms() < until)
        event_base_loop(hostd.base, EVLOOP_ONCE);
    assert_int_equal(hostd.looks, 0);
}

static bool
is_made(const struct vm *vm)
{
    return vm->record.ek_len == 5 && vm->record.has_x0 && vm->record.has_point && vm_is_enrolled(vm);
}

static void
what_is_still_there_stays_when_the_daemon_begins_again(void **state)
{
    struct vm *vm;

    (void)state;
    provisioned();
    start_root_half();
    restart();
    vm = show("/images/a.raw");
    assert_true(vm->in_doubt && vm->looking);
    wait_for_looks();
    assert_true(is_made(vm) && !vm->in_doubt);
}

static void
a_vm_that_was_undefined_and_defined_while_the_daemon_was_down_is_made_again(void **state)
{
    struct vm *vm;

    (void)state;
    provisioned();
    start_root_half();
    close_hostd();
    assert_int_equal(unlink(root.placed), 0);
    assert_int_equal(open_hostd(), 0);
    vm = show("/images/a.raw");
    wait_for_looks();
    assert_int_equal(vm->record.ek_len, 0);
    assert_false(vm->record.has_x0 || vm->record.has_point || vm->record.disk || vm_is_enrolled(vm));
    for (int i = STEP_VTPM; i < STEP_COUNT; i++)
        assert_int_equal(vm->record.steps[i].state, STEP_OPEN);
    assert_true(vm->record.managed);
    assert_memory_equal(&vm->saved, &vm->record, sizeof vm->saved); /* and the journal knows */
}

static void
the_same_while_the_connection_to_libvirt_was_down(void **state)
{
    struct vm *vm = provisioned();

    (void)state;
    start_root_half();
    say(WATCH_LOST);
    assert_int_equal(unlink(root.placed), 0);
    show("/images/a.raw");
    wait_for_looks();
    assert_false(is_made(vm));
}

static void
one_that_proved_itself_is_not_asked_about(void **state)
{
    struct vm *vm = provisioned();

    (void)state;
    strcpy(vm->record.account, "ok");
    vm_save(vm);
    start_root_half();
    close_hostd();
    assert_int_equal(unlink(root.placed), 0);
    assert_int_equal(open_hostd(), 0);
    vm = show("/images/b.raw");
    assert_false(vm->in_doubt || vm->looking);
    assert_true(is_made(vm));
}

static struct vm *
proved(void)
{
    struct vm *vm = provisioned();

    strcpy(vm->record.account, "ok");
    vm->record.ran = true;
    vm_save(vm);
    start_root_half();
    return vm;
}

/* As the hook's `prepare` does. */
static void
is_to_start(struct vm *vm)
{
    made_doubt_tpm(vm);
    (void)made_look(vm);
    wait_for_looks();
}

static void
one_that_proved_itself_and_lost_its_tpm_gets_a_new_one_when_it_starts(void **state)
{
    struct vm *vm = proved();

    (void)state;
    is_to_start(vm);
    assert_true(is_made(vm) && !vm->in_doubt && !made_tpm_anew(vm));
    assert_int_equal(unlink(root.placed), 0);
    is_to_start(vm);
    assert_true(made_tpm_anew(vm));
    assert_int_equal(vm->record.steps[STEP_VTPM].state, STEP_OPEN);
    assert_int_equal(vm->record.steps[STEP_PLACE].state, STEP_OPEN);
    assert_int_equal(vm->record.steps[STEP_ACCOUNT].state, STEP_OPEN);
    assert_int_equal(vm->record.steps[STEP_INJECT].state, STEP_DONE); /* its disk stays as it is */
    assert_int_equal(vm->record.ek_len, 0);
    assert_false(vm->record.has_x0 || vm->record.has_point);
    assert_string_equal(vm->record.account, "ok");
    assert_memory_equal(&vm->saved, &vm->record, sizeof vm->saved);
}

/* The service's answer may not have come when it starts again. */
static void
so_does_one_of_which_nobody_has_told_us_that_it_proved_itself(void **state)
{
    struct vm *vm = proved();

    (void)state;
    strcpy(vm->record.account, "pending");
    is_to_start(vm);
    assert_true(is_made(vm) && !made_tpm_anew(vm));
    assert_int_equal(unlink(root.placed), 0);
    is_to_start(vm);
    assert_true(made_tpm_anew(vm));
    assert_int_equal(vm->record.steps[STEP_VTPM].state, STEP_OPEN);
    assert_int_equal(vm->record.ek_len, 0);
}

static void
where_a_memory_comes_or_the_tpm_is_not_ours_to_make_it_is_not_asked_about(void **state)
{
    struct vm *vm = proved();

    (void)state;
    assert_int_equal(unlink(root.placed), 0);
    vm->managed_save = true;
    is_to_start(vm);
    vm->managed_save = false;
    vm->memory_ms = clock_monotonic_ms();
    is_to_start(vm);
    vm->memory_ms = 0;
    vm->domain.tpm = DOMAIN_TPM_ENCRYPTED;
    is_to_start(vm);
    assert_true(is_made(vm) && !vm->in_doubt);
}

static void
without_the_root_half_no_tpm_is_called_lost(void **state)
{
    struct vm *vm = provisioned();

    (void)state;
    strcpy(vm->record.account, "ok");
    is_to_start(vm);
    assert_true(is_made(vm));
}

/* libvirt may have made one there. */
static void
a_tpm_that_was_being_placed_is_nobodys_once_a_run_was_seen(void **state)
{
    struct vm *vm = proved();

    (void)state;
    vm->record.steps[STEP_PLACE].state = STEP_BEGUN;
    made_ran(vm);
    assert_int_equal(vm->record.steps[STEP_PLACE].state, STEP_OPEN);
    assert_int_equal(vm->record.ek_len, 0);
    assert_false(vm->record.has_x0 || vm->record.clean);
    vm->record.steps[STEP_PLACE].state = STEP_DONE;
    vm->record.ek_len = 5;
    made_ran(vm);
    assert_int_equal(vm->record.ek_len, 5);
}

/* What its guest did is in the TPM, if that is there. */
static void
one_that_ran_without_proof_is_made_again_only_if_its_tpm_went(void **state)
{
    struct vm *vm = provisioned();

    (void)state;
    vm->record.ran = true;
    start_root_half();
    say(WATCH_GONE);
    assert_true(is_made(vm) && vm->in_doubt);
    show("/images/a.raw");
    wait_for_looks();
    assert_true(is_made(vm));
    say(WATCH_GONE);
    assert_int_equal(unlink(root.placed), 0);
    show("/images/a.raw");
    wait_for_looks();
    assert_false(is_made(vm));
    assert_true(vm->record.ran);
}

static void
without_the_root_half_it_stays_in_doubt(void **state)
{
    struct vm *vm = provisioned();

    (void)state;
    say(WATCH_LOST);
    show("/images/a.raw");
    wait_for_looks();
    assert_true(is_made(vm) && vm->in_doubt);
    assert_true(vm->next_look_ms > clock_monotonic_ms());
}

static void
a_start_waits_for_the_answer_although_another_vm_is_asked_about(void **state)
{
    struct vm *vm = provisioned();

    (void)state;
    hostd.looks = 1; /* of another VM */
    made_doubt(vm);
    assert_false(made_look(vm));
    vm->start = (struct start *)&hostd;
    assert_true(made_look(vm));
    vm->start = NULL;
    hostd.looks--;
    wait_for_looks();
}

static void
another_disk_is_written_anew_and_the_tpm_stays(void **state)
{
    struct vm *vm = provisioned();

    (void)state;
    show("/images/a.raw");
    assert_true(is_made(vm));
    show("/images/b.raw");
    assert_int_equal(vm->record.steps[STEP_INJECT].state, STEP_OPEN);
    assert_int_equal(vm->record.steps[STEP_PLACE].state, STEP_DONE);
    assert_int_equal(vm->record.ek_len, 5);
    assert_false(vm->record.has_point || vm->record.disk || vm_is_enrolled(vm));
}

/* `problem`: why the disk was left alone. */
static enum step_state
looked_at_again(struct vm *vm, const char *problem, int64_t due_in_ms)
{
    vm->record.steps[STEP_INJECT] = (struct step_record){ .state = STEP_SKIPPED };
    strcpy(vm->record.steps[STEP_INJECT].problem, problem);
    vm->record.steps[STEP_ACCOUNT].state = STEP_DONE;
    vm->record.disk = 0;
    vm->inject_again_ms = clock_monotonic_ms() + due_in_ms;
    show("/images/a.raw");
    return vm->record.steps[STEP_INJECT].state;
}

static void
a_disk_that_was_in_use_is_looked_at_again_until_the_vm_has_proved_itself(void **state)
{
    struct vm *vm = provisioned();

    (void)state;
    strcpy(vm->record.account, "pending");
    assert_int_equal(looked_at_again(vm, "image-in-use", 60000), STEP_SKIPPED);
    assert_int_equal(looked_at_again(vm, "image-encrypted", 0), STEP_SKIPPED);
    assert_int_equal(looked_at_again(vm, "image-in-use", 0), STEP_OPEN);
    assert_int_equal(looked_at_again(vm, "took-too-long", 0), STEP_OPEN);
    vm->record.ran = true; /* and was cut off: what it wrote last is not known */
    vm->record.clean = false;
    assert_int_equal(looked_at_again(vm, "image-in-use", 0), STEP_SKIPPED);
    vm->record.clean = true;
    strcpy(vm->record.account, "ok");
    assert_int_equal(looked_at_again(vm, "image-in-use", 0), STEP_SKIPPED);
}

#define IN_RIG(test) cmocka_unit_test_setup_teardown(test, set_up, tear_down)

int
main(void)
{
    const struct CMUnitTest tests[] = {
        IN_RIG(what_is_still_there_stays_when_the_daemon_begins_again),
        IN_RIG(a_vm_that_was_undefined_and_defined_while_the_daemon_was_down_is_made_again),
        IN_RIG(the_same_while_the_connection_to_libvirt_was_down),
        IN_RIG(one_that_proved_itself_is_not_asked_about),
        IN_RIG(one_that_proved_itself_and_lost_its_tpm_gets_a_new_one_when_it_starts),
        IN_RIG(so_does_one_of_which_nobody_has_told_us_that_it_proved_itself),
        IN_RIG(where_a_memory_comes_or_the_tpm_is_not_ours_to_make_it_is_not_asked_about),
        IN_RIG(without_the_root_half_no_tpm_is_called_lost),
        IN_RIG(a_tpm_that_was_being_placed_is_nobodys_once_a_run_was_seen),
        IN_RIG(one_that_ran_without_proof_is_made_again_only_if_its_tpm_went),
        IN_RIG(without_the_root_half_it_stays_in_doubt),
        IN_RIG(a_start_waits_for_the_answer_although_another_vm_is_asked_about),
        IN_RIG(another_disk_is_written_anew_and_the_tpm_stays),
        IN_RIG(a_disk_that_was_in_use_is_looked_at_again_until_the_vm_has_proved_itself),
    };

    return cmocka_run_group_tests_name("made", tests, NULL, NULL);
}
