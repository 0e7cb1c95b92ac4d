/*
 * What libvirt shows of a state that was put back: noted once, told when it is whole, kept until it was heard.
 */
#include "config.h"

#include "plugin/reverted.h"

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

#include "lib/common/clock.h"
#include "plugin/reconcile.h"
#include "plugin/vms.h"
#include "tests/unit/hostd_fixture.h"

#define DEFINED "6da09980-5710-48cc-814d-c15e71cd35cd"
#define FIRST "d6297186-aa7f-4d5d-9db7-736987ec11f7"
#define SECOND "cfdaa8ca-6d29-49f0-93d5-e72a2719c8c6"

static void
event(struct hostd_rig *rig, enum watch_event what, bool from_snapshot)
{
    struct watch_report *report = calloc(1, sizeof *report);

    report->kind = WATCH_EVENT;
    report->event = what;
    report->from_snapshot = from_snapshot;
    report->uuid = rig->vm->record.uuid;
    reconcile_take(&rig->hostd, report);
}

static char *
xml_with(const char *genid)
{
    char text[300];

    snprintf(text, sizeof text,
             "<domain><name>web1</name><uuid>6ba7b810-9dad-11d1-80b4-00c04fd430c8</uuid>%s%s%s</domain>",
             genid ? "<genid>" : "", genid ? genid : "", genid ? "</genid>" : "");
    return strdup(text);
}

/* Run `id` is shown with this <genid>; NULL: it has none. */
static void
shown(struct hostd_rig *rig, int id, const char *live, const char *next)
{
    struct watch_report *report = hostd_rig_seen(rig, true, id);

    free(report->xml);
    report->xml = xml_with(live);
    report->next_xml = next ? xml_with(next) : NULL;
    reconcile_take(&rig->hostd, report);
}

static unsigned
told_later(struct hostd_rig *rig)
{
    return reverted_tell(rig->vm, clock_monotonic_ms() + 60000);
}

static void
a_snapshot_that_libvirt_names_is_noted(void **state)
{
    struct hostd_rig *rig = *state;

    hostd_rig_running(rig, 7);
    event(rig, WATCH_STOPPED_OTHER, true);
    event(rig, WATCH_STARTED, true);
    event(rig, WATCH_DEFINED, true);
    assert_int_equal(rig->vm->record.saw, SAW_SNAPSHOT);
    assert_int_equal(rig->vm->record.n_ends, 1); /* and it is the end that it is */
}

static void
an_ordinary_life_is_none(void **state)
{
    struct hostd_rig *rig = *state;

    event(rig, WATCH_DEFINED, false);
    event(rig, WATCH_STARTED, false);
    shown(rig, 5, DEFINED, DEFINED);
    event(rig, WATCH_STOPPED_SHUTDOWN, false);
    event(rig, WATCH_STARTED, false);
    shown(rig, 6, DEFINED, DEFINED);
    shown(rig, 6, NULL, NULL);
    assert_int_equal(rig->vm->record.saw, 0);
}

static void
a_genid_of_its_own_is_noted_once_for_each_run(void **state)
{
    struct hostd_rig *rig = *state;

    shown(rig, 5, DEFINED, DEFINED);
    shown(rig, 6, FIRST, DEFINED);
    assert_int_equal(told_later(rig), SAW_GENID);
    assert_true(reverted_acknowledged(rig->vm, rig->vm->record.saw_seq));
    shown(rig, 6, FIRST, DEFINED);
    assert_int_equal(rig->vm->record.saw, 0);
    shown(rig, 7, DEFINED, DEFINED); /* a cold start has the one of the definition again */
    assert_int_equal(rig->vm->record.saw, 0);
    shown(rig, 8, SECOND, DEFINED);
    assert_int_equal(rig->vm->record.saw, SAW_GENID);
}

static void
a_genid_that_came_with_a_migration_is_none(void **state)
{
    struct hostd_rig *rig = *state;

    rig->vm->incoming = true;
    shown(rig, 5, FIRST, DEFINED);
    rig->vm->incoming = false;
    rig->vm->record.run_k = true;
    shown(rig, 5, SECOND, DEFINED);
    assert_int_equal(rig->vm->record.saw, 0);
}

/* Without another definition there is nothing to compare with: each `virsh create` may bring another one. */
static void
the_genid_of_a_transient_domain_says_nothing(void **state)
{
    struct hostd_rig *rig = *state;

    shown(rig, 5, FIRST, NULL);
    shown(rig, 6, SECOND, NULL);
    assert_int_equal(rig->vm->record.saw, 0);
}

static void
what_belongs_together_is_told_together(void **state)
{
    struct hostd_rig *rig = *state;
    int64_t now = clock_monotonic_ms();

    reverted_note(rig->vm, SAW_RESTORE);
    assert_int_equal(reverted_tell(rig->vm, now), 0);
    reverted_note(rig->vm, SAW_GENID);
    assert_int_equal(reverted_tell(rig->vm, now + 10000), SAW_RESTORE | SAW_GENID);
}

static void
what_is_added_while_it_is_told_is_told_again(void **state)
{
    struct hostd_rig *rig = *state;
    uint64_t told;

    reverted_note(rig->vm, SAW_RESTORE);
    assert_int_equal(told_later(rig), SAW_RESTORE);
    told = rig->vm->record.saw_seq;
    reverted_note(rig->vm, SAW_RESTORE); /* nothing new */
    assert_int_equal(told_later(rig), SAW_RESTORE);
    assert_int_equal(rig->vm->record.saw_seq, told);
    reverted_note(rig->vm, SAW_GENID);
    assert_false(reverted_acknowledged(rig->vm, told));
    assert_int_equal(told_later(rig), SAW_RESTORE | SAW_GENID);
    assert_true(reverted_acknowledged(rig->vm, rig->vm->record.saw_seq));
    assert_int_equal(told_later(rig), 0);
}

/* A revert ends a run first: that is acknowledged before the evidence is told. */
static void
the_word_for_an_end_acknowledges_nothing_that_was_not_told(void **state)
{
    struct hostd_rig *rig = *state;
    uint64_t end;

    hostd_rig_running(rig, 7);
    event(rig, WATCH_STOPPED_OTHER, true);
    end = rig->vm->record.ends[0].seq;
    assert_false(reverted_acknowledged(rig->vm, end));
    assert_int_equal(told_later(rig), SAW_SNAPSHOT);
    assert_true(rig->vm->record.saw_seq > end);
    assert_true(reverted_acknowledged(rig->vm, rig->vm->record.saw_seq));
}

static const struct host_channel_identity *
some_identity(void *context)
{
    static const struct host_channel_identity identity = {
        .issuer = "https://id.example.test", .host = "host-a", .bundle = (const uint8_t *)"bundle", .bundle_len = 6
    };

    (void)context;
    return &identity;
}

static uint64_t
epoch_seven(void *context, const char **ret_reason)
{
    (void)context;
    *ret_reason = "";
    return 7;
}

static void
no_sync(void *context, uint64_t session)
{
    (void)context;
    (void)session;
}

/* Bytes that the guest is sent within a tenth of a second. */
static ssize_t
sent(struct hostd_rig *rig, int guest)
{
    struct timeval turn = { .tv_usec = 100000 };
    uint8_t bytes[4096];

    event_base_loopexit(rig->hostd.base, &turn);
    event_base_dispatch(rig->hostd.base);
    return recv(guest, bytes, sizeof bytes, MSG_DONTWAIT);
}

/* QEMU's `loadvm` shows itself to libvirt as no more than that. */
static void
a_guest_that_goes_on_is_greeted_again(void **state)
{
    struct hostd_rig *rig = *state;
    struct host_channel_owner owner = { rig, some_identity, epoch_seven, no_sync, NULL, NULL };
    struct error err;
    int pair[2];

    hostd_rig_running(rig, 7);
    assert_int_equal(socketpair(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0, pair), 0);
    assert_int_equal(host_channel_new(rig->hostd.base, &rig->vm->record.uuid, pair[1], &owner, &rig->vm->channel, &err), 0);
    assert_true(sent(rig, pair[0]) > 0);
    assert_true(sent(rig, pair[0]) < 0);
    event(rig, WATCH_RESUMED, false);
    assert_true(sent(rig, pair[0]) > 0);
    assert_int_equal(rig->vm->record.n_ends, 0); /* it is the run that it was */
    assert_int_equal(rig->vm->record.saw, 0);
    host_channel_free(rig->vm->channel);
    rig->vm->channel = NULL;
    close(pair[0]);
}

static int
forget_nothing(void *context, const struct vm_record *record, struct error *err)
{
    (void)err;
    *(struct vm_record *)context = *record;
    return 0;
}

static void
it_is_told_by_a_daemon_that_was_restarted(void **state)
{
    struct hostd_rig *rig = *state;
    struct vm_record kept = { 0 };
    struct error err;
    unsigned bad;

    shown(rig, 6, FIRST, DEFINED);
    event(rig, WATCH_DEFINED, true);
    told_later(rig);
    assert_int_equal(journal_load(rig->hostd.journal, forget_nothing, &kept, &bad, &err), 0);
    assert_int_equal(kept.saw, SAW_SNAPSHOT | SAW_GENID);
    assert_int_equal(kept.saw_seq, rig->vm->record.saw_seq);
    assert_string_equal(kept.genid, FIRST);
}

#define IN_RIG(name) cmocka_unit_test_setup_teardown(name, hostd_rig_make, hostd_rig_end)

int
main(void)
{
    const struct CMUnitTest t[] = {
        IN_RIG(a_snapshot_that_libvirt_names_is_noted),
        IN_RIG(an_ordinary_life_is_none),
        IN_RIG(a_genid_of_its_own_is_noted_once_for_each_run),
        IN_RIG(a_genid_that_came_with_a_migration_is_none),
        IN_RIG(the_genid_of_a_transient_domain_says_nothing),
        IN_RIG(what_belongs_together_is_told_together),
        IN_RIG(what_is_added_while_it_is_told_is_told_again),
        IN_RIG(the_word_for_an_end_acknowledges_nothing_that_was_not_told),
        IN_RIG(a_guest_that_goes_on_is_greeted_again),
        IN_RIG(it_is_told_by_a_daemon_that_was_restarted),
    };
    return cmocka_run_group_tests_name("reverted", t, NULL, NULL);
}
