#include "config.h"

#include "tokenservice/mint/identity_row.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stdio.h>
#include <string.h>

#include <cmocka.h>

#include "lib/wire/transcript.h"

static struct identity_row
sample(void)
{
    struct identity_row row = {
        .uuid = { { 1, 2, 3 } },
        .name = "web \xc3\xa9",
        .gen = 7,
        .state = ROW_OK,
        .floor = FACTOR_HOST | FACTOR_VTPM,
        .owner = "Ann O'Nym",
        .labels = "{\"tier\":\"db\"}",
        .audiences = "vault https://db.example",
        .host = "one.example",
        .epoch = 1700000000000,
        .has_ak = true,
        .has_ek = true,
        .has_cur = true,
        .has_x = true,
        .ek_origin = ROW_EK_CA,
    };

    memset(row.ak_name, 0xa1, sizeof row.ak_name);
    memset(row.ek_digest, 0xe2, sizeof row.ek_digest);
    memset(row.cur, 0xc3, sizeof row.cur);
    memset(row.x, 0xd4, sizeof row.x);
    return row;
}

/* The same in the middle of a step. */
static struct identity_row
stepping(void)
{
    struct identity_row row = sample();

    row.ratchet = ROW_RATCHET_ON;
    row.has_next = row.has_xnext = true;
    memset(row.next, 0xc4, sizeof row.next);
    memset(row.xnext, 0xd5, sizeof row.xnext);
    memset(row.v, 0xf6, sizeof row.v);
    row.pend_run = (struct proof_run){ 1700000000000, 7, 0x80000001 };
    row.done_run = (struct proof_run){ 1699999999999, 6, 3 };
    return row;
}

/* The same, with a state that was refused, and an operator's word on one. */
static struct identity_row
accepted(void)
{
    struct identity_row row = stepping();

    row.seen = (struct row_seen){ .has = true, .ms = 1700000000009, .behind = 3, .ago = ROW_AGO_UNKNOWN };
    row.seen.shown.has_cur = row.seen.shown.has_x = true;
    memset(row.seen.shown.cur, 0x11, 32);
    memset(row.seen.shown.x, 0x22, 32);
    row.grant = (struct row_grant){ .given = true, .epoch = row.epoch, .from = 1699999999999, .ends_ms = 1700000600000 };
    row.grant.shown.has_cur = row.grant.shown.has_new = true;
    memset(row.grant.shown.cur, 0x33, 32);
    memset(row.grant.shown.new_, 0x44, 32);
    row.restored_ms = 1699999999999;
    return row;
}

/* The same, that may come with a new TPM, which its host has registered. */
static struct identity_row
renewing(void)
{
    struct identity_row row = accepted();

    row.renewal = (struct row_renewal){ .given = true, .ends_ms = 1700003600000, .host = "two.example",
                                        .has_ek = true, .has_cur = true, .ek_origin = ROW_EK_CA };
    memset(row.renewal.ek_digest, 0x55, sizeof row.renewal.ek_digest);
    memset(row.renewal.x, 0x66, sizeof row.renewal.x);
    memset(row.renewal.cur, 0x77, sizeof row.renewal.cur);
    return row;
}

/* Enrolled with a TPM that was a copy of another VM's. */
static struct identity_row
copied(void)
{
    struct identity_row row = sample();

    row.floor = FACTOR_HOST | FACTOR_SECRET;
    row.has_ak = row.has_ek = row.has_x = false;
    row.ek_origin = ROW_EK_COPIED;
    memset(row.ak_name, 0, sizeof row.ak_name);
    memset(row.ek_digest, 0, sizeof row.ek_digest);
    memset(row.x, 0, sizeof row.x);
    return row;
}

static void
assert_refused(const struct identity_row *row)
{
    CLEANUP(buf_clear) struct buf bytes = BUF(ROW_MAX);
    struct error err = { 0 };

    assert_int_equal(identity_row_encode(row, &bytes, &err), -1);
    assert_int_equal(err.code, ERROR_INPUT);
}

static void
a_row_comes_back_as_it_was(void **state)
{
    CLEANUP(buf_clear) struct buf bytes = BUF(ROW_MAX), again = BUF(ROW_MAX);
    struct identity_row row = sample(), read;
    struct error err = { 0 };

    (void)state;
    assert_int_equal(identity_row_encode(&row, &bytes, &err), 0);
    assert_memory_equal(bytes.data, "\0\014virtid-row-1", 14);
    assert_int_equal(identity_row_decode(bytes.data, bytes.len, &read, &err), 0);
    assert_string_equal(read.name, row.name);
    assert_string_equal(read.labels, row.labels);
    assert_string_equal(read.audiences, row.audiences);
    assert_int_equal(read.epoch, row.epoch);
    assert_int_equal(read.state, ROW_OK);
    assert_memory_equal(read.cur, row.cur, sizeof row.cur);
    assert_int_equal(identity_row_encode(&read, &again, &err), 0);
    assert_int_equal(bytes.len, again.len);
    assert_memory_equal(bytes.data, again.data, again.len);
}

static void
a_step_under_way_comes_back_as_it_was(void **state)
{
    CLEANUP(buf_clear) struct buf bytes = BUF(ROW_MAX);
    struct identity_row row = stepping(), read;
    struct error err = { 0 };

    (void)state;
    assert_int_equal(identity_row_encode(&row, &bytes, &err), 0);
    assert_memory_equal(bytes.data, "\0\014virtid-row-2", 14);
    assert_int_equal(identity_row_decode(bytes.data, bytes.len, &read, &err), 0);
    assert_memory_equal(read.next, row.next, sizeof row.next);
    assert_memory_equal(read.xnext, row.xnext, sizeof row.xnext);
    assert_memory_equal(read.v, row.v, sizeof row.v);
    assert_memory_equal(&read.pend_run, &row.pend_run, sizeof row.pend_run);
    assert_memory_equal(&read.done_run, &row.done_run, sizeof row.done_run);
    assert_int_equal(read.ratchet, ROW_RATCHET_ON);
}

static void
an_operators_word_comes_back_as_it_was(void **state)
{
    CLEANUP(buf_clear) struct buf bytes = BUF(ROW_MAX);
    struct identity_row row = accepted(), read;
    struct error err = { 0 };

    (void)state;
    assert_int_equal(identity_row_encode(&row, &bytes, &err), 0);
    assert_memory_equal(bytes.data, "\0\014virtid-row-3", 14);
    assert_int_equal(identity_row_decode(bytes.data, bytes.len, &read, &err), 0);
    assert_int_equal(read.seen.ms, row.seen.ms);
    assert_int_equal(read.seen.behind, 3);
    assert_int_equal(read.seen.ago, ROW_AGO_UNKNOWN);
    assert_memory_equal(&read.seen.shown, &row.seen.shown, sizeof row.seen.shown);
    assert_int_equal(read.grant.epoch, row.epoch);
    assert_int_equal(read.grant.from, row.grant.from);
    assert_int_equal(read.grant.ends_ms, row.grant.ends_ms);
    assert_memory_equal(&read.grant.shown, &row.grant.shown, sizeof row.grant.shown);
    assert_int_equal(read.restored_ms, row.restored_ms);
}

static void
a_new_tpm_that_is_awaited_comes_back_as_it_was(void **state)
{
    CLEANUP(buf_clear) struct buf bytes = BUF(ROW_MAX), plain = BUF(ROW_MAX);
    struct identity_row row = renewing(), read;
    struct error err = { 0 };

    (void)state;
    assert_int_equal(identity_row_encode(&row, &bytes, &err), 0);
    assert_memory_equal(bytes.data, "\0\014virtid-row-4", 14);
    assert_int_equal(identity_row_decode(bytes.data, bytes.len, &read, &err), 0);
    assert_memory_equal(&read.renewal, &row.renewal, sizeof row.renewal);
    assert_int_equal(read.grant.ends_ms, row.grant.ends_ms);
    /* The word alone, of a VM with nothing else to say. */
    row = sample();
    row.renewal = (struct row_renewal){ .given = true, .ends_ms = 1, .host = "two.example" };
    assert_int_equal(identity_row_encode(&row, &plain, &err), 0);
    assert_int_equal(identity_row_decode(plain.data, plain.len, &read, &err), 0);
    assert_memory_equal(&read.renewal, &row.renewal, sizeof row.renewal);
}

/* For the first of a pool: it is nobody's, so nobody can have registered one. */
static void
a_new_tpm_may_wait_for_a_host_that_has_no_name_yet(void **state)
{
    CLEANUP(buf_clear) struct buf bytes = BUF(ROW_MAX), none = BUF(ROW_MAX);
    struct identity_row row = renewing(), read;
    struct error err = { 0 };

    (void)state;
    row.renewal.host[0] = '\0';
    assert_int_equal(identity_row_encode(&row, &none, &err), -1);
    row.renewal = (struct row_renewal){ .given = true, .ends_ms = 1 };
    assert_int_equal(identity_row_encode(&row, &bytes, &err), 0);
    assert_int_equal(identity_row_decode(bytes.data, bytes.len, &read, &err), 0);
    assert_memory_equal(&read.renewal, &row.renewal, sizeof row.renewal);
}

static void
one_with_a_copied_tpm_comes_back_as_it_was(void **state)
{
    CLEANUP(buf_clear) struct buf bytes = BUF(ROW_MAX);
    struct identity_row row = copied(), read;
    struct error err = { 0 };

    (void)state;
    assert_int_equal(identity_row_encode(&row, &bytes, &err), 0);
    assert_int_equal(identity_row_decode(bytes.data, bytes.len, &read, &err), 0);
    assert_true(read.ek_origin == ROW_EK_COPIED && !read.has_ek);
    row.renewal = (struct row_renewal){ .given = true, .ends_ms = 1700003600000, .host = "two.example" };
    buf_clear(&bytes);
    assert_int_equal(identity_row_encode(&row, &bytes, &err), 0);
}

static void
fill(char *text, size_t len)
{
    memset(text, 'a', len);
    text[len] = '\0';
}

static void
the_longest_row_has_room(void **state)
{
    CLEANUP(buf_clear) struct buf bytes = BUF(ROW_MAX);
    struct identity_row row = renewing();
    struct error err = { 0 };

    (void)state;
    fill(row.name, sizeof row.name - 1);
    fill(row.owner, ROW_OWNER_MAX);
    fill(row.host, sizeof row.host - 1);
    fill(row.renewal.host, sizeof row.renewal.host - 1);
    memset(row.labels, 0, sizeof row.labels);
    strcpy(row.labels, "{\"a\":\"");
    memset(row.labels + 6, 'b', ROW_LABELS_MAX - 8);
    memcpy(row.labels + ROW_LABELS_MAX - 2, "\"}", 2);
    for (size_t at = 0; at < ROW_AUDIENCES_MAX; at++)
        row.audiences[at] = at % 64 == 63 ? ' ' : 'c';
    row.audiences[ROW_AUDIENCES_MAX - 1] = 'c';
    row.seen.shown.has_new = row.grant.shown.has_x = true;
    if (identity_row_encode(&row, &bytes, &err) < 0)
        fail_msg("%s", err.text);
    assert_in_range(bytes.len, 5000, ROW_MAX);
}

static void
a_new_row_needs_nothing_but_its_uuid(void **state)
{
    CLEANUP(buf_clear) struct buf bytes = BUF(ROW_MAX);
    struct identity_row row = { .state = ROW_PENDING, .labels = "{}" }, read;
    struct error err = { 0 };

    (void)state;
    assert_int_equal(identity_row_encode(&row, &bytes, &err), 0);
    assert_int_equal(identity_row_decode(bytes.data, bytes.len, &read, &err), 0);
    assert_false(read.has_ak || read.has_ek || read.has_cur || read.has_x);
}

static void
flip_every_bit(const struct identity_row *row)
{
    CLEANUP(buf_clear) struct buf bytes = BUF(ROW_MAX);
    struct identity_row read;
    struct error err = { 0 };

    assert_int_equal(identity_row_encode(row, &bytes, &err), 0);
    for (size_t bit = 0; bit < 8 * bytes.len; bit++) {
        CLEANUP(buf_clear) struct buf again = BUF(ROW_MAX);

        bytes.data[bit / 8] ^= (uint8_t)(1u << bit % 8);
        if (identity_row_decode(bytes.data, bytes.len, &read, &err) == 0) {
            assert_int_equal(identity_row_encode(&read, &again, &err), 0);
            assert_int_equal(bytes.len, again.len);
            assert_memory_equal(bytes.data, again.data, again.len);
        }
        bytes.data[bit / 8] ^= (uint8_t)(1u << bit % 8);
    }
}

static void
whatever_decodes_encodes_to_the_same_bytes(void **state)
{
    struct identity_row row = sample(), step = stepping(), word = accepted(), tpm = renewing(), copy = copied();

    (void)state;
    flip_every_bit(&row);
    flip_every_bit(&step);
    flip_every_bit(&word);
    flip_every_bit(&tpm);
    flip_every_bit(&copy);
}

static void
a_row_cut_or_lengthened_anywhere_is_refused(void **state)
{
    CLEANUP(buf_clear) struct buf bytes = BUF(ROW_MAX);
    struct identity_row row = stepping(), read;
    struct error err = { 0 };

    (void)state;
    assert_int_equal(identity_row_encode(&row, &bytes, &err), 0);
    for (size_t len = 0; len < bytes.len; len++)
        assert_int_equal(identity_row_decode(bytes.data, len, &read, &err), -1);
    buf_add_u8(&bytes, 0);
    assert_int_equal(identity_row_decode(bytes.data, bytes.len, &read, &err), -1);
}

static void
members_out_of_their_grammar_are_refused(void **state)
{
    struct identity_row row;

    (void)state;
    row = sample(), row.state = 0, assert_refused(&row);
    row = sample(), row.state = ROW_RETIRED + 1, assert_refused(&row);
    row = sample(), row.floor = FACTOR_VTPM, assert_refused(&row);
    row = sample(), row.floor = 8, assert_refused(&row);
    row = sample(), row.floor = 0, assert_refused(&row);
    row = sample(), row.gen = (uint64_t)INT64_MAX + 1, assert_refused(&row);
    row = sample(), row.epoch = (uint64_t)INT64_MAX + 1, assert_refused(&row);
    row = sample(), strcpy(row.host, "One"), assert_refused(&row);
    row = sample(), strcpy(row.name, "a/b"), assert_refused(&row);
    row = sample(), strcpy(row.owner, "a\nb"), assert_refused(&row);
    row = sample(), strcpy(row.labels, "[]"), assert_refused(&row);
    row = sample(), strcpy(row.labels, "{\"a\":1}"), assert_refused(&row);
    row = sample(), strcpy(row.labels, "{\"a\":\"1\",\"a\":\"2\"}"),
    assert_refused(&row);
    row = sample(), strcpy(row.labels, ""), assert_refused(&row);
    row = sample(), strcpy(row.audiences, "a  b"), assert_refused(&row);
    row = sample(), strcpy(row.audiences, "a "), assert_refused(&row);
    row = sample(), strcpy(row.audiences, "pop:a"), assert_refused(&row);
    row = sample(), row.has_ek = false, assert_refused(&row);
    row = sample(), row.ek_origin = ROW_EK_NONE, assert_refused(&row);
    row = sample(), row.ek_origin = 4, assert_refused(&row);
    row = sample(), row.ek_origin = ROW_EK_COPIED, assert_refused(&row);
    row = copied(), row.floor |= FACTOR_VTPM, assert_refused(&row);
    row = stepping(), row.ratchet = 8 | ROW_RATCHET_ON, assert_refused(&row);
    row = stepping(), row.ratchet = ROW_RATCHET_NO_DISK, assert_refused(&row);
    row = stepping(), row.has_cur = false, assert_refused(&row);
    row = stepping(), row.has_x = false, assert_refused(&row);
    row = stepping(), row.done_run.epoch = UINT64_MAX, assert_refused(&row);
    row = accepted(), row.seen.behind = 4, assert_refused(&row);
    row = accepted(), row.seen.behind = 0, assert_refused(&row);
    row = accepted(), row.grant.epoch--, assert_refused(&row);
    row = accepted(), row.grant.from = 0, assert_refused(&row);
    row = accepted(), row.grant.ends_ms = -1, assert_refused(&row);
    row = accepted(), row.restored_ms = -1, assert_refused(&row);
    row = renewing(), row.state = ROW_LOCKED, assert_refused(&row);
    row = renewing(), row.has_ak = row.has_ek = false, row.ek_origin = ROW_EK_NONE, assert_refused(&row);
    row = renewing(), row.renewal.host[0] = '\0', assert_refused(&row);
    row = renewing(), row.renewal.ends_ms = -1, assert_refused(&row);
    row = renewing(), row.renewal.has_ek = false, assert_refused(&row);
    row = renewing(), row.renewal.ek_origin = ROW_EK_NONE, assert_refused(&row);
    row = renewing(), row.renewal.ek_origin = 3, assert_refused(&row);
}

int
main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(a_row_comes_back_as_it_was),
        cmocka_unit_test(a_step_under_way_comes_back_as_it_was),
        cmocka_unit_test(an_operators_word_comes_back_as_it_was),
        cmocka_unit_test(a_new_tpm_that_is_awaited_comes_back_as_it_was),
        cmocka_unit_test(one_with_a_copied_tpm_comes_back_as_it_was),
        cmocka_unit_test(a_new_tpm_may_wait_for_a_host_that_has_no_name_yet),
        cmocka_unit_test(the_longest_row_has_room),
        cmocka_unit_test(a_new_row_needs_nothing_but_its_uuid),
        cmocka_unit_test(whatever_decodes_encodes_to_the_same_bytes),
        cmocka_unit_test(a_row_cut_or_lengthened_anywhere_is_refused),
        cmocka_unit_test(members_out_of_their_grammar_are_refused),
    };

    return cmocka_run_group_tests_name("identity_row", tests, NULL, NULL);
}
