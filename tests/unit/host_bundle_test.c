/*
 * The host's side of a channel whose agent holds an older trust bundle: it is offered what the owner brings.
 */
#include "config.h"

#include <errno.h>
#include <event2/event.h>
#include <event2/util.h>
#include <setjmp.h>
#include <stdarg.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/syscall.h>
#include <time.h>
#include <unistd.h>

#include <cmocka.h>

#include "lib/common/clock.h"
#include "lib/common/fdio.h"
#include "lib/wire/fields.h"
#include "plugin/channel/host_channel.h"

static struct {
    struct event_base *base;
    struct host_channel *channel;
    struct host_channel_identity identity;
    struct vm_uuid uuid;
    struct frame_reader reader;
    int guest;
    unsigned behind; /* how often the owner was told */
    uint64_t serial;
} rig;

/* In libc's place: a minute goes by at once. */
static time_t ahead_s;

int
clock_gettime(clockid_t id, struct timespec *ret)
{
    int rc = (int)syscall(SYS_clock_gettime, id, ret);

    ret->tv_sec += ahead_s;
    return rc;
}

static const struct host_channel_identity *
who(void *context)
{
    (void)context;
    return &rig.identity;
}

static uint64_t
in_epoch(void *context, const char **ret_reason)
{
    (void)context;
    (void)ret_reason;
    return 7;
}

static void
tell_behind(void *context, uint64_t serial)
{
    (void)context;
    rig.behind++;
    rig.serial = serial;
}

static int
make_rig(void **state)
{
    struct host_channel_owner owner = { .identity = who, .may_sign = in_epoch, .behind = tell_behind };
    int pair[2];
    struct error err;

    (void)state;
    memset(&rig, 0, sizeof rig);
    rig.identity = (struct host_channel_identity){ .issuer = "https://id.example.test", .host = "host-a",
                                                   .bundle = (const uint8_t *)"bundle", .bundle_len = 6,
                                                   .bundle_serial = 9 };
    rig.reader = (struct frame_reader)FRAME_READER();
    rig.base = event_base_new();
    if (socketpair(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0, pair) < 0)
        return -1;
    rig.guest = pair[0];
    evutil_make_socket_nonblocking(rig.guest);
    return host_channel_new(rig.base, &rig.uuid, pair[1], &owner, &rig.channel, &err);
}

static int
end_rig(void **state)
{
    (void)state;
    host_channel_free(rig.channel);
    event_base_loop(rig.base, EVLOOP_NONBLOCK); /* libevent frees what has deferred callbacks here */
    event_base_free(rig.base);
    frame_reader_clear(&rig.reader);
    fd_close(rig.guest);
    return 0;
}

static bool
read_frame(struct frame *ret)
{
    uint8_t bytes[4096];
    size_t room = frame_room(&rig.reader);
    ssize_t n;

    if (frame_next(&rig.reader, ret))
        return true;
    n = read(rig.guest, bytes, room < sizeof bytes ? room : sizeof bytes);
    if (n > 0)
        frame_feed(&rig.reader, bytes, (size_t)n);
    return frame_next(&rig.reader, ret);
}

static void
turn_loop(int ms)
{
    struct timeval turn = { .tv_usec = ms * 1000 };

    event_base_loopexit(rig.base, &turn);
    event_base_dispatch(rig.base);
}

/* The next greeting, answered as by an agent that holds `serial` after it. */
static struct hello
greet(uint64_t serial)
{
    CLEANUP(buf_clear) struct buf ready = BUF(64), bytes = BUF(FRAME_HEADER_LEN + 64);
    int64_t deadline = clock_monotonic_ms() + 5000;
    struct frame f;
    struct hello h;
    struct error err;

    while (!read_frame(&f)) {
        assert_true(clock_monotonic_ms() < deadline);
        turn_loop(5);
    }
    assert_int_equal(f.type, FRAME_HELLO);
    assert_int_equal(hello_decode(f.payload, f.len, &h, &err), 0);
    fields_add_u8(&ready, CHANNEL_VERSION);
    fields_add_u64(&ready, serial);
    frame_encode(FRAME_READY, h.session, ready.data, ready.len, &bytes);
    assert_int_equal(write(rig.guest, bytes.data, bytes.len), (ssize_t)bytes.len);
    turn_loop(50);
    return h;
}

static void
an_agent_that_is_behind_is_brought_forward(void **state)
{
    struct hello h;

    (void)state;
    assert_int_equal(greet(4).bundle_len, 6);
    assert_int_equal(rig.behind, 1);
    assert_int_equal(rig.serial, 4);
    host_channel_offer(rig.channel, (const uint8_t *)"step", 4);
    h = greet(6);
    assert_int_equal(h.bundle_len, 4);
    assert_memory_equal(h.bundle, "step", 4);
    assert_int_equal(rig.behind, 2); /* it took it, and is behind still */
    assert_int_equal(rig.serial, 6);
    host_channel_offer(rig.channel, (const uint8_t *)"last", 4);
    greet(9);
    assert_int_equal(rig.behind, 2);
    host_channel_hello(rig.channel);
    assert_int_equal(greet(9).bundle_len, 6); /* and what is offered to all is as it was */
}

static void
one_that_takes_nothing_is_not_asked_for_again_and_again(void **state)
{
    (void)state;
    for (int i = 0; i < 5; i++) {
        greet(4);
        host_channel_offer(rig.channel, (const uint8_t *)"step", 4);
    }
    assert_int_equal(rig.behind, 1);
}

/* The step that the owner was asked for never came. */
static void
one_that_is_behind_still_is_looked_at_again_in_a_minute(void **state)
{
    (void)state;
    greet(4);
    host_channel_look(rig.channel);
    assert_int_equal(rig.behind, 1);
    ahead_s += HOST_CHANNEL_BEHIND_MS / 1000;
    host_channel_look(rig.channel);
    host_channel_look(rig.channel);
    assert_int_equal(rig.behind, 2);
    assert_int_equal(rig.serial, 4);
    ahead_s += HOST_CHANNEL_BEHIND_MS / 1000;
    host_channel_offer(rig.channel, (const uint8_t *)"step", 4);
    host_channel_look(rig.channel); /* it has not answered yet */
    assert_int_equal(rig.behind, 2);
    greet(9);
    ahead_s += HOST_CHANNEL_BEHIND_MS / 1000;
    host_channel_look(rig.channel);
    assert_int_equal(rig.behind, 2);
}

static void
one_without_a_bundle_or_with_a_newer_one_is_left_alone(void **state)
{
    (void)state;
    greet(0);
    host_channel_hello(rig.channel);
    greet(10);
    assert_int_equal(rig.behind, 0);
}

int
main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test_setup_teardown(an_agent_that_is_behind_is_brought_forward, make_rig, end_rig),
        cmocka_unit_test_setup_teardown(one_that_takes_nothing_is_not_asked_for_again_and_again, make_rig, end_rig),
        cmocka_unit_test_setup_teardown(one_that_is_behind_still_is_looked_at_again_in_a_minute, make_rig, end_rig),
        cmocka_unit_test_setup_teardown(one_without_a_bundle_or_with_a_newer_one_is_left_alone, make_rig, end_rig),
    };

    return cmocka_run_group_tests_name("host_bundle", tests, NULL, NULL);
}
