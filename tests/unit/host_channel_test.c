#include "config.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <string.h>
#include <sys/socket.h>
#include <unistd.h>

#include <cmocka.h>
#include <event2/event.h>

#include "lib/common/clock.h"
#include "lib/common/fdio.h"
#include "lib/wire/fields.h"
#include "lib/wire/transcript.h"
#include "plugin/channel/host_channel.h"
#include "plugin/channel/splice.h"
#include "plugin/channel/token_bucket.h"

/* A host side in an event loop, and a guest that is this test. */
struct rig {
    struct event_base *base;
    struct host_channel *channel;
    struct host_channel_identity identity;
    struct key *proof_key;
    struct vm_uuid uuid;
    uint64_t epoch;
    int guest, service, accepted;
    struct frame_reader reader;
    uint64_t session, sync_session;
    int syncs;
    bool answer_at_once; /* owner.sync */
};

static const struct host_channel_identity *
rig_identity(void *context)
{
    return &((struct rig *)context)->identity;
}

static uint64_t
rig_may_sign(void *context, const char **ret_reason)
{
    struct rig *rig = context;

    *ret_reason = rig->epoch ? "" : "end-unreported";
    return rig->epoch;
}

static void
rig_sync(void *context, uint64_t session)
{
    struct rig *rig = context;

    rig->syncs++;
    rig->sync_session = session;
    if (rig->answer_at_once)
        host_channel_synced(rig->channel, session, NULL);
}

static int
listen_somewhere(struct rig *rig)
{
    struct sockaddr *address = (struct sockaddr *)&rig->identity.service;
    CLEANUP(fd_close) int fd = socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0);

    rig->identity.service.ss_family = AF_INET;
    rig->identity.service_len = 16; /* of sockaddr_in: 127.0.0.1, any port */
    ((uint8_t *)address)[4] = 127;
    ((uint8_t *)address)[7] = 1;
    if (bind(fd, address, 16) < 0 || listen(fd, 4) < 0 ||
        getsockname(fd, address, &rig->identity.service_len) < 0)
        return -1;
    return fd_steal(&fd);
}

static int
make_rig(void **state)
{
    static struct rig rig;
    struct host_channel_owner owner = { &rig, rig_identity, rig_may_sign, rig_sync, NULL, NULL };
    int pair[2];
    struct error err;

    memset(&rig, 0, sizeof rig);
    rig.accepted = -1;
    rig.epoch = 1760000000000;
    rig.identity.issuer = "https://id.example.test";
    rig.identity.host = "host-a";
    rig.identity.bundle = (const uint8_t *)"bundle";
    rig.identity.bundle_len = 6;
    rig.reader = (struct frame_reader)FRAME_READER();
    rig.base = event_base_new();
    rig.service = listen_somewhere(&rig);
    if (rig.service < 0 || key_generate(&rig.proof_key, &err) < 0 ||
        vm_uuid_parse("6ba7b810-9dad-11d1-80b4-00c04fd430c8", &rig.uuid, &err) < 0 ||
        socketpair(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0, pair) < 0)
        return -1;
    rig.identity.proof_key = rig.proof_key;
    rig.guest = pair[0];
    evutil_make_socket_nonblocking(rig.guest);
    *state = &rig;
    return host_channel_new(rig.base, &rig.uuid, pair[1], &owner, &rig.channel, &err);
}

static int
end_rig(void **state)
{
    struct rig *rig = *state;

    host_channel_free(rig->channel);
    event_base_loop(rig->base, EVLOOP_NONBLOCK); /* libevent frees what has deferred callbacks here */
    event_base_free(rig->base);
    key_free(rig->proof_key);
    frame_reader_clear(&rig->reader);
    fd_close(rig->guest);
    fd_close(rig->service);
    fd_close(rig->accepted);
    return 0;
}

/* Turn the loop until a frame has come, at most a second. */
static bool
next_frame(struct rig *rig, struct frame *ret)
{
    struct timeval turn = { .tv_usec = 10000 };
    uint8_t bytes[4096];

    for (int i = 0; i < 100; i++) {
        size_t room = frame_room(&rig->reader);
        ssize_t n;

        if (frame_next(&rig->reader, ret))
            return true;
        event_base_loopexit(rig->base, &turn);
        event_base_dispatch(rig->base);
        n = read(rig->guest, bytes, room < sizeof bytes ? room : sizeof bytes);
        if (n > 0)
            frame_feed(&rig->reader, bytes, (size_t)n);
    }
    return false;
}

static void
say(struct rig *rig, enum frame_type type, uint64_t session, const void *payload, size_t len)
{
    CLEANUP(buf_clear) struct buf b = BUF(FRAME_HEADER_LEN + FRAME_PAYLOAD_MAX);

    frame_encode(type, session, payload, len, &b);
    assert_int_equal(write(rig->guest, b.data, b.len), (ssize_t)b.len);
}

static void
expect(struct rig *rig, enum frame_type type, struct frame *ret)
{
    assert_true(next_frame(rig, ret));
    assert_int_equal(ret->type, type);
}

static struct hello
greet(struct rig *rig)
{
    CLEANUP(buf_clear) struct buf ready = BUF(64);
    struct frame f;
    struct hello h;
    struct error err;

    expect(rig, FRAME_HELLO, &f);
    assert_int_equal(hello_decode(f.payload, f.len, &h, &err), 0);
    assert_int_equal(h.session, f.session);
    rig->session = h.session;
    fields_add_u8(&ready, CHANNEL_VERSION);
    fields_add_u64(&ready, 3);
    say(rig, FRAME_READY, rig->session, ready.data, ready.len);
    return h;
}

static void
say_sign(struct rig *rig, uint8_t first)
{
    CLEANUP(buf_clear) struct buf b = BUF(64);
    uint8_t h[32] = { first };

    fields_add(&b, h, sizeof h);
    say(rig, FRAME_SIGN, rig->session, b.data, b.len);
}

static void
hello_says_who_and_in_which_epoch(void **state)
{
    struct rig *rig = *state;
    struct hello h = greet(rig);

    assert_true(vm_uuid_equal(&h.uuid, &rig->uuid));
    assert_int_equal(h.epoch, rig->epoch);
    assert_string_equal(h.issuer, "https://id.example.test");
    assert_int_equal(h.bundle_len, 6);
}

/* A HELLO costs more than the question, and ends what was under way. */
static void
a_guest_that_asks_without_end_is_greeted_once_a_second(void **state)
{
    struct rig *rig = *state;
    struct frame f;
    unsigned hellos = 0;

    for (int i = 0; i < 100; i++)
        say(rig, FRAME_WHO, 0, NULL, 0);
    while (next_frame(rig, &f))
        hellos += f.type == FRAME_HELLO;
    assert_true(hellos > 1 && hellos <= HOST_CHANNEL_BURST + 3);
    say(rig, FRAME_WHO, 0, NULL, 0);
    greet(rig); /* and an honest question later is answered */
}

/* Bytes that make no frame are counted by nothing else. */
static void
a_guest_that_pours_in_garbage_is_read_a_megabyte_a_second(void **state)
{
    static const uint8_t junk[65536];
    struct rig *rig = *state;
    int64_t begin = clock_monotonic_ms(), seconds;
    size_t taken = 0;

    while (clock_monotonic_ms() < begin + 1500) {
        ssize_t n = send(rig->guest, junk, sizeof junk, MSG_NOSIGNAL | MSG_DONTWAIT);

        taken += n > 0 ? (size_t)n : 0;
        event_base_loop(rig->base, EVLOOP_NONBLOCK);
    }
    seconds = (clock_monotonic_ms() - begin) / 1000 + 1;
    assert_in_range(taken, 2 << 20, (size_t)(3 + seconds) << 20); /* a burst of two, and what lies in between */
}

static void
the_time_that_is_told_is_the_services_where_ours_is_wrong(void **state)
{
    struct rig *rig = *state;
    int64_t now = clock_realtime_ms();
    struct hello h;
    struct error err;
    struct frame f;

    assert_true(next_frame(rig, &f) && f.type == FRAME_HELLO);
    assert_int_equal(hello_decode(f.payload, f.len, &h, &err), 0);
    assert_in_range(h.utc_ms, now - 5000, now + 5000);
    rig->identity.clock_ahead_ms = 3600 * 1000;
    host_channel_hello(rig->channel);
    assert_true(next_frame(rig, &f) && f.type == FRAME_HELLO);
    assert_int_equal(hello_decode(f.payload, f.len, &h, &err), 0);
    assert_in_range(h.utc_ms, now + 3600 * 1000 - 5000, now + 3600 * 1000 + 5000);
}

static void
who_brings_a_new_session(void **state)
{
    struct rig *rig = *state;
    uint64_t first = greet(rig).session;

    say(rig, FRAME_WHO, 0, NULL, 0);
    assert_int_not_equal(greet(rig).session, first);
}

static void
a_signature_covers_vm_epoch_and_hash(void **state)
{
    CLEANUP(buf_clear) struct buf message = BUF(1024);
    struct rig *rig = *state;
    uint8_t h[32], signature[64];
    char host[NAME_HOST_MAX + 1];
    struct fields f;
    struct frame frame;
    struct error err;
    uint64_t epoch;

    greet(rig);
    say_sign(rig, 7);
    expect(rig, FRAME_SIG, &frame);
    f = (struct fields){ frame.payload, frame.len };
    assert_int_equal(fields_take_exact(&f, h, 32, &err), 0);
    assert_int_equal(fields_take_u64(&f, &epoch, &err), 0);
    assert_int_equal(fields_take_text(&f, 1, NAME_HOST_MAX, host, &err), 0);
    assert_int_equal(fields_take_exact(&f, signature, 64, &err), 0);
    assert_int_equal(h[0], 7);
    assert_int_equal(epoch, rig->epoch);
    assert_int_equal(transcript_host_message("https://id.example.test", "host-a", &rig->uuid, epoch, h,
                                             &message, &err), 0);
    assert_int_equal(key_verify(rig->proof_key, message.data, message.len, signature, &err), 0);
}

static void
without_a_lease_nothing_is_signed(void **state)
{
    struct rig *rig = *state;
    struct frame frame;

    rig->epoch = 0;
    greet(rig);
    say_sign(rig, 1);
    expect(rig, FRAME_NO, &frame);
    assert_non_null(memmem(frame.payload, frame.len, "end-unreported", 14));
}

static void
five_signatures_a_second_and_no_more(void **state)
{
    struct rig *rig = *state;
    unsigned signatures = 0, refusals = 0;
    struct frame frame;

    greet(rig);
    for (uint8_t i = 0; i < 10; i++)
        say_sign(rig, i);
    for (int i = 0; i < 10; i++) {
        assert_true(next_frame(rig, &frame));
        signatures += frame.type == FRAME_SIG;
        refusals += frame.type == FRAME_NO;
    }
    assert_int_equal(signatures, HOST_CHANNEL_SIGNS_PER_SECOND);
    assert_int_equal(refusals, 5);
}

static void
another_session_and_the_time_before_ready_are_not_heard(void **state)
{
    struct rig *rig = *state;
    struct frame frame;

    expect(rig, FRAME_HELLO, &frame);
    rig->session = frame.session;
    say_sign(rig, 1); /* before READY */
    say(rig, FRAME_WHO, 0, NULL, 0);
    rig->session = greet(rig).session ^ 2;
    say_sign(rig, 2); /* another session */
    rig->session ^= 2;
    say_sign(rig, 3);
    expect(rig, FRAME_SIG, &frame);
    assert_int_equal(frame.payload[2], 3);
}

static void
turn_until_synced(struct rig *rig, int least)
{
    for (int i = 0; i < 1000 && rig->syncs < least; i++)
        event_base_loop(rig->base, EVLOOP_ONCE);
    assert_int_equal(rig->syncs, least);
}

static void
synced_is_said_when_the_owner_says_so(void **state)
{
    struct rig *rig = *state;
    struct frame frame;

    greet(rig);
    say(rig, FRAME_SYNC, rig->session, NULL, 0);
    say(rig, FRAME_SYNC, rig->session, NULL, 0); /* impatient: asked once */
    turn_until_synced(rig, 1);
    host_channel_synced(rig->channel, rig->sync_session, NULL);
    expect(rig, FRAME_SYNCED, &frame);
    assert_int_equal(rig->syncs, 1);
    say(rig, FRAME_SYNC, rig->session, NULL, 0);
    turn_until_synced(rig, 2);
    host_channel_synced(rig->channel, rig->sync_session, "sync-failed");
    expect(rig, FRAME_NO, &frame);
}

/* What was made durable before the new greeting says nothing about what the guest did since. */
static void
an_answer_to_an_older_session_is_not_passed_on(void **state)
{
    struct rig *rig = *state;
    struct frame frame;
    uint64_t old;

    greet(rig);
    say(rig, FRAME_SYNC, rig->session, NULL, 0);
    turn_until_synced(rig, 1);
    old = rig->sync_session;
    host_channel_hello(rig->channel);
    greet(rig);
    say(rig, FRAME_SYNC, rig->session, NULL, 0);
    turn_until_synced(rig, 2);
    assert_true(old != rig->sync_session);
    host_channel_synced(rig->channel, old, NULL);
    say_sign(rig, 7);
    expect(rig, FRAME_SIG, &frame); /* and no SYNCED before it */
    host_channel_synced(rig->channel, rig->sync_session, NULL);
    expect(rig, FRAME_SYNCED, &frame);
}

static void
more_than_a_few_syncs_at_once_are_refused(void **state)
{
    struct rig *rig = *state;
    struct frame frame;
    unsigned i;

    greet(rig);
    rig->answer_at_once = true;
    for (i = 0; i < 2 * HOST_CHANNEL_BURST; i++) {
        say(rig, FRAME_SYNC, rig->session, NULL, 0);
        assert_true(next_frame(rig, &frame));
        if (frame.type == FRAME_NO)
            break;
        assert_int_equal(frame.type, FRAME_SYNCED);
    }
    assert_in_range(i, 2, 2 * HOST_CHANNEL_BURST - 1);
}

static void
bytes_pass_through_the_splice_both_ways(void **state)
{
    struct rig *rig = *state;
    char got[16] = "";
    struct frame frame;

    greet(rig);
    say(rig, FRAME_OPEN, rig->session, NULL, 0);
    expect(rig, FRAME_OPEN, &frame);
    rig->accepted = accept(rig->service, NULL, NULL);
    say(rig, FRAME_DATA, rig->session, "question", 8);
    expect(rig, FRAME_ACK, &frame);
    assert_int_equal(frame.payload[5], 8);
    assert_int_equal(read(rig->accepted, got, sizeof got), 8);
    assert_memory_equal(got, "question", 8);
    assert_int_equal(write(rig->accepted, "answer", 6), 6);
    expect(rig, FRAME_DATA, &frame);
    assert_int_equal(frame.len, 6);
    assert_memory_equal(frame.payload, "answer", 6);
    fd_close(rig->accepted);
    rig->accepted = -1;
    expect(rig, FRAME_CLOSE, &frame);
}

static void
a_guest_that_does_not_acknowledge_gets_one_window(void **state)
{
    static const uint8_t flood[4 * HOST_CHANNEL_WINDOW];
    struct rig *rig = *state;
    size_t got = 0;
    struct frame frame;

    greet(rig);
    say(rig, FRAME_OPEN, rig->session, NULL, 0);
    expect(rig, FRAME_OPEN, &frame);
    rig->accepted = accept(rig->service, NULL, NULL);
    evutil_make_socket_nonblocking(rig->accepted);
    assert_true(write(rig->accepted, flood, sizeof flood) > HOST_CHANNEL_WINDOW);
    while (got < HOST_CHANNEL_WINDOW) {
        expect(rig, FRAME_DATA, &frame);
        got += frame.len;
    }
    assert_int_equal(got, HOST_CHANNEL_WINDOW);
    assert_false(next_frame(rig, &frame));
}

static void
splice_ignores(void *context)
{
    (void)context;
}

static void
splice_ignores_data(void *context, const void *bytes, size_t len)
{
    (void)context;
    (void)bytes;
    (void)len;
}

static void
splice_ignores_count(void *context, uint32_t len)
{
    (void)context;
    (void)len;
}

static void
splice_ignores_end(void *context, const char *reason)
{
    (void)context;
    (void)reason;
}

static void
more_than_the_window_is_refused(void **state)
{
    static const uint8_t piece[FRAME_PAYLOAD_MAX];
    struct splice_owner owner = { NULL, splice_ignores, splice_ignores_data, splice_ignores_count, splice_ignores_end };
    struct rig *rig = *state;
    CLEANUP(splice_free) struct splice *s = NULL;
    struct error err;

    assert_int_equal(splice_open(rig->base, (struct sockaddr *)&rig->identity.service,
                                 rig->identity.service_len, &owner, &s, &err), 0);
    for (int i = 0; i < HOST_CHANNEL_WINDOW / FRAME_PAYLOAD_MAX; i++)
        assert_int_equal(splice_write(s, piece, sizeof piece, &err), 0);
    assert_int_equal(splice_write(s, piece, 1, &err), -1);
    assert_int_equal(err.code, ERROR_DENIED);
    assert_int_equal(splice_acked(s, 1, &err), -1); /* nothing was sent to the guest yet */
}

static void
garbage_does_not_end_the_channel(void **state)
{
    struct rig *rig = *state;
    uint8_t garbage[3000];

    greet(rig);
    memset(garbage, 0xa5, sizeof garbage);
    assert_int_equal(write(rig->guest, garbage, sizeof garbage), (ssize_t)sizeof garbage);
    say(rig, FRAME_WHO, 0, NULL, 0);
    greet(rig);
}

static void
what_the_guest_says_of_itself_is_escaped(void **state)
{
    CLEANUP(buf_clear) struct buf b = BUF(512);
    struct rig *rig = *state;
    struct host_channel_status status;
    struct frame frame;

    greet(rig);
    fields_add_text(&b, "to\nken");
    fields_add_text(&b, "\x1b[31mred");
    say(rig, FRAME_STATUS, rig->session, b.data, b.len);
    say_sign(rig, 1);
    expect(rig, FRAME_SIG, &frame);
    host_channel_status(rig->channel, &status);
    assert_string_equal(status.word, "to?ken");
    assert_string_equal(status.text, "?[31mred");
}

static void
the_end_of_qemu_is_seen(void **state)
{
    struct rig *rig = *state;
    struct timeval turn = { .tv_usec = 50000 };
    struct host_channel_status status;

    greet(rig);
    fd_close(rig->guest);
    rig->guest = -1;
    event_base_loopexit(rig->base, &turn);
    event_base_dispatch(rig->base);
    host_channel_status(rig->channel, &status);
    assert_int_equal(status.state, HOST_CHANNEL_GONE);
}

static void
a_bucket_refills_by_the_clock_it_is_given(void **state)
{
    struct token_bucket b = TOKEN_BUCKET(5, 2, 1000);

    (void)state;
    assert_true(token_bucket_take(&b, 1000) && token_bucket_take(&b, 1000));
    assert_false(token_bucket_take(&b, 1000));
    assert_false(token_bucket_take(&b, 1199));
    assert_true(token_bucket_take(&b, 1200));
    assert_true(token_bucket_take(&b, INT64_MAX) && token_bucket_take(&b, INT64_MAX));
    assert_false(token_bucket_take(&b, INT64_MAX));
}

#define IN_RIG(test) cmocka_unit_test_setup_teardown(test, make_rig, end_rig)

int
main(void)
{
    const struct CMUnitTest tests[] = {
        IN_RIG(hello_says_who_and_in_which_epoch),
        IN_RIG(a_guest_that_asks_without_end_is_greeted_once_a_second),
        IN_RIG(a_guest_that_pours_in_garbage_is_read_a_megabyte_a_second),
        IN_RIG(the_time_that_is_told_is_the_services_where_ours_is_wrong),
        IN_RIG(who_brings_a_new_session),
        IN_RIG(a_signature_covers_vm_epoch_and_hash),
        IN_RIG(without_a_lease_nothing_is_signed),
        IN_RIG(five_signatures_a_second_and_no_more),
        IN_RIG(another_session_and_the_time_before_ready_are_not_heard),
        IN_RIG(synced_is_said_when_the_owner_says_so),
        IN_RIG(an_answer_to_an_older_session_is_not_passed_on),
        IN_RIG(more_than_a_few_syncs_at_once_are_refused),
        IN_RIG(bytes_pass_through_the_splice_both_ways),
        IN_RIG(a_guest_that_does_not_acknowledge_gets_one_window),
        IN_RIG(more_than_the_window_is_refused),
        IN_RIG(garbage_does_not_end_the_channel),
        IN_RIG(what_the_guest_says_of_itself_is_escaped),
        IN_RIG(the_end_of_qemu_is_seen),
        cmocka_unit_test(a_bucket_refills_by_the_clock_it_is_given),
    };

    return cmocka_run_group_tests_name("host_channel", tests, NULL, NULL);
}
