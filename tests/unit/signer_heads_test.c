/*
 * Heads of the audit: the signer signs each record once, never goes back, and remembers over restarts and crashes.
 */
#include "config.h"

#include "tests/unit/mint_fixture.h"

#include <fcntl.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stdio.h>
#include <string.h>
#include <unistd.h>

#include <cmocka.h>

#include "lib/common/clock.h"
#include "tokenservice/mint/signer_heads.h"

static struct signer_keys *signer;
static int64_t now;

static int
load(void)
{
    signer_keys_free(signer);
    signer = NULL;
    return signer_keys_load(the_mint.key_dir, &signer, &the_mint.err);
}

static int
sign(bool new_line, int64_t id, uint8_t byte, struct audit_head *ret)
{
    struct mint_request r = { .op = MINT_HEAD, .new_line = new_line, .head_id = id };

    memset(r.head_hash, byte, sizeof r.head_hash);
    return signer_head(signer, &r, now, ret, &the_mint.err);
}

static void
assert_signed(int64_t id, uint8_t byte)
{
    uint64_t line = signer->head.newest.line;
    struct audit_head head;

    assert_int_equal(sign(false, id, byte, &head), 0);
    assert_int_equal(audit_head_check(&head, signer->audit, &the_mint.err), 0);
    assert_int_equal(head.id, id);
    assert_int_equal(head.line, line);
    assert_int_equal(head.ms, now * 1000);
    assert_int_equal(head.hash[31], byte);
}

static void
assert_refused(int64_t id, uint8_t byte)
{
    struct audit_head head;

    assert_int_equal(sign(false, id, byte, &head), -1);
    assert_int_equal(the_mint.err.code, ERROR_DENIED);
    assert_string_equal(the_mint.err.problem, "audit-broken");
}

static int
begin_anew(void **state)
{
    char path[200];

    (void)state;
    now = clock_realtime_ms() / 1000;
    for (int i = 0; i < 2; i++) {
        snprintf(path, sizeof path, "%s/%s", the_mint.key_dir, i ? SIGNER_FILE_AUDIT : SIGNER_FILE_HEAD);
        (void)unlink(path);
    }
    return load();
}

static void
what_was_signed_is_signed_again_but_nothing_else_in_its_place(void **state)
{
    (void)state;
    assert_signed(5, 1);
    assert_signed(5, 1);
    assert_refused(5, 2);
    assert_refused(4, 1);
    assert_signed(6, 2);
    assert_refused(5, 1);
    assert_int_equal(load(), 0);
    assert_refused(5, 1);
    assert_refused(6, 1);
    assert_signed(6, 2);
    assert_signed(INT64_MAX, 3);
}

static void
a_new_line_goes_back_and_is_later_than_the_one_before(void **state)
{
    struct audit_head head;
    uint64_t before;

    (void)state;
    assert_signed(50, 1);
    before = signer->head.newest.line;
    assert_int_equal(sign(true, 20, 7, &head), 0);
    assert_true(head.line > before);
    assert_refused(20, 1);
    assert_refused(19, 1);
    assert_signed(21, 1);
    before = head.line;
    now -= 1000000; /* a clock that was set back */
    assert_int_equal(sign(true, 3, 7, &head), 0);
    assert_int_equal(head.line, before + 1);
    assert_int_equal(load(), 0);
    assert_int_equal(signer->head.newest.line, before + 1);
    assert_int_equal(signer->head.newest.id, 3);
}

/* One slot half written, as a crash leaves it: the head of before counts, and with none whole nothing does. */
static void
a_slot_that_is_half_written_is_passed_over(void **state)
{
    int fd;

    (void)state;
    assert_signed(8, 1);
    assert_signed(9, 2);
    fd = dup(signer->head.fd);
    assert_int_equal(pwrite(fd, "torn", 4, (off_t)signer->head.slot * HEAD_SLOT_LEN + 40), 4);
    assert_int_equal(load(), 0);
    assert_int_equal(signer->head.newest.id, 8);
    assert_signed(9, 2);
    assert_int_equal(pwrite(fd, "torn", 4, 40), 4);
    assert_int_equal(pwrite(fd, "torn", 4, HEAD_SLOT_LEN + 40), 4);
    close(fd);
    assert_int_equal(load(), -1);
    assert_int_equal(the_mint.err.code, ERROR_INPUT);
}

static void
what_can_not_be_kept_is_not_signed(void **state)
{
    struct audit_head head;
    int fd = signer->head.fd;

    (void)state;
    signer->head.fd = open("/dev/full", O_WRONLY | O_CLOEXEC);
    assert_int_equal(sign(false, 1, 1, &head), -1);
    assert_int_equal(signer->head.newest.id, 0);
    close(signer->head.fd);
    signer->head.fd = fd;
    assert_signed(1, 1);
}

/* As a folder of an earlier version is: it has neither. */
static void
a_trust_domain_that_was_there_before_gets_a_key(void **state)
{
    uint8_t first[KEY_POINT_LEN], again[KEY_POINT_LEN];

    (void)state;
    assert_true(signer->head.newest.line >= (uint64_t)now);
    assert_int_equal(signer->head.newest.id, 0);
    key_point(signer->audit, first);
    assert_int_equal(load(), 0);
    key_point(signer->audit, again);
    assert_memory_equal(first, again, sizeof first);
}

static void
tokend_asks_for_it_in_packets(void **state)
{
    const uint8_t hash[AUDIT_HASH] = { 3 }, other[AUDIT_HASH] = { 4 };
    CLEANUP(key_free) struct key *key = NULL;
    uint8_t point[KEY_POINT_LEN];
    struct audit_head head, newest;

    (void)state;
    assert_int_equal(mint_head(the_mint.client, false, 2, hash, &head, &the_mint.err), 0);
    assert_int_equal(mint_signed(the_mint.client, point, &newest, &the_mint.err), 0);
    assert_int_equal(key_from_point(point, &key, &the_mint.err), 0);
    assert_int_equal(audit_head_check(&head, key, &the_mint.err), 0);
    assert_int_equal(newest.id, 2);
    assert_memory_equal(newest.hash, hash, sizeof hash);
    assert_int_equal(mint_head(the_mint.client, false, 2, other, &head, &the_mint.err), -1);
    assert_string_equal(the_mint.err.problem, "audit-broken");
    assert_int_equal(mint_head(the_mint.client, false, 0, hash, &head, &the_mint.err), -1);
    assert_int_equal(the_mint.err.code, ERROR_INPUT);
}

static int
stop(void **state)
{
    signer_keys_free(signer);
    return mint_fixture_stop(state);
}

int
main(void)
{
    const struct CMUnitTest t[] = {
        cmocka_unit_test_setup(what_was_signed_is_signed_again_but_nothing_else_in_its_place, begin_anew),
        cmocka_unit_test_setup(a_new_line_goes_back_and_is_later_than_the_one_before, begin_anew),
        cmocka_unit_test_setup(a_slot_that_is_half_written_is_passed_over, begin_anew),
        cmocka_unit_test_setup(what_can_not_be_kept_is_not_signed, begin_anew),
        cmocka_unit_test_setup(a_trust_domain_that_was_there_before_gets_a_key, begin_anew),
        cmocka_unit_test(tokend_asks_for_it_in_packets),
    };

    return cmocka_run_group_tests_name("signer_heads", t, mint_fixture_start, stop);
}
