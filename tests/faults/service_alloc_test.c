/*
 * service_alloc_test.c - the token service and its signer without memory, at each allocation in turn
 *
 * Counted is what happens between a request and its answer, with what SQLite, OpenSSL and jansson
 * allocate for it.  A lack of memory is said as such: nobody is told that he is wrong.
 */
#include "config.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include <cmocka.h>

#include "lib/common/clock.h"
#include "tests/faults/alloc_fault.h"
#include "tests/faults/durable.h"
#include "tests/unit/api_fixture.h"
#include "tokenservice/mint/signer.h"

static struct sim_host holder;
static struct sim_vm vm;
static uint8_t asked[MINT_PACKET_MAX];
static size_t asked_len, signed_len;
static bool is_broken;
static unsigned wrong; /* answers that blame the asker */

/* ---- between request and answer ---- */

static void
answer_counted(void *context, const struct http_request *request, struct http_reply *reply)
{
    alloc_fault_on();
    route_answer(context, request, reply);
    alloc_fault_off();
    json_begin();
}

/* Where tokend ends, and is started again with a signer of its own. */
static void
note_broken(const struct error *err)
{
    (void)err;
    is_broken = true;
}

/* Each try is a new minute for those who count. */
static void
begin_try(void)
{
    struct error err;

    rates_free(the_api.service.rates);
    the_api.service.rates = NULL;
    assert_int_equal(rates_new(&the_api.service.rates, &err), 0);
}

static int
verdict(int wanted)
{
    the_api.answer = NULL;
    if (the_api.status != wanted && the_api.status < 500) {
        wrong++;
        printf("# blamed: %d %s: %.*s\n", the_api.status, the_api.problem, (int)the_api.body.len,
               the_api.body.data ? (const char *)the_api.body.data : "");
    }
    return the_api.status == wanted ? 0 : -1;
}

/* The database is as good as before, its chain of records too. */
static void
service_goes_on(bool done)
{
    int64_t newest;
    struct error err = { 0 };

    (void)done;
    if (is_broken) {
        api_fixture_close();
        mint_fixture_disconnect();
        if (mint_fixture_connect() < 0 || api_fixture_open(&err) < 0)
            fail_msg("%s %s", the_mint.err.text, err.text);
        (void)sim_host_say(&holder, &vm.uuid, VIEW_RUN, vm.epoch, false); /* which is waited for */
    }
    is_broken = false;
    if (store_audit_check(the_api.service.store, &newest, &err) < 0)
        fail_msg("%s", err.text);
}

/* ---- the requests ---- */

static int
ask_counted(enum route_listener on, const char *method, const char *target, json_t *take_body, int wanted)
{
    begin_try();
    the_api.answer = answer_counted;
    (void)api_ask_json(on, method, target, take_body, on == ON_HOSTS ? holder.cert : NULL,
                       on == ON_HOSTS ? holder.cert_len : 0);
    return verdict(wanted);
}

static int
challenge(void)
{
    return ask_counted(ON_GUESTS, "POST", "/v1/challenge", json_object(), 200);
}

/* The holder keeps it: with the next try its epoch is another. */
static int
lease(void)
{
    struct lease_result result;

    begin_try();
    the_api.answer = answer_counted;
    result = sim_host_say(&holder, &vm.uuid, VIEW_RUN, vm.epoch, true);
    if (verdict(200) < 0)
        return -1;
    assert_int_equal(result.answer, LEASE_OK);
    assert_true(result.e >= vm.epoch);
    vm.epoch = result.e;
    return 0;
}

static int
account(void)
{
    begin_try();
    the_api.answer = answer_counted;
    (void)sim_vm_account(&vm, &holder);
    return verdict(200);
}

static int
prove(enum answer_type wanted)
{
    static struct answer answer;

    begin_try();
    sim_vm_prove(&vm, &holder);
    the_api.answer = answer_counted;
    (void)sim_vm_send(&vm, &answer);
    if (verdict(200) < 0)
        return -1;
    assert_int_equal(answer.type, wanted);
    return 0;
}

/* A nonce of the same moment as the last is an old one. */
static int
token(void)
{
    the_api.frozen_ms++;
    return prove(ANSWER_TOKEN);
}

static int
first_proof(void)
{
    return prove(ANSWER_ACTIVATE);
}

static int
refused_proof(void)
{
    static struct answer answer;

    begin_try();
    sim_vm_prove(&vm, &holder);
    vm.p.hostsig[5] ^= 1;
    the_api.answer = answer_counted;
    (void)sim_vm_send(&vm, &answer);
    the_api.answer = NULL;
    assert_int_not_equal(the_api.status, 200);
    return the_api.status == 403 ? 0 : -1;
}

static int
join(void)
{
    static struct sim_host newcomer;

    begin_try();
    (void)api_admin("DELETE", "/v1/admin/hosts/new.example", NULL);
    sim_host_clear(&newcomer);
    sim_host_invite(&newcomer, "new.example", true);
    the_api.answer = answer_counted;
    (void)sim_host_join(&newcomer);
    sim_host_clear(&newcomer);
    return verdict(200);
}

static int
audience(void)
{
    return ask_counted(ON_ADMIN, "POST", "/v1/admin/audiences",
                       json_pack("{s:s,s:b,s:[s,s]}", "name", "https://db", "all", 1, "claims", "name", "labels"), 200);
}

static int
settings(void)
{
    char path[100];

    snprintf(path, sizeof path, "/v1/admin/vms/%s", vm.text);
    return ask_counted(ON_ADMIN, "PATCH", path,
                       json_pack("{s:s,s:{s:s},s:s}", "owner", "team", "labels", "tier", "db", "mode", "strict"), 200);
}

/* What was listed is all of it: a list with holes would be believed. */
static int
list(const char *target, size_t *full)
{
    if (ask_counted(ON_ADMIN, "GET", target, NULL, 200) < 0)
        return -1;
    if (*full == 0)
        *full = the_api.body.len;
    assert_int_equal(the_api.body.len, *full);
    return 0;
}

static int
audiences(void)
{
    static size_t full;

    return list("/v1/admin/audiences", &full);
}

static int
hosts(void)
{
    static size_t full;

    return list("/v1/admin/hosts", &full);
}

static int
one_vm(void)
{
    char path[100];

    snprintf(path, sizeof path, "/v1/admin/vms/%s", vm.text);
    return ask_counted(ON_ADMIN, "GET", path, NULL, 200);
}

static int
audit(void)
{
    static size_t full;

    return list("/v1/admin/audit?limit=20", &full);
}

static int
present(void)
{
    static size_t full;

    return list("/v1/admin/top", &full);
}

static int
page(void)
{
    if (ask_counted(ON_METRICS, "GET", "/metrics", NULL, 200) < 0)
        return -1;
    assert_non_null(strstr(buf_text(&the_api.body), "\nvirtid_audit_records_total ")); /* its last line */
    return 0;
}

/* The holder is dead, says an operator; what it held is its again with its next word, since nobody took it. */
static int
fence(void)
{
    (void)sim_host_say(&holder, &vm.uuid, VIEW_RUN, vm.epoch, false);
    return ask_counted(ON_ADMIN, "POST", "/v1/admin/hosts/a.example/fence", json_object(), 200);
}

static int
retire(void)
{
    char path[100];

    snprintf(path, sizeof path, "/v1/admin/vms/%s/retire", vm.text);
    return ask_counted(ON_ADMIN, "POST", path, json_object(), 200);
}

/* ---- a VM with another key than its own, which an operator accepts ---- */

static struct key *others;

static void
swap_keys(void)
{
    struct key *key = vm.secret;

    vm.secret = others;
    others = key;
}

static void
send_behind(http_handler *take)
{
    static struct answer answer;

    swap_keys();
    sim_vm_prove(&vm, &holder);
    the_api.answer = take;
    (void)sim_vm_send(&vm, &answer);
    swap_keys();
}

static int
behind(void)
{
    begin_try();
    send_behind(answer_counted);
    return verdict(409);
}

static json_t *
what_was_seen(const char *path)
{
    CLEANUP(json_decref) json_t *seen = NULL;

    assert_int_equal(api_admin("POST", path, json_pack("{s:b}", "dry_run", 1)), 200);
    seen = api_answer();
    return json_pack("{s:O,s:O,s:O}", "cur", json_object_get(seen, "cur"), "new", json_object_get(seen, "new"), "x",
                     json_object_get(seen, "x"));
}

static char accept_path[100];

static int
word(void)
{
    const char *path = accept_path;

    return ask_counted(ON_ADMIN, "POST", path, what_was_seen(path), 200);
}

static int
beginning(void)
{
    struct lease_result result;
    struct error err;

    begin_try();
    key_free(others); /* an earlier try's word lets its own key in */
    assert_int_equal(key_generate(&others, &err), 0);
    vm.epoch = sim_host_say(&holder, &vm.uuid, VIEW_RUN, vm.epoch, false).e; /* of a try that was not answered */
    send_behind(NULL);
    assert_int_equal(api_admin("POST", accept_path, what_was_seen(accept_path)), 200);
    begin_try();
    the_api.answer = answer_counted;
    result = sim_host_say(&holder, &vm.uuid, VIEW_RUN, vm.epoch, false);
    if (verdict(200) < 0)
        return -1;
    assert_int_equal(result.answer, LEASE_OK);
    assert_true(result.e > vm.epoch);
    vm.epoch = result.e;
    return 0;
}

static int
bundle(void)
{
    return ask_counted(ON_HOSTS, "GET", "/v1/host/bundle", NULL, 200);
}

static int
keys(void)
{
    return ask_counted(ON_PUBLIC, "GET", "/.well-known/jwks.json", NULL, 200);
}

/* ---- the signer alone ---- */

static int
sign(void)
{
    CLEANUP(buf_clear) struct buf answer = BUF(MINT_PACKET_MAX);
    const uint8_t *rest;
    size_t len;
    struct error err = { 0 };
    bool broken;

    alloc_fault_on();
    signer_answer(the_mint.keys, asked, asked_len, clock_realtime_ms() / 1000, &answer);
    alloc_fault_off();
    json_begin();
    if (buf_ok(&answer) && answer.len > 0 &&
        mint_answer_decode(answer.data, answer.len, &rest, &len, &broken, &err) == 0) {
        assert_in_range(len, signed_len - 2, signed_len + 2); /* with every claim (a time may be longer) */
        return 0;
    }
    if (err.code == ERROR_INPUT || err.code == ERROR_DENIED) {
        wrong++;
        printf("# blamed: %s\n", err.text);
    }
    return -1;
}

/* ---- tests ---- */

static void
run(const struct alloc_case *cases, size_t n)
{
    unsigned violations = 0;

    wrong = 0;
    for (size_t i = 0; i < n; i++)
        violations += alloc_fault_run(&cases[i]).violations;
    assert_int_equal(violations, 0);
    assert_int_equal(wrong, 0);
}
#define RUN(cases) run(cases, sizeof(cases) / sizeof(cases)[0])

static void
a_proof_without_memory_is_neither_accepted_nor_blamed(void **state)
{
    static const struct alloc_case PENDING[] = {
        { .name = "challenge", .work = challenge, .check = service_goes_on },
        { .name = "first proof", .work = first_proof, .check = service_goes_on },
    };
    static const struct alloc_case ENROLLED[] = {
        { .name = "refused proof", .work = refused_proof, .check = service_goes_on },
        { .name = "token", .work = token, .check = service_goes_on },
    };
    static struct answer answer;

    (void)state;
    RUN(PENDING);
    assert_int_equal(sim_vm_token(&vm, &holder, &answer), 200);
    RUN(ENROLLED);
}

static void
a_signer_without_memory_signs_nothing(void **state)
{
    static const struct alloc_case CASES[] = { { .name = "signer", .work = sign, .check = NULL } };
    CLEANUP(buf_clear) struct buf sealed = BUF(ROW_MAX), text = BUF(MINT_TOKEN_MAX);
    struct identity_row row = mint_fixture_row();
    struct mint_token_request request = mint_fixture_request();
    uint8_t mac[ROW_MAC_LEN];
    struct error err = { 0 };

    (void)state;
    mint_fixture_seal(&row, &sealed, mac);
    request.flags = MINT_CLAIM_NAME | MINT_CLAIM_HOST | MINT_CLAIM_LABELS;
    if (mint_token(the_mint.client, sealed.data, sealed.len, mac, &request, &text, &err) < 0)
        fail_msg("%s", err.text);
    memcpy(asked, the_mint.asked, the_mint.asked_len);
    asked_len = the_mint.asked_len;
    signed_len = text.len + 4; /* a field */
    RUN(CASES);
}

static void
provisioning_without_memory_is_refused_whole(void **state)
{
    static const struct alloc_case CASES[] = {
        { .name = "account", .work = account, .check = service_goes_on },
        { .name = "lease", .work = lease, .check = service_goes_on },
        { .name = "join", .work = join, .check = service_goes_on },
        { .name = "bundle", .work = bundle, .check = service_goes_on },
    };

    (void)state;
    RUN(CASES);
}

static void
operators_are_told_the_whole_or_nothing(void **state)
{
    static const struct alloc_case CASES[] = {
        { .name = "audience", .work = audience, .check = service_goes_on },
        { .name = "settings", .work = settings, .check = service_goes_on },
        { .name = "audiences", .work = audiences, .check = service_goes_on },
        { .name = "hosts", .work = hosts, .check = service_goes_on },
        { .name = "one VM", .work = one_vm, .check = service_goes_on },
        { .name = "audit", .work = audit, .check = service_goes_on },
        { .name = "keys", .work = keys, .check = service_goes_on },
        { .name = "top", .work = present, .check = service_goes_on },
        { .name = "metrics", .work = page, .check = service_goes_on },
    };

    (void)state;
    RUN(CASES);
}

static void
a_word_is_given_and_begun_whole_or_not(void **state)
{
    static const struct alloc_case CASES[] = {
        { .name = "a proof that is behind", .work = behind, .check = service_goes_on },
        { .name = "accept", .work = word, .check = service_goes_on },
        { .name = "its beginning", .work = beginning, .check = service_goes_on },
    };
    static struct answer answer;
    struct error err;

    (void)state;
    assert_int_equal(key_generate(&others, &err), 0);
    snprintf(accept_path, sizeof accept_path, "/v1/admin/vms/%s/accept", vm.text);
    the_api.frozen_ms++;
    vm.epoch = sim_host_say(&holder, &vm.uuid, VIEW_RUN, 0, true).e;
    RUN(CASES);
    the_api.frozen_ms = clock_realtime_ms(); /* the signer's clock went on, and makes no token for long before */
    vm.epoch = sim_host_say(&holder, &vm.uuid, VIEW_RUN, vm.epoch, false).e; /* the last try's word */
    swap_keys();
    begin_try();
    assert_int_equal(sim_vm_token(&vm, &holder, &answer), 200);
    assert_int_equal(answer.type, ANSWER_TOKEN);
    key_free(others);
}

static void
a_lease_is_ended_whole_or_not(void **state)
{
    static const struct alloc_case CASES[] = {
        { .name = "fence", .work = fence, .check = service_goes_on },
        { .name = "retire", .work = retire, .check = service_goes_on },
    };
    struct store_vm stored;
    struct error err;

    (void)state;
    RUN(CASES);
    assert_int_equal(store_vm_find(the_api.service.store, &vm.uuid, &stored, &err), 0);
    assert_int_equal(stored.lease.st, LEASE_FREE);
    assert_string_equal(stored.lease.hol, "");
}

static int
set_up(void **state)
{
    struct error err = { 0 };

    json_watch_memory();
    if (mint_fixture_start(state) < 0)
        return -1;
    strcpy(the_api.folder, "/dev/shm/virtid-alloc-XXXXXX");
    if (!mkdtemp(the_api.folder)) {
        strcpy(the_api.folder, "/tmp/virtid-alloc-XXXXXX");
        if (!mkdtemp(the_api.folder))
            return -1;
    }
    the_api.broken = note_broken;
    if (api_fixture_open(&err) < 0)
        return -1;
    sim_host_new(&holder, "a.example");
    sim_vm_new(&vm, 1, SIM_TPM | SIM_SECRET);
    vm.epoch = sim_host_say(&holder, &vm.uuid, VIEW_RUN, 0, true).e;
    assert_int_equal(sim_vm_account(&vm, &holder), 200);
    /* Stands still: leases do not end while thousands of tries are made. */
    the_api.frozen_ms = clock_realtime_ms();
    return 0;
}

static int
tear_down(void **state)
{
    api_fixture_close();
    tree_remove(the_api.folder);
    sim_host_clear(&holder);
    sim_vm_clear(&vm);
    buf_clear(&the_api.body);
    return mint_fixture_stop(state);
}

int
main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(a_proof_without_memory_is_neither_accepted_nor_blamed),
        cmocka_unit_test(a_signer_without_memory_signs_nothing),
        cmocka_unit_test(provisioning_without_memory_is_refused_whole),
        cmocka_unit_test(operators_are_told_the_whole_or_nothing),
        cmocka_unit_test(a_word_is_given_and_begun_whole_or_not),
        cmocka_unit_test(a_lease_is_ended_whole_or_not), /* last: the VM has no identity behind it */
    };

    return cmocka_run_group_tests_name("service_alloc", tests, set_up, tear_down);
}
