/*
 * What a host tells Prometheus of its VMs.
 */
#include "config.h"

#include "plugin/host_metrics.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <unistd.h>

#include <cmocka.h>
#include <event2/event.h>

#include "lib/common/clock.h"
#include "lib/common/fdio.h"
#include "lib/wire/fields.h"
#include "plugin/hookd.h"
#include "plugin/vms.h"
#include "tests/unit/hostd_fixture.h"

#define WEB1 "{domain=\"web1\",uuid=\"6ba7b810-9dad-11d1-80b4-00c04fd430c8\"}"

bool __wrap_libvirt_watch_connected(struct libvirt_watch *watch);
bool
__wrap_libvirt_watch_connected(struct libvirt_watch *watch)
{
    (void)watch;
    return true;
}

static char page[65536];

static void
look(struct hostd_rig *rig)
{
    CLEANUP(buf_clear) struct buf into = BUF(sizeof page - 1);

    host_metrics_write(&rig->hostd, &into);
    snprintf(page, sizeof page, "%s", buf_text(&into));
}

static bool
says(const char *line)
{
    char whole[400];

    snprintf(whole, sizeof whole, "\n%s\n", line);
    return strstr(page, whole) != NULL;
}

/* The number of this series, or -1. */
static double
number(const char *series)
{
    const char *at = strstr(page, series);

    return at ? atof(at + strlen(series)) : -1;
}

static void
a_vm_has_its_lines_when_it_is_managed(void **state)
{
    struct hostd_rig *rig = *state;

    rig->vm->record.managed = false;
    look(rig);
    assert_null(strstr(page, "web1"));
    rig->vm->record.managed = true;
    rig->vm->record.mode = MODE_STRICT;
    look(rig);
    assert_true(says("virtid_vm_info{domain=\"web1\",uuid=\"6ba7b810-9dad-11d1-80b4-00c04fd430c8\",mode=\"strict\","
                     "account=\"none\"} 1"));
    assert_true(says("virtid_vm_running" WEB1 " 0"));
    /* Off, it needs no lease, and there is nothing to be alarmed about. */
    assert_null(strstr(page, "virtid_vm_lease_remaining_seconds{"));
    assert_null(strstr(page, "virtid_vm_without_right{"));
    assert_true(says("virtid_hostd_joined 0"));
    assert_true(says("virtid_hostd_libvirt_connected 1"));
}

static void
a_lease_is_as_long_as_this_host_may_sign(void **state)
{
    struct hostd_rig *rig = *state;

    hostd_rig_running(rig, 7);
    rig->vm->lease_until_ms = clock_monotonic_ms() + 42000;
    look(rig);
    assert_in_range(number("virtid_vm_lease_remaining_seconds" WEB1 " ") * 10, 400, 420);
    assert_true(says("virtid_vm_running" WEB1 " 1"));
    assert_true(says("virtid_vm_channel_ready" WEB1 " 0"));
    rig->vm->record.n_ends = 1; /* it may not sign before that is told */
    look(rig);
    assert_true(says("virtid_vm_lease_remaining_seconds" WEB1 " 0.000"));
    assert_true(says("virtid_vm_without_right" WEB1 " 0"));
    rig->vm->answer = LEASE_FOREIGN;
    look(rig);
    assert_true(says("virtid_vm_without_right" WEB1 " 1"));
    rig->vm->record.mode = MODE_OBSERVE; /* it is to have none */
    rig->vm->record.e = rig->vm->record.run_e = 0;
    look(rig);
    assert_null(strstr(page, "virtid_vm_without_right{"));
    assert_null(strstr(page, "virtid_vm_lease_remaining_seconds{"));
}

static void
a_daemon_whose_journal_failed_counts_no_answer(void **state)
{
    struct hostd_rig *rig = *state;

    rig->hostd.journal_failed = true;
    vm_answer_hook(rig->vm, NULL, HOOK_GO, "");
    look(rig);
    assert_true(says("virtid_hostd_hook_answers_total{answer=\"go\"} 0"));
}

/* ---- what passes over the channel ---- */

static struct host_channel_identity host = { .issuer = "https://id.example.test", .host = "host-a",
                                             .bundle = (const uint8_t *)"bundle", .bundle_len = 6 };

static const struct host_channel_identity *
identity(void *context)
{
    (void)context;
    return &host;
}

static uint64_t
may_sign(void *context, const char **ret_reason)
{
    (void)context;
    *ret_reason = "";
    return 7;
}

static void
say(int guest, enum frame_type type, uint64_t session, const struct buf *payload)
{
    CLEANUP(buf_clear) struct buf bytes = BUF(4096);
    struct error err;

    frame_encode(type, session, payload->data, payload->len, &bytes);
    assert_int_equal(fd_write_all(guest, bytes.data, bytes.len, &err), 0);
}

static uint64_t
read_session(int guest)
{
    struct frame_reader reader = FRAME_READER();
    uint8_t bytes[1024];
    struct frame frame = { .session = 0 };
    ssize_t n = read(guest, bytes, sizeof bytes);

    assert_true(n > 0);
    frame_feed(&reader, bytes, (size_t)n);
    assert_true(frame_next(&reader, &frame));
    assert_int_equal(frame.type, FRAME_HELLO);
    frame_reader_clear(&reader);
    return frame.session;
}

static void
proofs_and_tokens_have_their_time(void **state)
{
    struct hostd_rig *rig = *state;
    struct host_channel_owner owner = { .context = rig, .identity = identity, .may_sign = may_sign };
    CLEANUP(buf_clear) struct buf status = BUF(100), ready = BUF(100), sign = BUF(100), other = BUF(100);
    CLEANUP(key_free) struct key *key = NULL;
    int pair[2];
    struct error err;
    uint64_t session;
    double now = (double)clock_realtime_ms() / 1000;

    assert_int_equal(key_generate(&key, &err), 0);
    host.proof_key = key;
    hostd_rig_running(rig, 7);
    assert_int_equal(socketpair(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0, pair), 0);
    assert_int_equal(host_channel_new(rig->hostd.base, &rig->vm->record.uuid, pair[1], &owner, &rig->vm->channel, &err), 0);
    event_base_loop(rig->hostd.base, EVLOOP_NONBLOCK);
    session = read_session(pair[0]);
    look(rig);
    assert_null(strstr(page, "virtid_vm_proof_timestamp_seconds{"));
    assert_null(strstr(page, "virtid_vm_proof_failing{"));

    fields_add_u8(&ready, 1);
    fields_add_u64(&ready, 1);
    say(pair[0], FRAME_READY, session, &ready);
    fields_add_text(&other, "proof-failed");
    fields_add_text(&other, "token");
    say(pair[0], FRAME_STATUS, session, &other);
    event_base_loop(rig->hostd.base, EVLOOP_NONBLOCK);
    look(rig);
    assert_true(says("virtid_vm_channel_ready" WEB1 " 1"));
    assert_null(strstr(page, "virtid_vm_token_timestamp_seconds{"));
    assert_true(says("virtid_vm_proof_failing" WEB1 " 1"));

    fields_add_text(&status, "token");
    fields_add_text(&status, "shop");
    say(pair[0], FRAME_STATUS, session, &status);
    fields_add(&sign, "0123456789abcdef0123456789abcdef", 32);
    say(pair[0], FRAME_SIGN, session, &sign);
    event_base_loop(rig->hostd.base, EVLOOP_NONBLOCK);
    look(rig);
    assert_true(number("virtid_vm_token_timestamp_seconds" WEB1 " ") >= now - 1);
    assert_true(number("virtid_vm_proof_timestamp_seconds" WEB1 " ") >= now - 1);
    assert_true(says("virtid_vm_proof_failing" WEB1 " 0"));
    close(pair[0]);
    host_channel_free(rig->vm->channel);
    rig->vm->channel = NULL;
    event_base_loop(rig->hostd.base, EVLOOP_NONBLOCK);
}

int
main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test_setup_teardown(a_vm_has_its_lines_when_it_is_managed, hostd_rig_make, hostd_rig_end),
        cmocka_unit_test_setup_teardown(a_lease_is_as_long_as_this_host_may_sign, hostd_rig_make, hostd_rig_end),
        cmocka_unit_test_setup_teardown(a_daemon_whose_journal_failed_counts_no_answer, hostd_rig_make, hostd_rig_end),
        cmocka_unit_test_setup_teardown(proofs_and_tokens_have_their_time, hostd_rig_make, hostd_rig_end),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
