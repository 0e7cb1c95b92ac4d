#include "config.h"

#include "tests/unit/api_fixture.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <time.h>
#include <unistd.h>

#include <cmocka.h>

#include "lib/common/clock.h"
#include "lib/wire/token.h"
#include "tokenservice/api/vm_account.h"
#include "tokenservice/attest/nonce.h"

static struct answer answer;

static void
check_name(const char *name)
{
    CLEANUP(jwks_free) struct jwks *jwks = NULL;
    CLEANUP(token_clear) struct token token;
    struct error err = { 0 };

    memset(&token, 0, sizeof token);
    assert_int_equal(answer.type, ANSWER_TOKEN);
    assert_int_equal(
        jwks_parse(the_mint.info.jwks, strlen(the_mint.info.jwks), &jwks, &err), 0);
    assert_int_equal(token_verify(answer.token, strlen(answer.token), jwks,
                                  the_mint.info.issuer, "virtid-connect",
                                  clock_realtime_ms() / 1000, &token, &err),
                     0);
    assert_string_equal(token.name, name);
}

static void
an_account_is_made_by_the_holder_in_its_epoch_alone(void **state)
{
    CLEANUP(sim_host_clear) struct sim_host a;
    CLEANUP(sim_host_clear) struct sim_host b;
    CLEANUP(sim_vm_clear) struct sim_vm vm;

    (void)state;
    sim_host_new(&a, "a.example");
    sim_host_new(&b, "b.example");
    sim_vm_new(&vm, 1, SIM_SECRET);
    vm.epoch = 5;
    assert_int_equal(sim_vm_account(&vm, &a), 409); /* nobody holds it */
    vm.epoch = sim_host_say(&a, &vm.uuid, VIEW_RUN, 0, true).e;
    assert_int_equal(sim_vm_account(&vm, &b), 409);
    assert_string_equal(the_api.problem, "claimed");
    vm.epoch--;
    assert_int_equal(sim_vm_account(&vm, &a), 409);
    assert_string_equal(the_api.problem, "stale-epoch");
    vm.epoch++;
    assert_int_equal(sim_vm_account(&vm, &a), 200);
    assert_int_equal(sim_vm_account(&vm, &a), 200); /* again */
}

static void
ek_and_secret_of_a_settled_account_do_not_change(void **state)
{
    CLEANUP(sim_host_clear) struct sim_host h;
    CLEANUP(sim_vm_clear) struct sim_vm vm;
    struct error err;

    (void)state;
    sim_host_new(&h, "a.example");
    sim_vm_enrolled(&vm, 1, SIM_SECRET, &h);
    assert_int_equal(sim_vm_account(&vm, &h), 200);
    vm.has |= SIM_TPM;
    assert_int_equal(sim_vm_account(&vm, &h), 409);
    assert_string_equal(the_api.problem, "ek-changed");
    vm.has = SIM_SECRET;
    key_free(vm.secret);
    assert_int_equal(key_generate(&vm.secret, &err), 0);
    assert_int_equal(sim_vm_account(&vm, &h), 409);
    assert_string_equal(the_api.problem, "secret-changed");
}

/* Defined, provisioned, undefined, defined with another disk and TPM, or with none. */
static void
a_pending_account_is_what_was_said_last(void **state)
{
    /* All TPMs of this kind have one EK: the one with it proves itself last. */
    static const int HAS[] = { 0, SIM_SECRET, SIM_TPM | SIM_SECRET };
    CLEANUP(sim_host_clear) struct sim_host h;

    (void)state;
    sim_host_new(&h, "a.example");
    for (uint8_t i = 0; i < 3; i++) {
        CLEANUP(sim_vm_clear) struct sim_vm vm, again;
        int factors = 1 + !!(HAS[i] & SIM_TPM) + !!(HAS[i] & SIM_SECRET);

        sim_vm_new(&vm, (uint8_t)(1 + i), SIM_TPM | SIM_SECRET);
        vm.epoch = sim_host_say(&h, &vm.uuid, VIEW_RUN, 0, true).e;
        assert_int_equal(sim_vm_account(&vm, &h), 200);
        assert_int_equal(sim_host_say(&h, &vm.uuid, VIEW_GO, vm.epoch, false).answer,
                         LEASE_ACK);
        sim_vm_new(&again, (uint8_t)(11 + i), HAS[i]); /* another TPM and secret */
        again.uuid = vm.uuid;
        strcpy(again.text, vm.text);
        again.epoch = sim_host_say(&h, &again.uuid, VIEW_RUN, 0, true).e;
        assert_int_equal(sim_vm_account(&again, &h), 200);
        if (sim_vm_token(&again, &h, &answer) != 200)
            fail_msg("%d: %d %s", i, the_api.status, the_api.problem);
        sim_vm_check_token(&again, &answer, "virtid-connect", factors);
    }
}

/* What a settled account has is not forgotten because a host leaves it out. */
static void
a_settled_account_keeps_what_is_not_said(void **state)
{
    CLEANUP(sim_host_clear) struct sim_host h;
    CLEANUP(sim_vm_clear) struct sim_vm vm;
    static struct store_vm before, after;
    struct error err;

    (void)state;
    sim_host_new(&h, "a.example");
    sim_vm_enrolled(&vm, 1, SIM_SECRET | SIM_TPM, &h);
    assert_int_equal(store_vm_find(the_api.service.store, &vm.uuid, &before, &err), 0);
    vm.has = 0;
    assert_int_equal(sim_vm_account(&vm, &h), 200);
    assert_int_equal(store_vm_find(the_api.service.store, &vm.uuid, &after, &err), 0);
    assert_memory_equal(&before, &after, sizeof before);
    vm.has = SIM_SECRET | SIM_TPM;
    assert_int_equal(sim_vm_token(&vm, &h, &answer), 200);
    sim_vm_check_token(&vm, &answer, "virtid-connect", 3);
}

static void
one_ek_and_one_secret_belong_to_one_vm(void **state)
{
    CLEANUP(sim_host_clear) struct sim_host h;
    CLEANUP(sim_vm_clear) struct sim_vm vm;
    CLEANUP(sim_vm_clear) struct sim_vm copy;
    struct key *own;

    (void)state;
    sim_host_new(&h, "a.example");
    sim_vm_enrolled(&vm, 1, SIM_SECRET | SIM_TPM, &h);
    sim_vm_new(&copy, 2, SIM_TPM);
    copy.epoch = sim_host_say(&h, &copy.uuid, VIEW_RUN, 0, true).e;
    assert_int_equal(sim_vm_account(&copy, &h), 409);
    assert_string_equal(the_api.problem, "ek-known");
    copy.has = SIM_SECRET;
    own = copy.secret;
    copy.secret = vm.secret;
    assert_int_equal(sim_vm_account(&copy, &h), 409);
    assert_string_equal(the_api.problem, "secret-known");
    /* Nor through the proof, where a pending account has neither. */
    sim_vm_prove(&copy, &h);
    assert_int_equal(sim_vm_send(&copy, &answer), 409);
    assert_string_equal(the_api.problem, "secret-known");
    copy.secret = own;
}

static void
a_pending_account_is_void_once_another_host_was_named(void **state)
{
    CLEANUP(sim_host_clear) struct sim_host a;
    CLEANUP(sim_host_clear) struct sim_host b;
    CLEANUP(sim_vm_clear) struct sim_vm vm;
    struct error err;
    char path[80];

    (void)state;
    sim_host_new(&a, "a.example");
    sim_host_new(&b, "b.example");
    sim_vm_new(&vm, 1, SIM_SECRET);
    vm.epoch = sim_host_say(&a, &vm.uuid, VIEW_RUN, 0, true).e;
    assert_int_equal(sim_vm_account(&vm, &a), 200);
    snprintf(path, sizeof path, "/v1/admin/vms/%s/place", vm.text);
    assert_int_equal(api_admin("POST", path, json_pack("{s:s}", "host", b.name)), 409);
    assert_int_equal(sim_host_placed(&b, &vm.uuid, json_pack("{s:b}", "force", 1)), 200);
    key_free(vm.secret);
    assert_int_equal(key_generate(&vm.secret, &err), 0);
    vm.epoch = sim_host_say(&b, &vm.uuid, VIEW_RUN, 0, true).e;
    assert_int_equal(sim_vm_token(&vm, &b, &answer), 200);
    sim_vm_check_token(&vm, &answer, "virtid-connect", 2);
}

static void
an_ek_certificate_is_for_the_holder(void **state)
{
    CLEANUP(sim_host_clear) struct sim_host a;
    CLEANUP(sim_host_clear) struct sim_host b;
    CLEANUP(sim_vm_clear) struct sim_vm vm;

    (void)state;
    sim_host_new(&a, "a.example");
    sim_host_new(&b, "b.example");
    sim_vm_new(&vm, 1, SIM_TPM);
    vm.epoch = sim_host_say(&a, &vm.uuid, VIEW_RUN, 0, true).e;
    for (int i = 0; i < 2; i++) {
        json_t *body =
            json_pack("{s:s,s:I}", "uuid", vm.text, "epoch", (json_int_t)vm.epoch);

        json_set_bytes(body, "ek", vm.tpm.ek, sizeof vm.tpm.ek);
        assert_int_equal(sim_host_ask(i ? &b : &a, "POST", "/v1/host/ek-cert", body),
                         i ? 409 : 200);
    }
}

/* A host that makes UUIDs up writes nothing. */
static void
accounts_of_vms_that_are_not_there_leave_no_trace(void **state)
{
    CLEANUP(sim_host_clear) struct sim_host h;
    int64_t before;

    (void)state;
    sim_host_new(&h, "a.example");
    before = api_audit_count();
    for (uint8_t i = 1; i < 10; i++) {
        CLEANUP(sim_vm_clear) struct sim_vm vm;

        sim_vm_new(&vm, i, SIM_SECRET);
        vm.epoch = 1;
        assert_int_equal(sim_vm_account(&vm, &h), 409);
        assert_string_equal(the_api.problem, "foreign");
    }
    assert_int_equal(api_audit_count(), before);
}

static void
a_forged_row_is_refused(void **state)
{
    CLEANUP(sim_host_clear) struct sim_host h;
    CLEANUP(sim_vm_clear) struct sim_vm vm;
    static struct vm_account_bytes {
        struct store_vm vm;
        struct identity_row id;
    } b;
    struct error err;

    (void)state;
    sim_host_new(&h, "a.example");
    sim_vm_enrolled(&vm, 1, SIM_SECRET, &h);
    assert_int_equal(store_vm_find(the_api.service.store, &vm.uuid, &b.vm, &err), 0);
    assert_int_equal(identity_row_decode(b.vm.row, b.vm.row_len, &b.id, &err), 0);
    for (size_t i = 0; i < b.vm.row_len; i += 7) {
        b.vm.row[i] ^= 1;
        assert_int_equal(store_vm_put(the_api.service.store, &b.vm, &b.id, &err), 0);
        sim_vm_prove(&vm, &h);
        assert_int_equal(sim_vm_send(&vm, &answer), 403);
        assert_string_equal(the_api.problem, "refused"); /* a stranger learns nothing */
        b.vm.row[i] ^= 1;
    }
    assert_int_equal(store_vm_put(the_api.service.store, &b.vm, &b.id, &err), 0);
    sim_vm_prove(&vm, &h);
    assert_int_equal(sim_vm_send(&vm, &answer), 200);
}

/* Only the signer can say that another host has the lease, or in another epoch. */
static void
a_lease_edited_in_the_database_proves_nothing(void **state)
{
    CLEANUP(sim_host_clear) struct sim_host a;
    CLEANUP(sim_host_clear) struct sim_host b;
    CLEANUP(sim_vm_clear) struct sim_vm vm;
    static struct store_vm row;
    struct identity_row id;
    struct error err;

    (void)state;
    sim_host_new(&a, "a.example");
    sim_host_new(&b, "b.example");
    sim_vm_enrolled(&vm, 1, SIM_SECRET, &a);
    assert_int_equal(store_vm_find(the_api.service.store, &vm.uuid, &row, &err), 0);
    assert_int_equal(identity_row_decode(row.row, row.row_len, &id, &err), 0);
    strcpy(row.lease.hol, b.name);
    for (int i = 0; i < 2; i++) {
        assert_int_equal(store_vm_put(the_api.service.store, &row, &id, &err), 0);
        sim_vm_prove(&vm, &b);
        assert_int_equal(sim_vm_send(&vm, &answer), 403);
        assert_string_equal(the_api.problem, "refused");
        vm.epoch = ++row.lease.ep;
    }
}

/* A proof key counts by its certificate, not because it lies in the database. */
static void
a_proof_key_put_into_the_database_proves_nothing(void **state)
{
    CLEANUP(sim_host_clear) struct sim_host h;
    CLEANUP(sim_vm_clear) struct sim_vm vm;
    static struct store_cert cert;
    struct error err;

    (void)state;
    sim_host_new(&h, "a.example");
    sim_vm_enrolled(&vm, 1, SIM_SECRET, &h);
    assert_int_equal(
        store_cert_of(the_api.service.store, h.name, CERT_CURRENT, &cert, &err), 0);
    assert_int_equal(store_cert_drop_all(the_api.service.store, h.name, &err), 0);
    key_free(h.proof);
    assert_int_equal(key_generate(&h.proof, &err), 0);
    key_point(h.proof, cert.proof);
    assert_int_equal(store_cert_add(the_api.service.store, &cert, &err), 0);
    sim_vm_prove(&vm, &h);
    assert_int_equal(sim_vm_send(&vm, &answer), 403);
    assert_string_equal(the_api.problem, "refused");
}

/* A name that two VMs have names neither: another host can call its VM as it likes. */
static void
a_name_that_another_vm_has_is_in_no_token(void **state)
{
    CLEANUP(sim_host_clear) struct sim_host a;
    CLEANUP(sim_host_clear) struct sim_host b;
    CLEANUP(sim_vm_clear) struct sim_vm vm;
    CLEANUP(sim_vm_clear) struct sim_vm other;
    char path[80];

    (void)state;
    sim_host_new(&a, "a.example");
    sim_host_new(&b, "b.example");
    sim_vm_enrolled(&vm, 1, SIM_SECRET, &a);
    assert_int_equal(sim_vm_token(&vm, &a, &answer), 200);
    check_name("web1");
    sim_vm_enrolled(&other, 2, SIM_SECRET, &b);
    assert_int_equal(sim_vm_token(&other, &b, &answer), 200);
    check_name("");
    assert_int_equal(sim_vm_token(&vm, &a, &answer), 200);
    check_name("");
    snprintf(path, sizeof path, "/v1/admin/vms/%s/retire", vm.text);
    assert_int_equal(api_admin("POST", path, json_object()), 200);
    assert_int_equal(sim_vm_token(&other, &b, &answer), 200);
    check_name("web1");
}

static void
a_vm_that_is_renamed_is_the_same_under_its_new_name(void **state)
{
    CLEANUP(sim_host_clear) struct sim_host a;
    CLEANUP(sim_vm_clear) struct sim_vm vm;

    (void)state;
    sim_host_new(&a, "a.example");
    sim_vm_enrolled(&vm, 1, SIM_SECRET, &a);
    vm.epoch = sim_host_say(&a, &vm.uuid, VIEW_RUN, 0, true).e; /* its host tells the account in each lease */
    assert_int_equal(sim_host_ask(&a, "POST", "/v1/host/account",
                                  json_pack("{s:s,s:I,s:s}", "uuid", vm.text, "epoch", (json_int_t)vm.epoch, "name",
                                            "shop")),
                     200);
    assert_int_equal(sim_vm_token(&vm, &a, &answer), 200);
    check_name("shop");
}

/* A signer that is gone is no forged row, and no answer. */
static void
without_the_signer_a_row_is_not_called_forged(void **state)
{
    CLEANUP(sim_host_clear) struct sim_host h;
    CLEANUP(sim_vm_clear) struct sim_vm vm;
    CLEANUP(mint_free) struct mint *gone = NULL;
    static struct vm_account account;
    struct error err = { 0 };
    int pair[2];

    (void)state;
    sim_host_new(&h, "a.example");
    sim_vm_enrolled(&vm, 1, SIM_SECRET, &h);
    assert_int_equal(socketpair(AF_UNIX, SOCK_SEQPACKET | SOCK_CLOEXEC, 0, pair), 0);
    close(pair[1]);
    assert_int_equal(mint_new(pair[0], &gone, &err), 0);
    the_api.service.mint = gone;
    assert_int_equal(vm_account_load(&the_api.service, &vm.uuid, &account, &err), -1);
    the_api.service.mint = the_mint.client;
    assert_int_equal(err.code, ERROR_SYSTEM);
    assert_string_not_equal(err.problem, "row-forged");
}

static void
a_host_sees_its_own_vms_only(void **state)
{
    CLEANUP(sim_host_clear) struct sim_host a;
    CLEANUP(sim_host_clear) struct sim_host b;
    CLEANUP(sim_vm_clear) struct sim_vm vm;
    char path[80];

    (void)state;
    sim_host_new(&a, "a.example");
    sim_host_new(&b, "b.example");
    sim_vm_enrolled(&vm, 1, SIM_SECRET, &a);
    snprintf(path, sizeof path, "/v1/host/vm?uuid=%s", vm.text);
    assert_int_equal(sim_host_ask(&a, "GET", path, NULL), 200);
    assert_int_equal(sim_host_ask(&b, "GET", path, NULL), 404);
}

static void
a_floor_is_only_raised_and_then_asked_for(void **state)
{
    CLEANUP(sim_host_clear) struct sim_host h;
    CLEANUP(sim_vm_clear) struct sim_vm vm;
    char path[80];

    (void)state;
    sim_host_new(&h, "a.example");
    sim_vm_enrolled(&vm, 1, SIM_SECRET, &h);
    snprintf(path, sizeof path, "/v1/admin/vms/%s", vm.text);
    assert_int_equal(api_admin("PATCH", path, json_pack("{s:[s]}", "floor", "host")),
                     403);
    assert_int_equal(
        api_admin("PATCH", path, json_pack("{s:[s]}", "floor", "secret")), 200);
    /* What the account does not have could never be shown: no token any more. */
    assert_int_equal(
        api_admin("PATCH", path, json_pack("{s:[s,s]}", "floor", "secret", "vtpm")),
        409);
    assert_string_equal(the_api.problem, "conflict");
    assert_int_equal(sim_vm_token(&vm, &h, &answer), 200);
    vm.has = 0;
    sim_vm_prove(&vm, &h);
    assert_int_equal(sim_vm_send(&vm, &answer), 403);
    assert_string_equal(the_api.problem, "floor");
}

int
main(void)
{
    const struct CMUnitTest t[] = {
        API_TEST(an_account_is_made_by_the_holder_in_its_epoch_alone),
        API_TEST(ek_and_secret_of_a_settled_account_do_not_change),
        API_TEST(a_pending_account_is_what_was_said_last),
        API_TEST(a_settled_account_keeps_what_is_not_said),
        API_TEST(one_ek_and_one_secret_belong_to_one_vm),
        API_TEST(a_pending_account_is_void_once_another_host_was_named),
        API_TEST(an_ek_certificate_is_for_the_holder),
        API_TEST(accounts_of_vms_that_are_not_there_leave_no_trace),
        API_TEST(a_forged_row_is_refused),
        API_TEST(a_lease_edited_in_the_database_proves_nothing),
        API_TEST(a_proof_key_put_into_the_database_proves_nothing),
        API_TEST(a_name_that_another_vm_has_is_in_no_token),
        API_TEST(a_vm_that_is_renamed_is_the_same_under_its_new_name),
        API_TEST(without_the_signer_a_row_is_not_called_forged),
        API_TEST(a_host_sees_its_own_vms_only),
        API_TEST(a_floor_is_only_raised_and_then_asked_for),
    };
    return cmocka_run_group_tests_name("api_account", t, api_fixture_start,
                                       api_fixture_stop);
}
