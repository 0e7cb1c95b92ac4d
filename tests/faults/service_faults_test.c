/*
 * service_faults_test.c - the token service on a disk that fails at each call: what it answered stays
 */
#include "config.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <sys/wait.h>
#include <unistd.h>

#include <cmocka.h>

#include <sqlite3.h>

#include "lib/common/encode.h"
#include "lib/crypto/hash.h"
#include "tests/faults/fault.h"
#include "tests/faults/fault_run.h"
#include "tests/faults/service_work.h"
#include "tokenservice/api/vm_account.h"

enum { GRACE_TRIES = 3, WAL_FRAMES = 985, FRAME_SIZE = 4096 + 24 };

extern const char store_schema_first[];

static struct sim_host holder, other, renewing;
static struct sim_vm vm;

struct service_acks {
    uint64_t seq; /* of the reports of this VM's hosts */
    uint64_t epoch;
    bool account, ended, mode;
    unsigned tokens;
    bool audience, audience_removed, placed;
    bool joined, renewed, used_tried, used;
    uint8_t joined_cert[32], renewed_cert[32];
};

/* ---- a service of the folder ---- */

/* `steps` with a service that is there; it ends without being closed where they were refused, as a
 * service that is stopped by a signal does. */
static int
serve_steps(const char *folder, struct service_acks *a, int (*steps)(struct service_acks *a))
{
    struct error err = { 0 };
    int outcome;

    if (service_work_open(folder, &a->seq, &err) < 0)
        return -1;
    outcome = steps(a);
    if (outcome < 0 && getenv("VERBOSE"))
        fprintf(stderr, "refused: %d %s\n", the_api.status, the_api.problem);
    service_work_close(&a->seq);
    return outcome;
}

/* ---- steps ---- */

static void
end_grace(struct service_acks *a)
{
    (void)sim_host_say(&holder, &vm.uuid, VIEW_RUN, vm.epoch, false);
    (void)sim_host_say(&other, &vm.uuid, VIEW_OFF, 0, false);
    (void)sim_host_say(&renewing, &vm.uuid, VIEW_OFF, 0, false);
    a->seq = the_api.seq;
}

/* Behind a restart hosts are waited for: each has to report once. */
static int
report(struct service_acks *a, enum lease_view view, uint64_t e, bool acquire, struct lease_result *ret)
{
    for (int i = 0; i < GRACE_TRIES; i++) {
        *ret = sim_host_say(&holder, &vm.uuid, view, e, acquire);
        a->seq = the_api.seq;
        if (the_api.status == 200)
            return 0;
        (void)sim_host_say(&other, &vm.uuid, VIEW_OFF, 0, false);
        a->seq = the_api.seq;
    }
    return -1;
}

static int
take_lease(struct service_acks *a)
{
    struct lease_result result;

    for (int i = 0; i < GRACE_TRIES; i++) {
        if (report(a, VIEW_RUN, a->epoch, true, &result) < 0)
            return -1;
        if (result.answer == LEASE_OK) {
            assert_true(result.e >= a->epoch); /* an epoch never goes back */
            a->epoch = vm.epoch = result.e;
            return 0;
        }
        end_grace(a);
    }
    return -1;
}

static int
give_account(struct service_acks *a)
{
    if (sim_vm_account(&vm, &holder) != 200)
        return -1;
    a->account = true;
    return 0;
}

static int
get_token(struct service_acks *a)
{
    static struct answer answer;

    if (sim_vm_token(&vm, &holder, &answer) != 200 || answer.type != ANSWER_TOKEN)
        return -1;
    a->tokens++;
    return 0;
}

/* At no time two hosts have it. */
static int
ask_as_another(struct service_acks *a)
{
    struct lease_result result = sim_host_say(&other, &vm.uuid, VIEW_RUN, 0, true);

    a->seq = the_api.seq;
    assert_true(the_api.status != 200 || result.answer != LEASE_OK);
    return 0;
}

static int
enrol_steps(struct service_acks *a)
{
    return take_lease(a) < 0 || give_account(a) < 0 || get_token(a) < 0 ? -1 : ask_as_another(a);
}

/* A run with its tokens ends, and another begins. */
static int
run_steps(struct service_acks *a)
{
    struct lease_result result;
    uint64_t ended;

    if (take_lease(a) < 0 || get_token(a) < 0 || get_token(a) < 0)
        return -1;
    ended = a->epoch;
    if (report(a, VIEW_GO, ended, false, &result) < 0)
        return -1;
    a->ended = true;
    if (take_lease(a) < 0 || get_token(a) < 0)
        return -1;
    assert_true(a->epoch > ended); /* a new run has an epoch of its own */
    return ask_as_another(a);
}

static int
operator_steps(struct service_acks *a)
{
    char path[100];
    int status;

    end_grace(a);
    if (api_admin("POST", "/v1/admin/audiences",
                  json_pack("{s:s,s:b,s:[s]}", "name", "https://kept", "all", 1, "claims", "name")) != 200)
        return -1;
    a->audience = true;
    if (api_admin("POST", "/v1/admin/audiences",
                  json_pack("{s:s,s:b,s:[]}", "name", "https://gone", "all", 1, "claims")) != 200 ||
        api_admin("POST", "/v1/admin/audiences/remove", json_pack("{s:s}", "name", "https://gone")) != 200)
        return -1;
    a->audience_removed = true;
    snprintf(path, sizeof path, "/v1/admin/vms/%s", vm.text);
    if (api_admin("PATCH", path, json_pack("{s:s,s:s}", "owner", "team", "mode", "strict")) != 200)
        return -1;
    status = sim_host_placed(&other, &vm.uuid, json_pack("{s:b}", "force", 1));
    a->seq = the_api.seq;
    if (status != 200)
        return -1;
    a->placed = true;
    return 0;
}

static void
digest_of(const struct sim_host *h, uint8_t ret[static 32])
{
    struct error err;

    assert_int_equal(hash_sha256(h->cert, h->cert_len, ret, &err), 0);
}

/* A host joins and goes; another gets new certificates. */
static int
host_steps(struct service_acks *a)
{
    static struct sim_host newcomer;
    CLEANUP(json_decref) json_t *code = NULL;
    struct error err = { 0 };
    size_t len;
    const char *token;

    (void)api_admin("DELETE", "/v1/admin/hosts/new.example", NULL); /* of a run before */
    memset(&newcomer, 0, sizeof newcomer);
    strcpy(newcomer.name, "new.example");
    assert_int_equal(key_generate(&newcomer.tls, &err), 0);
    assert_int_equal(key_generate(&newcomer.proof, &err), 0);
    if (api_admin("POST", "/v1/admin/hosts", json_pack("{s:s,s:b}", "name", newcomer.name, "auto", 1)) != 201)
        return -1;
    code = api_answer();
    token = strrchr(json_string_value(json_object_get(code, "code")), ',') + 1;
    assert_int_equal(b64url_decode(token, strlen(token), newcomer.token, 32, &len, &err), 0);
    if (sim_host_join(&newcomer) != 200)
        return -1;
    digest_of(&newcomer, a->joined_cert);
    a->joined = true;
    if (sim_host_ask(&newcomer, "GET", "/v1/host/bundle", NULL) != 200)
        return -1;
    if (a->used_tried) /* its new keys went with the process */
        return 0;
    if (sim_host_renew(&renewing) != 200)
        return -1;
    digest_of(&renewing, a->renewed_cert);
    a->renewed = true;
    a->used_tried = true;
    if (sim_host_ask(&renewing, "GET", "/v1/host/bundle", NULL) != 200)
        return -1;
    a->used = true;
    return 0;
}

/* ---- what must be true ---- */

static void
check_vm(const struct service_acks *a)
{
    struct store *store = the_api.service.store;
    static struct vm_account account;
    struct error err = { 0 };

    if (vm_account_load(&the_api.service, &vm.uuid, &account, &err) < 0) {
        assert_int_equal(err.code, ERROR_MISSING);
        assert_true(a->epoch == 0 && !a->account && a->tokens == 0);
        return;
    }
    assert_true(account.stored.lease.ep >= a->epoch);
    assert_true(!a->account || account.id.has_cur);
    assert_true(a->tokens == 0 || account.id.state == ROW_OK);
    if (a->placed) {
        enum lease_mode mode = MODE_OF_HOST;

        assert_string_equal(account.stored.lease.hol, other.name);
        assert_int_equal(store_mode_get(store, &vm.uuid, &mode, &err), 0);
        assert_int_equal(mode, MODE_STRICT);
    } else if (a->epoch) {
        assert_true(a->audience || strcmp(account.stored.lease.hol, holder.name) == 0);
    }
}

static void
check_cert(const uint8_t digest[static 32], bool is_current)
{
    static struct store_cert cert;
    struct error err;

    assert_int_equal(store_cert_find(the_api.service.store, digest, &cert, &err), 0);
    assert_true(!is_current || cert.state == CERT_CURRENT);
}

static void
service_check(const char *folder, const void *acks)
{
    struct service_acks *a = (struct service_acks *)(uintptr_t)acks;
    struct store_audience audience;
    struct error err = { 0 };

    if (service_work_open(folder, &a->seq, &err) < 0) /* which has verified the audit's chain */
        fail_msg("it does not open again: %s", err.text);
    check_vm(a);
    assert_true(!a->audience || store_audience_find(the_api.service.store, "https://kept", &audience, &err) == 0);
    if (a->audience_removed)
        assert_int_equal(store_audience_find(the_api.service.store, "https://gone", &audience, &err), -1);
    if (a->renewed)
        check_cert(a->renewed_cert, a->used);
    service_work_close(&a->seq);
}

/* ---- before each of them ---- */

static void
begin_service(const char *folder)
{
    struct error err = { 0 };
    uint64_t ignored = 0;

    if (service_work_open(folder, &ignored, &err) < 0)
        fail_msg("%s", err.text);
    sim_host_clear(&holder);
    sim_host_clear(&other);
    sim_host_clear(&renewing);
    sim_vm_clear(&vm);
    sim_host_new(&holder, "a.example");
    sim_host_new(&other, "b.example");
    sim_host_new(&renewing, "c.example");
}

static void
hosts_alone(const char *folder)
{
    begin_service(folder);
    sim_vm_new(&vm, 1, SIM_TPM | SIM_SECRET);
    service_work_end_prepare();
}

static void
an_enrolled_vm(const char *folder)
{
    begin_service(folder);
    sim_vm_enrolled(&vm, 1, SIM_TPM | SIM_SECRET, &holder);
    service_work_end_prepare();
}

/* The write-ahead log has grown until the next decisions bring it into the database. */
static void
a_long_log(const char *folder)
{
    struct audit_record record = { .ms = 1, .who = "test", .what = "grown" };
    char path[128], wal[140];
    struct stat st = { 0 };
    int status;
    pid_t pid;

    an_enrolled_vm(folder);
    memset(record.why, 'x', 150);
    snprintf(path, sizeof path, "%s/tokend.db", folder);
    snprintf(wal, sizeof wal, "%s-wal", path);
    pid = fork();
    if (pid == 0) {
        struct store *store = NULL;
        struct error err;

        if (store_open(path, &store, &err) < 0)
            _exit(1);
        while (stat(wal, &st) < 0 || st.st_size < (off_t)WAL_FRAMES * FRAME_SIZE) {
            if (store_audit_add(store, &record, &err) < 0)
                _exit(1);
        }
        _exit(0); /* without closing: the log stays */
    }
    assert_int_equal(waitpid(pid, &status, 0), pid);
    assert_int_equal(status, 0);
}

/* As the first release left it, with a host's word and a record. */
static void
an_old_schema(const char *folder)
{
    char path[128], sql[200];
    sqlite3 *db = NULL;

    snprintf(path, sizeof path, "%s/tokend.db", folder);
    snprintf(sql, sizeof sql, "PRAGMA user_version = 1; INSERT INTO audiences VALUES ('https://kept', 1, 1)");
    assert_int_equal(sqlite3_open(path, &db), SQLITE_OK);
    assert_int_equal(sqlite3_exec(db, "PRAGMA journal_mode = WAL; BEGIN", NULL, NULL, NULL), SQLITE_OK);
    assert_int_equal(sqlite3_exec(db, store_schema_first, NULL, NULL, NULL), SQLITE_OK);
    assert_int_equal(sqlite3_exec(db, sql, NULL, NULL, NULL), SQLITE_OK);
    assert_int_equal(sqlite3_exec(db, "COMMIT", NULL, NULL, NULL), SQLITE_OK);
    assert_int_equal(sqlite3_close(db), SQLITE_OK);
}

/* ---- the cases ---- */

static int
start_steps(struct service_acks *a)
{
    struct error err;

    if (store_mode_put(the_api.service.store, &vm.uuid, MODE_STRICT, &err) < 0)
        return -1;
    a->mode = true;
    return 0;
}

static int
start_work(const char *folder, void *acks)
{
    return serve_steps(folder, acks, start_steps);
}

static void
start_check(const char *folder, const void *acks)
{
    struct service_acks *a = (struct service_acks *)(uintptr_t)acks;
    enum lease_mode mode = MODE_OF_HOST;
    struct error err = { 0 };

    if (service_work_open(folder, &a->seq, &err) < 0)
        fail_msg("it does not open again: %s", err.text);
    assert_int_equal(store_mode_get(the_api.service.store, &vm.uuid, &mode, &err), 0);
    assert_true(!a->mode || mode == MODE_STRICT);
    service_work_close(&a->seq);
}

static void
upgrade_check(const char *folder, const void *acks)
{
    struct service_acks a = { .audience = true, .mode = ((const struct service_acks *)acks)->mode };

    start_check(folder, &a);
    service_check(folder, &a); /* what the old one knew is there */
}

static int
enrol_work(const char *folder, void *acks)
{
    return serve_steps(folder, acks, enrol_steps);
}

static int
run_work(const char *folder, void *acks)
{
    return serve_steps(folder, acks, run_steps);
}

static int
operator_work(const char *folder, void *acks)
{
    return serve_steps(folder, acks, operator_steps);
}

static int
host_work(const char *folder, void *acks)
{
    return serve_steps(folder, acks, host_steps);
}

/* SQLite passes over a folder that can not be synced; store_open() syncs it itself. */
static const struct fault_case CASES[] = {
    { .name = "first start of the service", .work = start_work, .check = start_check, .decides = "s" },
    { .name = "upgrade of the schema", .prepare = an_old_schema, .work = start_work, .check = upgrade_check,
      .decides = "s" },
    { .name = "enrol", .prepare = hosts_alone, .work = enrol_work, .check = service_check,
      .decides = "s" },
    { .name = "runs and tokens", .prepare = an_enrolled_vm, .work = run_work, .check = service_check,
      .decides = "s" },
    { .name = "operator's words", .prepare = an_enrolled_vm, .work = operator_work, .check = service_check,
      .decides = "s" },
    { .name = "hosts join and renew", .prepare = hosts_alone, .work = host_work, .check = service_check,
      .decides = "s" },
    { .name = "log into the database", .prepare = a_long_log, .work = run_work, .check = service_check,
      .decides = "s",
      .fails = FAULT_CHANGES },
};
enum { N_CASES = sizeof CASES / sizeof CASES[0] };

static void
what_was_answered_survives_a_kill_at_every_write(void **state)
{
    (void)state;
    assert_int_equal(fault_run_each(CASES, N_CASES, fault_run_crashes), 0);
}

static void
what_was_answered_survives_a_failure_of_every_call(void **state)
{
    (void)state;
    assert_int_equal(fault_run_each(CASES, N_CASES, fault_run_errors), 0);
}

static void
what_was_answered_survives_a_full_disk_at_every_page(void **state)
{
    unsigned violations = 0;
    bool skipped = false;

    (void)state;
    for (size_t i = 0; i < N_CASES && !skipped; i++)
        violations += fault_run_full(&CASES[i], &skipped).violations;
    assert_int_equal(violations, 0);
    if (skipped)
        skip();
}

static int
tear_down(void **state)
{
    sim_host_clear(&holder);
    sim_host_clear(&other);
    sim_host_clear(&renewing);
    sim_vm_clear(&vm);
    return service_work_tear_down(state);
}

int
main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(what_was_answered_survives_a_kill_at_every_write),
        cmocka_unit_test(what_was_answered_survives_a_failure_of_every_call),
        cmocka_unit_test(what_was_answered_survives_a_full_disk_at_every_page),
    };

    return cmocka_run_group_tests_name("service_faults", tests, service_work_set_up, tear_down);
}
