/*
 * The agent's channel on a device: a terminal takes the part of the virtio port, whose reader sees an end when
 * nobody listens on the host's side.
 */
#include "config.h"

#include "guestagent/guest_channel.h"

#include <fcntl.h>
#include <pty.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stdatomic.h>
#include <stddef.h>
#include <stdio.h>
#include <string.h>
#include <termios.h>
#include <unistd.h>
#include <cmocka.h>

#include "lib/common/clock.h"
#include "lib/common/fdio.h"
#include "lib/wire/frame.h"

static int
take_hello(void *context, const struct hello *hello, uint64_t *ret_serial, struct error *err)
{
    (void)context;
    (void)hello;
    (void)err;
    *ret_serial = 1;
    return 0;
}

static void
greeted(void *context)
{
    (void)context;
}

static atomic_int stale;

static void
count_stale(void *context)
{
    (void)context;
    stale++;
}

static void
say_stale(int host, uint64_t session)
{
    CLEANUP(buf_clear) struct buf out = BUF(64);
    struct error err = { 0 };

    frame_encode(FRAME_STALE, session, NULL, 0, &out);
    assert_int_equal(fd_write_all(host, out.data, out.len, &err), 0);
}

static void
say_hello(int host, uint64_t session)
{
    CLEANUP(buf_clear) struct buf payload = BUF(1024), out = BUF(2048);
    struct hello h = { .version = CHANNEL_VERSION, .session = session, .epoch = 7,
                       .issuer = "https://id.example.test" };
    struct error err = { 0 };

    assert_int_equal(hello_encode(&h, &payload, &err), 0);
    frame_encode(FRAME_HELLO, session, payload.data, payload.len, &out);
    assert_int_equal(fd_write_all(host, out.data, out.len, &err), 0);
}

static bool
waits_for(struct guest_channel *c, uint64_t session)
{
    struct greeting got = { 0 };
    struct error err = { 0 };

    for (int i = 0; i < 100 && got.session != session; i++) {
        usleep(20000);
        (void)guest_channel_wait(c, clock_monotonic_ms(), &got, &err);
    }
    return got.session == session;
}

/* The host's daemon was killed in the middle of a frame. */
static void
half_a_frame_of_a_host_that_went_away_is_forgotten(void **state)
{
    CLEANUP(guest_channel_free) struct guest_channel *c = NULL;
    CLEANUP(buf_clear) struct buf frame = BUF(2 * FRAME_PAYLOAD_MAX);
    static const uint8_t data[FRAME_PAYLOAD_MAX];
    struct guest_channel_options options = { .on_hello = take_hello, .on_greeted = greeted };
    struct termios raw, lines;
    struct error err = { 0 };
    char path[64];
    int host, guest;

    (void)state;
    memset(&raw, 0, sizeof raw);
    cfmakeraw(&raw);
    raw.c_cc[VMIN] = 1;
    lines = raw;
    lines.c_lflag = ICANON;
    lines.c_cc[VEOF] = 4;
    assert_int_equal(openpty(&host, &guest, path, &raw, NULL), 0);
    options.where = path;
    assert_int_equal(guest_channel_new(&options, &c, &err), 0);
    assert_int_equal(guest_channel_start(c, &err), 0);
    say_hello(host, 11);
    assert_true(waits_for(c, 11));
    frame_encode(FRAME_DATA, 11, data, sizeof data, &frame);
    assert_int_equal(fd_write_all(host, frame.data, 100, &err), 0);
    usleep(200000);
    assert_int_equal(tcsetattr(guest, TCSANOW, &lines), 0);
    assert_int_equal(write(host, "\4", 1), 1);
    usleep(200000);
    assert_int_equal(tcsetattr(guest, TCSANOW, &raw), 0);
    usleep(500000);
    say_hello(host, 13);
    assert_true(waits_for(c, 13));
    guest_channel_stop(c);
    close(guest);
    close(host);
}

/* In the session that it greeted with, and in no other. */
static void
a_word_of_a_revoked_key_is_passed_on(void **state)
{
    CLEANUP(guest_channel_free) struct guest_channel *c = NULL;
    struct guest_channel_options options = { .on_hello = take_hello, .on_greeted = greeted, .on_stale = count_stale };
    struct termios raw;
    struct error err = { 0 };
    char path[64];
    int host, guest;

    (void)state;
    memset(&raw, 0, sizeof raw);
    cfmakeraw(&raw);
    raw.c_cc[VMIN] = 1;
    assert_int_equal(openpty(&host, &guest, path, &raw, NULL), 0);
    options.where = path;
    assert_int_equal(guest_channel_new(&options, &c, &err), 0);
    assert_int_equal(guest_channel_start(c, &err), 0);
    say_stale(host, 11);
    say_hello(host, 11);
    assert_true(waits_for(c, 11));
    say_stale(host, 9);
    say_hello(host, 13);
    assert_true(waits_for(c, 13));
    assert_int_equal(stale, 0);
    say_stale(host, 13);
    for (int i = 0; i < 250 && stale == 0; i++)
        usleep(20000);
    assert_int_equal(stale, 1);
    guest_channel_stop(c);
    close(guest);
    close(host);
}

int
main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(a_word_of_a_revoked_key_is_passed_on),
        cmocka_unit_test(half_a_frame_of_a_host_that_went_away_is_forgotten),
    };

    return cmocka_run_group_tests_name("guest_channel", tests, NULL, NULL);
}
