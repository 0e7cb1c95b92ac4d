#include "config.h"

#include "tokenservice/store/store.h"

#include <errno.h>
#include <setjmp.h>
#include <signal.h>
#include <sqlite3.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <sys/wait.h>
#include <unistd.h>

#include <cmocka.h>

#include "tests/unit/skip_missing.h"

static char folder[64], path[128];
static struct store *store;

static int
set_up(void **state)
{
    struct error err = { 0 };

    (void)state;
    strcpy(folder, "/tmp/virtid-store-XXXXXX");
    if (!mkdtemp(folder))
        return -1;
    snprintf(path, sizeof path, "%s/tokend.db", folder);
    return store_open(path, &store, &err);
}

static int
tear_down(void **state)
{
    char name[160];

    (void)state;
    store_close(store);
    unlink(path);
    snprintf(name, sizeof name, "%s-wal", path);
    unlink(name);
    snprintf(name, sizeof name, "%s-shm", path);
    unlink(name);
    return rmdir(folder);
}

static void
reopen(void)
{
    struct error err = { 0 };

    store_close(store);
    store = NULL;
    assert_int_equal(store_open(path, &store, &err), 0);
}

static void
make_vm(struct store_vm *vm, struct identity_row *id, uint8_t number, bool pending)
{
    memset(vm, 0, sizeof *vm);
    memset(id, 0, sizeof *id);
    memset(vm->uuid.bytes, number, sizeof vm->uuid.bytes);
    id->uuid = vm->uuid;
    snprintf(id->name, sizeof id->name, "vm%d", number);
    id->state = pending ? ROW_PENDING : ROW_OK;
    id->has_ek = id->has_cur = true;
    memset(id->ek_digest, 9, sizeof id->ek_digest);
    memset(id->cur, number, sizeof id->cur);
    vm->row_len = 3;
    memcpy(vm->row, "row", 3);
    vm->ek_len = 4;
    memcpy(vm->ek, "ekek", 4);
    vm->lease.st = LEASE_RUNS;
    strcpy(vm->lease.hol, "a.example");
    vm->lease.ep = vm->lease.ver = 1700000000000;
    vm->has_mark = true;
    memset(vm->mark_nonce, 5, sizeof vm->mark_nonce);
    vm->mark_reset = UINT32_MAX;
    vm->mark_clock = UINT64_MAX; /* TPM2_ClockSet is the guest's right */
    vm->made_ms = 1;
}

static int
put_vm(uint8_t number, bool pending)
{
    static struct store_vm vm;
    static struct identity_row id;
    struct error err;

    make_vm(&vm, &id, number, pending);
    return store_vm_put(store, &vm, &id, &err);
}

static int64_t
count(void)
{
    struct error err;
    int64_t n = -1;

    assert_int_equal(store_vm_count(store, &n, &err), 0);
    return n;
}

static void
a_vm_comes_back_as_it_was_put(void **state)
{
    static struct store_vm in, out;
    static struct identity_row id;
    struct error err;

    (void)state;
    make_vm(&in, &id, 1, true);
    assert_int_equal(store_vm_put(store, &in, &id, &err), 0);
    reopen();
    assert_int_equal(store_vm_find(store, &in.uuid, &out, &err), 0);
    assert_memory_equal(&in, &out, sizeof in);
    assert_int_equal(store_vm_find_name(store, "vm1", &out, &err), 0);
    assert_int_equal(store_vm_find_name(store, "vm2", &out, &err), -1);
    assert_int_equal(err.code, ERROR_MISSING);
}

static void
what_was_not_committed_is_not_there(void **state)
{
    struct error err;

    (void)state;
    {
        CLEANUP(store_abandon) struct store *txn = NULL;

        assert_int_equal(store_begin(store, &txn, &err), 0);
        assert_int_equal(put_vm(1, true), 0);
        assert_int_equal(count(), 1);
    }
    assert_int_equal(count(), 0);
}

static void
an_ek_belongs_to_one_vm_that_is_not_pending(void **state)
{
    (void)state;
    assert_int_equal(put_vm(1, true), 0);
    assert_int_equal(put_vm(2, true), 0);
    assert_int_equal(put_vm(1, false), 0);
    assert_int_equal(put_vm(2, false), -1);
    assert_int_equal(put_vm(2, true), 0);
    assert_int_equal(count(), 2); /* and nobody's row went away for it */
}

static void
text_from_outside_stays_text(void **state)
{
    static struct store_vm vm;
    static struct identity_row id;
    struct error err;

    (void)state;
    make_vm(&vm, &id, 1, true);
    strcpy(id.name, "x'); DROP TABLE vms; --");
    assert_int_equal(store_vm_put(store, &vm, &id, &err), 0);
    assert_int_equal(store_vm_find_name(store, "x'); DROP TABLE vms; --", &vm, &err),
                     0);
    assert_int_equal(store_vm_find_name(store, "' OR '1'='1", &vm, &err), -1);
    assert_int_equal(count(), 1);
}

/* A child writes and is killed at once: what it was told is done is there. */
static void
what_was_committed_survives_kill_9(void **state)
{
    int done[2], status;
    char got[4];
    struct error err;
    pid_t pid;

    (void)state;
    store_close(store);
    store = NULL;
    assert_int_equal(pipe(done), 0);
    pid = fork();
    if (pid == 0) {
        if (store_open(path, &store, &err) < 0)
            _exit(1);
        for (uint8_t i = 1; i < 200; i++) {
            CLEANUP(store_abandon) struct store *txn = NULL;

            if (store_begin(store, &txn, &err) < 0 || put_vm(i, true) < 0 ||
                store_commit(txn, &err) < 0 || write(done[1], "x", 1) != 1)
                _exit(1);
        }
        pause();
    }
    for (int i = 0; i < 4; i++)
        assert_int_equal(read(done[0], &got[i], 1), 1);
    kill(pid, SIGKILL);
    waitpid(pid, &status, 0);
    close(done[0]);
    close(done[1]);
    assert_int_equal(store_open(path, &store, &err), 0);
    assert_true(count() >= 4);
}

static struct audit_record
entry(int64_t ms, const char *problem)
{
    struct audit_record r = { .ms = ms, .has_uuid = true, .uuid = { { 1 } } };

    strcpy(r.who, "guest");
    strcpy(r.what, "refused");
    strcpy(r.problem, problem);
    return r;
}

static void
a_changed_audit_record_breaks_the_chain(void **state)
{
    struct audit_record r = entry(1, "floor");
    int64_t newest;
    struct error err = { 0 };
    char command[300];

    (void)state;
    for (int i = 0; i < 5; i++)
        assert_int_equal(store_audit_add(store, &r, &err), 0);
    assert_int_equal(store_audit_check(store, &newest, &err), 0);
    assert_int_equal(store_meta_put(store, "x", "y", &err), 0);
    store_close(store);
    store = NULL;
    snprintf(
        command, sizeof command,
        "python3 -c \"import sqlite3; c = sqlite3.connect('%s'); "
        "c.execute('UPDATE audit SET problem = \\'x\\' WHERE id = 3'); c.commit()\"",
        path);
    if (system(command) != 0) {
        assert_int_equal(store_open(path, &store, &err), 0);
        skip_missing("python3 with sqlite3");
    }
    assert_int_equal(store_open(path, &store, &err), 0);
    assert_int_equal(store_audit_check(store, &newest, &err), -1);
    assert_string_equal(err.problem, "audit-broken");
}

static int
count_record(void *context, const struct audit_record *record, struct error *err)
{
    (void)record;
    (void)err;
    ++*(int *)context;
    return 0;
}

/* One rare record, and behind it more than one page looks at. */
static void
a_word_is_looked_for_in_so_many_records(void **state)
{
    struct store_audit_query query = { .what = "rare" };
    struct audit_record r = entry(1, "");
    struct error err = { 0 };
    char command[800];
    int n = 0;

    (void)state;
    strcpy(r.what, "rare");
    assert_int_equal(store_audit_add(store, &r, &err), 0);
    store_close(store);
    store = NULL;
    snprintf(command, sizeof command,
             "python3 -c \"import sqlite3; c = sqlite3.connect('%s'); c.executemany('INSERT INTO audit (id, ms, who, what, "
             "problem, why, seen, expected, hash) VALUES (?, 1, \\'guest\\', \\'token\\', \\'\\', \\'\\', \\'\\', \\'\\', zeroblob(32))', "
             "[(i,) for i in range(2, %d)]); c.commit()\"",
             path, AUDIT_SCAN + 3);
    if (system(command) != 0) {
        assert_int_equal(store_open(path, &store, &err), 0);
        skip_missing("python3 with sqlite3");
    }
    assert_int_equal(store_open(path, &store, &err), 0);
    assert_int_equal(store_audit_list(store, &query, count_record, &n, &err), 0);
    assert_int_equal(n, 0);
    query.oldest_first = true;
    assert_int_equal(store_audit_list(store, &query, count_record, &n, &err), 0);
    assert_int_equal(n, 1);
    query.what = "token";
    query.after = n = 0;
    assert_int_equal(store_audit_list(store, &query, count_record, &n, &err), 0);
    assert_int_equal(n, AUDIT_SCAN - 1);
}

static void
an_audit_record_is_found_by_vm_kind_and_time(void **state)
{
    struct audit_record r = entry(1000, "floor");
    struct vm_uuid other = { { 2 } };
    struct error err;
    bool had;

    (void)state;
    assert_int_equal(store_audit_add(store, &r, &err), 0);
    assert_int_equal(
        store_audit_since(store, &r.uuid, "guest", "refused", "floor", 999, &had, &err), 0);
    assert_true(had);
    assert_int_equal(
        store_audit_since(store, &r.uuid, "guest", "refused", "floor", 1000, &had, &err), 0);
    assert_false(had);
    assert_int_equal(
        store_audit_since(store, &r.uuid, "guest", "refused", "stale", 0, &had, &err), 0);
    assert_false(had);
    assert_int_equal(
        store_audit_since(store, &other, "guest", "refused", "floor", 0, &had, &err), 0);
    assert_false(had);
}

static void
the_database_is_readable_by_its_owner_alone(void **state)
{
    struct stat st;

    (void)state;
    assert_int_equal(stat(path, &st), 0);
    assert_int_equal(st.st_mode & 0777, 0600);
}

static void
a_file_that_is_no_database_is_refused(void **state)
{
    struct store *other = NULL;
    struct error err;
    char name[160];
    FILE *f;

    (void)state;
    snprintf(name, sizeof name, "%s/junk.db", folder);
    f = fopen(name, "w");
    assert_non_null(f);
    for (int i = 0; i < 5000; i++)
        fputs("junk", f);
    fclose(f);
    assert_int_equal(store_open(name, &other, &err), -1);
    assert_null(other);
    unlink(name);
}

static int
count_host(void *context, const struct store_host *host, struct error *err)
{
    (void)host;
    (void)err;
    ++*(int *)context;
    return 0;
}

static void
hosts_certificates_and_audiences_come_back(void **state)
{
    struct store_host host = { .state = HOST_JOINED, .has_keys = true, .seen_ms = 5 },
                      back;
    static struct store_cert cert, found;
    struct store_audience audience = { .everyone = true, .claims = 3 }, had;
    struct error err;
    int n = 0;

    (void)state;
    strcpy(host.name, "a.example");
    memset(host.tls, 4, sizeof host.tls);
    assert_int_equal(store_host_put(store, &host, &err), 0);
    assert_int_equal(store_host_find(store, "a.example", &back, &err), 0);
    assert_memory_equal(&host, &back, sizeof host);
    assert_int_equal(store_host_list(store, count_host, &n, &err), 0);
    assert_int_equal(n, 1);
    strcpy(cert.host, host.name);
    cert.state = CERT_NEXT;
    cert.tls_cert_len = cert.proof_cert_len = 3;
    assert_int_equal(store_cert_add(store, &cert, &err), 0);
    assert_int_equal(store_cert_use(store, host.name, cert.sha256, 9, &err), 0);
    assert_int_equal(store_cert_of(store, host.name, CERT_CURRENT, &found, &err), 0);
    assert_int_equal(found.changed_ms, 9);
    strcpy(audience.name, "https://db.example");
    assert_int_equal(store_audience_put(store, &audience, &err), 0);
    assert_int_equal(store_audience_find(store, audience.name, &had, &err), 0);
    assert_memory_equal(&audience, &had, sizeof had);
    assert_int_equal(store_audience_remove(store, audience.name, &err), 0);
    assert_int_equal(store_audience_remove(store, audience.name, &err), -1);
}

static ssize_t
write_over_quota(int fd, const void *bytes, size_t len, off_t at)
{
    (void)fd, (void)bytes, (void)len, (void)at;
    errno = EDQUOT;
    return -1;
}

/* As ZFS and XFS have one: all goes on when there is room. */
static void
a_quota_that_is_used_up_is_a_full_disk(void **state)
{
    struct audit_record r = entry(1, "floor");
    sqlite3_vfs *vfs = sqlite3_vfs_find(NULL);
    struct error err = { 0 };

    (void)state;
    (void)vfs->xSetSystemCall(vfs, "pwrite", (sqlite3_syscall_ptr)write_over_quota);
    (void)vfs->xSetSystemCall(vfs, "pwrite64", (sqlite3_syscall_ptr)write_over_quota);
    assert_int_equal(store_audit_add(store, &r, &err), -1);
    (void)vfs->xSetSystemCall(vfs, NULL, NULL); /* all as they were */
    assert_string_equal(err.problem, "disk-full");
    assert_false(store_failed(store));
    assert_int_equal(store_audit_add(store, &r, &err), 0);
}

#define STORE_TEST(name) cmocka_unit_test_setup_teardown(name, set_up, tear_down)

int
main(void)
{
    const struct CMUnitTest t[] = {
        STORE_TEST(a_vm_comes_back_as_it_was_put),
        STORE_TEST(what_was_not_committed_is_not_there),
        STORE_TEST(an_ek_belongs_to_one_vm_that_is_not_pending),
        STORE_TEST(text_from_outside_stays_text),
        STORE_TEST(what_was_committed_survives_kill_9),
        STORE_TEST(a_changed_audit_record_breaks_the_chain),
        STORE_TEST(a_quota_that_is_used_up_is_a_full_disk),
        STORE_TEST(a_word_is_looked_for_in_so_many_records),
        STORE_TEST(an_audit_record_is_found_by_vm_kind_and_time),
        STORE_TEST(the_database_is_readable_by_its_owner_alone),
        STORE_TEST(a_file_that_is_no_database_is_refused),
        STORE_TEST(hosts_certificates_and_audiences_come_back),
    };
    return cmocka_run_group_tests_name("store", t, NULL, NULL);
}
