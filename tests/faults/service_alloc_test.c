/*
 * service_alloc_test.c - the token service and its signer without memory, at each allocation in turn: what decides
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
#include "tests/faults/starved.h"
#include "tokenservice/mint/signer.h"

static uint8_t asked[MINT_PACKET_MAX];
static size_t asked_len, signed_len;

/* ---- the requests ---- */

static int
challenge(void)
{
    return starved_ask(ON_GUESTS, "POST", "/v1/challenge", json_object(), 200);
}

/* The holder keeps it: with the next try its epoch is another. */
static int
lease(void)
{
    struct lease_result result;

    starved_begin();
    the_api.answer = starved_answer;
    result = sim_host_say(&holder, &vm.uuid, VIEW_RUN, vm.epoch, true);
    if (starved_verdict(200) < 0)
        return -1;
    assert_int_equal(result.answer, LEASE_OK);
    assert_true(result.e >= vm.epoch);
    vm.epoch = result.e;
    return 0;
}

static int
account(void)
{
    starved_begin();
    the_api.answer = starved_answer;
    (void)sim_vm_account(&vm, &holder);
    return starved_verdict(200);
}

static int
prove(enum answer_type wanted)
{
    static struct answer answer;

    starved_begin();
    sim_vm_prove(&vm, &holder);
    the_api.answer = starved_answer;
    (void)sim_vm_send(&vm, &answer);
    if (starved_verdict(200) < 0)
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

    starved_begin();
    sim_vm_prove(&vm, &holder);
    vm.p.hostsig[5] ^= 1;
    the_api.answer = starved_answer;
    (void)sim_vm_send(&vm, &answer);
    the_api.answer = NULL;
    assert_int_not_equal(the_api.status, 200);
    return the_api.status == 403 ? 0 : -1;
}

static int
join(void)
{
    static struct sim_host newcomer;

    starved_begin();
    (void)api_admin("DELETE", "/v1/admin/hosts/new.example", NULL);
    sim_host_clear(&newcomer);
    sim_host_invite(&newcomer, "new.example", true);
    the_api.answer = starved_answer;
    (void)sim_host_join(&newcomer);
    sim_host_clear(&newcomer);
    return starved_verdict(200);
}

static int
audience(void)
{
    return starved_ask(ON_ADMIN, "POST", "/v1/admin/audiences",
                       json_pack("{s:s,s:b,s:[s,s]}", "name", "https://db", "all", 1, "claims", "name", "labels"), 200);
}

static int
settings(void)
{
    char path[100];

    snprintf(path, sizeof path, "/v1/admin/vms/%s", vm.text);
    return starved_ask(ON_ADMIN, "PATCH", path,
                       json_pack("{s:s,s:{s:s},s:s}", "owner", "team", "labels", "tier", "db", "mode", "strict"), 200);
}

/* What was listed is all of it: a list with holes would be believed. */
static int
list(const char *target, size_t *full)
{
    if (starved_ask(ON_ADMIN, "GET", target, NULL, 200) < 0)
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
    return starved_ask(ON_ADMIN, "GET", path, NULL, 200);
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
    if (starved_ask(ON_METRICS, "GET", "/metrics", NULL, 200) < 0)
        return -1;
    assert_non_null(strstr(buf_text(&the_api.body), "\nvirtid_audit_records_total ")); /* its last line */
    return 0;
}

/* The holder is dead, says an operator; what it held is its again with its next word, since nobody took it. */
static int
fence(void)
{
    (void)sim_host_say(&holder, &vm.uuid, VIEW_RUN, vm.epoch, false);
    return starved_ask(ON_ADMIN, "POST", "/v1/admin/hosts/a.example/fence", json_object(), 200);
}

static int
retire(void)
{
    char path[100];

    snprintf(path, sizeof path, "/v1/admin/vms/%s/retire", vm.text);
    return starved_ask(ON_ADMIN, "POST", path, json_object(), 200);
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
    starved_begin();
    send_behind(starved_answer);
    return starved_verdict(409);
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

    return starved_ask(ON_ADMIN, "POST", path, what_was_seen(path), 200);
}

static int
beginning(void)
{
    struct lease_result result;
    struct error err;

    starved_begin();
    key_free(others); /* an earlier try's word lets its own key in */
    assert_int_equal(key_generate(&others, &err), 0);
    vm.epoch = sim_host_say(&holder, &vm.uuid, VIEW_RUN, vm.epoch, false).e; /* of a try that was not answered */
    send_behind(NULL);
    assert_int_equal(api_admin("POST", accept_path, what_was_seen(accept_path)), 200);
    starved_begin();
    the_api.answer = starved_answer;
    result = sim_host_say(&holder, &vm.uuid, VIEW_RUN, vm.epoch, false);
    if (starved_verdict(200) < 0)
        return -1;
    assert_int_equal(result.answer, LEASE_OK);
    assert_true(result.e > vm.epoch);
    vm.epoch = result.e;
    return 0;
}

static int
bundle(void)
{
    return starved_ask(ON_HOSTS, "GET", "/v1/host/bundle", NULL, 200);
}

static int
keys(void)
{
    return starved_ask(ON_PUBLIC, "GET", "/.well-known/jwks.json", NULL, 200);
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
        starved_wrong++;
        printf("# blamed: %s\n", err.text);
    }
    return -1;
}

/* ---- tests ---- */

#define RUN(cases) starved_run(cases, sizeof(cases) / sizeof(cases)[0])

static void
a_proof_without_memory_is_neither_accepted_nor_blamed(void **state)
{
    static const struct alloc_case PENDING[] = {
        { .name = "challenge", .work = challenge, .check = starved_goes_on },
        { .name = "first proof", .work = first_proof, .check = starved_goes_on },
    };
    static const struct alloc_case ENROLLED[] = {
        { .name = "refused proof", .work = refused_proof, .check = starved_goes_on },
        { .name = "token", .work = token, .check = starved_goes_on },
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
        { .name = "account", .work = account, .check = starved_goes_on },
        { .name = "lease", .work = lease, .check = starved_goes_on },
        { .name = "join", .work = join, .check = starved_goes_on },
        { .name = "bundle", .work = bundle, .check = starved_goes_on },
    };

    (void)state;
    RUN(CASES);
}

static void
operators_are_told_the_whole_or_nothing(void **state)
{
    static const struct alloc_case CASES[] = {
        { .name = "audience", .work = audience, .check = starved_goes_on },
        { .name = "settings", .work = settings, .check = starved_goes_on },
        { .name = "audiences", .work = audiences, .check = starved_goes_on },
        { .name = "hosts", .work = hosts, .check = starved_goes_on },
        { .name = "one VM", .work = one_vm, .check = starved_goes_on },
        { .name = "audit", .work = audit, .check = starved_goes_on },
        { .name = "keys", .work = keys, .check = starved_goes_on },
        { .name = "top", .work = present, .check = starved_goes_on },
        { .name = "metrics", .work = page, .check = starved_goes_on },
    };

    (void)state;
    RUN(CASES);
}

static void
a_word_is_given_and_begun_whole_or_not(void **state)
{
    static const struct alloc_case CASES[] = {
        { .name = "a proof that is behind", .work = behind, .check = starved_goes_on },
        { .name = "accept", .work = word, .check = starved_goes_on },
        { .name = "its beginning", .work = beginning, .check = starved_goes_on },
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
    starved_begin();
    assert_int_equal(sim_vm_token(&vm, &holder, &answer), 200);
    assert_int_equal(answer.type, ANSWER_TOKEN);
    key_free(others);
}

static void
a_lease_is_ended_whole_or_not(void **state)
{
    static const struct alloc_case CASES[] = {
        { .name = "fence", .work = fence, .check = starved_goes_on },
        { .name = "retire", .work = retire, .check = starved_goes_on },
    };
    struct store_vm stored;
    struct error err;

    (void)state;
    RUN(CASES);
    assert_int_equal(store_vm_find(the_api.service.store, &vm.uuid, &stored, &err), 0);
    assert_int_equal(stored.lease.st, LEASE_FREE);
    assert_string_equal(stored.lease.hol, "");
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

    return cmocka_run_group_tests_name("service_alloc", tests, starved_set_up, starved_tear_down);
}
