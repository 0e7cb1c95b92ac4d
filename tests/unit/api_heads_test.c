/*
 * The audit is signed, and a database that is not what was signed is found out.
 */
#include "config.h"

#include "tests/unit/sim_recovery.h"

#include <setjmp.h>
#include <sqlite3.h>
#include <stdarg.h>
#include <stdio.h>
#include <string.h>
#include <unistd.h>

#include <cmocka.h>

#include "tokenservice/api/audit_heads.h"

static void
say(const char *name)
{
    assert_int_equal(api_admin("POST", "/v1/admin/audiences", json_pack("{s:s}", "name", name)), 200);
}

static void
newest(struct audit_record *ret)
{
    uint8_t hash[AUDIT_HASH];
    struct error err;
    int64_t id;

    assert_int_equal(store_audit_end(the_api.service.store, &id, hash, &err), 0);
    assert_int_equal(store_audit_get(the_api.service.store, id, ret, &err), 0);
}

static bool
ends_with_head(void)
{
    struct audit_record r;

    newest(&r);
    return audit_head_is(&r);
}

static void
in_the_database(const char *sql)
{
    char path[128];
    sqlite3 *db;

    snprintf(path, sizeof path, "%s/tokend.db", the_api.folder);
    assert_int_equal(sqlite3_open(path, &db), SQLITE_OK);
    assert_int_equal(sqlite3_exec(db, sql, NULL, NULL, NULL), SQLITE_OK);
    sqlite3_close(db);
}

/* All hashes from record `from` on are made anew, as whoever writes the database can. */
static void
make_hashes_anew(int64_t from)
{
    struct store *store = the_api.service.store;
    struct audit_record before = { 0 }, r;
    char sql[200], hex[2 * AUDIT_HASH + 1];
    struct error err;

    assert_int_equal(store_audit_get(store, from - 1, &before, &err), 0);
    for (int64_t id = from; store_audit_get(store, id, &r, &err) == 0; id++) {
        assert_int_equal(audit_record_hash(before.hash, &r, r.hash, &err), 0);
        for (size_t i = 0; i < AUDIT_HASH; i++)
            snprintf(hex + 2 * i, 3, "%02x", r.hash[i]);
        snprintf(sql, sizeof sql, "UPDATE audit SET hash = x'%s' WHERE id = %lld", hex, (long long)id);
        in_the_database(sql);
        before = r;
    }
}

static int
start_again(struct error *err)
{
    api_fixture_close();
    return api_fixture_open(err);
}

static void
what_is_new_is_signed_and_its_head_is_a_record(void **state)
{
    CLEANUP(key_free) struct key *key = NULL;
    uint8_t point[KEY_POINT_LEN];
    struct audit_record r, before;
    struct audit_head head, as_kept;
    struct error err;

    (void)state;
    say("one");
    audit_heads_look(&the_api.service);
    newest(&r);
    assert_int_equal(audit_head_read(&r, &head, &err), 0);
    assert_string_equal(r.who, "service");
    assert_int_equal(head.id, r.id - 1);
    assert_int_equal(store_audit_get(the_api.service.store, head.id, &before, &err), 0);
    assert_memory_equal(before.hash, head.hash, sizeof head.hash);
    assert_int_equal(mint_signed(the_mint.client, point, &as_kept, &err), 0);
    assert_int_equal(as_kept.id, head.id);
    assert_int_equal(key_from_point(point, &key, &err), 0);
    assert_int_equal(audit_head_check(&head, key, &err), 0);
    audit_heads_look(&the_api.service); /* nothing new but itself */
    newest(&before);
    assert_int_equal(before.id, r.id);
}

static void
again_after_a_minute_or_many_records(void **state)
{
    char name[20];

    (void)state;
    the_api.frozen_ms = the_api.service.clock_ms();
    say("one");
    audit_heads_look(&the_api.service);
    say("two");
    audit_heads_look(&the_api.service);
    assert_false(ends_with_head());
    the_api.frozen_ms += HEAD_EVERY_MS;
    audit_heads_look(&the_api.service);
    assert_true(ends_with_head());
    for (int i = 0; i < HEAD_RECORDS; i++) {
        snprintf(name, sizeof name, "n%d", i);
        say(name);
    }
    audit_heads_look(&the_api.service);
    assert_true(ends_with_head());
    the_api.frozen_ms -= 2 * HEAD_EVERY_MS; /* a clock that was set back */
    say("three");
    audit_heads_look(&the_api.service);
    assert_true(ends_with_head());
    the_api.frozen_ms = 0;
}

static void
a_chain_that_was_written_anew_does_not_start(void **state)
{
    struct error err = { 0 };

    (void)state;
    say("one");
    say("two");
    audit_heads_look(&the_api.service);
    in_the_database("UPDATE audit SET seen = 'another' WHERE id = 2");
    make_hashes_anew(2);
    assert_int_equal(start_again(&err), -1);
    assert_string_equal(err.problem, "audit-broken");
    assert_non_null(strstr(err.text, "not the one that was signed"));
    /* Whoever writes the audit writes also that the database is recovered, and that its line was begun: it is no word. */
    in_the_database("INSERT OR REPLACE INTO meta (name, value) VALUES ('recovery', '5 5'), ('audit_line_of', '5')");
    assert_int_equal(start_again(&err), -1);
    assert_string_equal(err.problem, "audit-broken");
    /* An operator's word that it was restored, which is in each head from then on. */
    the_api.recovery = true;
    assert_int_equal(start_again(&err), 0);
    the_api.recovery = false;
    assert_true(ends_with_head());
}

static void
while_it_runs_it_is_not_signed(void **state)
{
    struct error err = { 0 };

    (void)state;
    say("one");
    audit_heads_look(&the_api.service);
    say("two");
    in_the_database("UPDATE audit SET seen = 'another' WHERE id = 1");
    in_the_database("UPDATE audit SET hash = x'0000000000000000000000000000000000000000000000000000000000000000' WHERE id = 1");
    make_hashes_anew(2);
    the_api.skew_ms = HEAD_EVERY_MS;
    audit_heads_look(&the_api.service);
    the_api.skew_ms = 0;
    assert_true(the_api.service.head_trouble);
    assert_false(ends_with_head());
    assert_int_equal(start_again(&err), -1);
}

/* It looks at each record since the newest head, and would again every few seconds. */
static void
what_can_not_be_signed_is_tried_again_in_a_minute(void **state)
{
    struct audit_head *newest_of_signer = &the_mint.keys->head.newest;

    (void)state;
    the_api.frozen_ms = the_api.service.clock_ms();
    say("one");
    newest_of_signer->id = 1000;
    audit_heads_look(&the_api.service);
    assert_true(the_api.service.head_trouble);
    newest_of_signer->id = 0;
    audit_heads_look(&the_api.service);
    assert_true(the_api.service.head_trouble);
    the_api.frozen_ms += HEAD_EVERY_MS;
    audit_heads_look(&the_api.service);
    assert_false(the_api.service.head_trouble);
    assert_true(ends_with_head());
    the_api.frozen_ms = 0;
}

static void
a_database_of_before_is_recovered_and_begins_a_new_line(void **state)
{
    struct audit_head first, second;
    struct audit_record r;
    struct error err;

    (void)state;
    say("one");
    audit_heads_look(&the_api.service);
    newest(&r);
    assert_int_equal(audit_head_read(&r, &first, &err), 0);
    sim_back_up();
    say("two");
    the_api.skew_ms = HEAD_EVERY_MS;
    audit_heads_look(&the_api.service);
    the_api.skew_ms = 0;
    sim_restore();
    assert_true(sim_in_recovery());
    newest(&r);
    assert_int_equal(audit_head_read(&r, &second, &err), 0);
    assert_true(second.line > first.line);
    assert_int_equal(second.id, r.id - 1);
    /* Once for each: not again at each start. */
    api_restart();
    assert_int_equal(api_audit_count(), r.id);
    say("three");
    audit_heads_look(&the_api.service);
    newest(&r);
    assert_int_equal(audit_head_read(&r, &first, &err), 0);
    assert_int_equal(first.line, second.line);
    assert_false(the_api.service.head_trouble);
    assert_int_equal(sim_recovery_finish(), 200);
}

static uint64_t
line_of_newest(void)
{
    struct audit_record r;
    struct audit_head head;
    struct error err;

    newest(&r);
    assert_int_equal(audit_head_read(&r, &head, &err), 0);
    return head.line;
}

/* The hosts have not shown yet whether the database is the newest there was. */
static void
in_grace_nothing_is_signed(void **state)
{
    CLEANUP(sim_stage_clear) struct sim_stage st;

    (void)state;
    sim_stage_new(&st);
    api_restart();
    say("one");
    audit_heads_look(&the_api.service);
    assert_false(ends_with_head());
    the_api.skew_ms = GRACE_MS;
    audit_heads_look(&the_api.service);
    assert_true(ends_with_head());
}

/* Of a backup that was made in recovery, too. */
static void
an_operators_word_begins_a_line_each_time(void **state)
{
    uint64_t first;

    (void)state;
    the_api.recovery = true;
    api_restart();
    first = line_of_newest();
    api_restart();
    the_api.recovery = false;
    assert_true(line_of_newest() > first);
}

/* state_dir is not mounted, say. */
static void
an_empty_database_is_no_start_without_an_operators_word(void **state)
{
    struct error err = { 0 };
    char path[128];

    (void)state;
    say("one");
    audit_heads_look(&the_api.service);
    api_fixture_close();
    snprintf(path, sizeof path, "%s/tokend.db", the_api.folder);
    assert_int_equal(unlink(path), 0);
    assert_int_equal(api_fixture_open(&err), -1);
    assert_string_equal(err.problem, "audit-broken");
    assert_non_null(strstr(err.text, "mounted"));
    assert_int_equal(start_again(&err), -1); /* nor the next */
    the_api.recovery = true;
    assert_int_equal(start_again(&err), 0);
    the_api.recovery = false;
    assert_true(sim_in_recovery());
    assert_true(ends_with_head());
}

/* Heads of an older line behind those of a newer would be no chain. */
static void
a_signer_of_before_begins_a_new_line(void **state)
{
    struct audit_head before;
    uint64_t line;

    (void)state;
    say("one");
    audit_heads_look(&the_api.service);
    before = the_mint.keys->head.newest;
    the_api.recovery = true;
    api_restart();
    the_api.recovery = false;
    line = line_of_newest();
    assert_true(line > before.line);
    assert_int_equal(sim_recovery_finish(), 200);
    audit_heads_look(&the_api.service);
    the_mint.keys->head.newest = before;
    api_restart();
    assert_true(ends_with_head());
    assert_true(line_of_newest() >= line); /* named by the second */
    assert_true(the_mint.keys->head.newest.id > before.id);
    say("two");
    the_api.skew_ms = HEAD_EVERY_MS;
    audit_heads_look(&the_api.service);
    the_api.skew_ms = 0;
    assert_true(line_of_newest() >= line);
}

static void
what_was_signed_and_not_recorded_is_signed_again(void **state)
{
    struct audit_head head;
    struct audit_record r;
    struct error err;

    (void)state;
    say("one");
    newest(&r);
    assert_int_equal(mint_head(the_mint.client, false, r.id, r.hash, &head, &err), 0);
    api_restart();
    assert_false(sim_in_recovery());
    say("two");
    audit_heads_look(&the_api.service);
    assert_true(ends_with_head());
}

static void
operators_get_key_and_head(void **state)
{
    CLEANUP(json_decref) json_t *o = NULL;
    struct audit_record r;

    (void)state;
    say("one");
    audit_heads_look(&the_api.service);
    newest(&r);
    assert_int_equal(api_admin("GET", "/v1/admin/audit/head", NULL), 200);
    o = api_answer();
    assert_int_equal(json_integer_value(json_object_get(o, "record")), r.id - 1);
    assert_int_equal(strlen(json_string_value(json_object_get(o, "key"))), 87);
    assert_int_equal(strlen(json_string_value(json_object_get(o, "hash"))), 64);
}

int
main(void)
{
    const struct CMUnitTest t[] = {
        API_TEST(what_is_new_is_signed_and_its_head_is_a_record),
        API_TEST(again_after_a_minute_or_many_records),
        API_TEST(a_chain_that_was_written_anew_does_not_start),
        API_TEST(while_it_runs_it_is_not_signed),
        API_TEST(what_can_not_be_signed_is_tried_again_in_a_minute),
        API_TEST(a_database_of_before_is_recovered_and_begins_a_new_line),
        API_TEST(in_grace_nothing_is_signed),
        API_TEST(an_operators_word_begins_a_line_each_time),
        API_TEST(an_empty_database_is_no_start_without_an_operators_word),
        API_TEST(a_signer_of_before_begins_a_new_line),
        API_TEST(what_was_signed_and_not_recorded_is_signed_again),
        API_TEST(operators_get_key_and_head),
    };

    return cmocka_run_group_tests_name("api_heads", t, api_fixture_start, api_fixture_stop);
}
