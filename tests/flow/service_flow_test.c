/*
 * The token service as processes: what its parts promise, kept over real sockets and
 * real deaths.
 */
#include "config.h"

#include <setjmp.h>
#include <signal.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

#include "lib/common/clock.h"
#include "lib/crypto/random.h"
#include "lib/wire/http_message.h"
#include "lib/wire/token.h"
#include "tests/flow/service_rig.h"
#include "tests/unit/skip_missing.h"

static struct service_rig rig;

static int
set_up(void **state)
{
    (void)state;
    service_rig_new(&rig);
    return 0;
}

static int
tear_down(void **state)
{
    (void)state;
    service_rig_free(&rig);
    return 0;
}

static int
token_over(struct tls *tls)
{
    service_rig_prove(&rig, tls, "virtid-connect");
    return service_rig_send(&rig, tls);
}

static int
get_token(void)
{
    CLEANUP(tls_free) struct tls *tls = service_rig_guest(&rig);

    return token_over(tls);
}

static void
check_token(void)
{
    CLEANUP(buf_clear) struct buf text = BUF(JSON_TEXT_MAX);
    CLEANUP(jwks_free) struct jwks *jwks = NULL;
    CLEANUP(token_clear) struct token token;
    struct error err = { 0 };

    memset(&token, 0, sizeof token);
    assert_int_equal(rig.answer.type, ANSWER_TOKEN);
    assert_int_equal(service_rig_public(&rig, "/.well-known/jwks.json", &text), 200);
    if (jwks_parse((char *)text.data, text.len, &jwks, &err) < 0 ||
        token_verify(rig.answer.token, strlen(rig.answer.token), jwks,
                     "https://localhost:18443", "virtid-connect",
                     clock_realtime_ms() / 1000, &token, &err) < 0)
        fail_msg("%s", err.text);
    assert_true(vm_uuid_equal(&token.uuid, &rig.uuid));
    assert_string_equal(token.name, "web1");
    assert_true(token.epoch == rig.epoch);
}

static void
enroll(void)
{
    service_rig_join(&rig);
    assert_int_equal(service_rig_report(&rig, VIEW_RUN, true).answer, LEASE_OK);
    assert_int_equal(service_rig_account(&rig), 200);
    assert_int_equal(get_token(), 200);
}

static void
a_vm_gets_a_token_that_a_stranger_verifies(void **state)
{
    (void)state;
    enroll();
    check_token();
}

static void
a_proof_carried_over_another_connection_is_refused(void **state)
{
    CLEANUP(tls_free) struct tls *one = NULL;
    CLEANUP(tls_free) struct tls *two = NULL;

    (void)state;
    enroll();
    one = service_rig_guest(&rig);
    two = service_rig_guest(&rig);
    service_rig_prove(&rig, one, "virtid-connect");
    assert_int_equal(service_rig_send(&rig, two), 403);
    assert_string_equal(rig.problem, "refused");
    assert_int_equal(service_rig_send(&rig, one), 200);
}

static void
restart(void)
{
    assert_int_equal(service_rig_end(&rig, SIGKILL), -SIGKILL);
    service_rig_start(&rig);
    service_rig_host_connect(&rig);
}

static void
kill_9_between_the_steps_loses_nothing_acknowledged(void **state)
{
    uint64_t epoch;

    (void)state;
    service_rig_join(&rig);
    restart();
    assert_int_equal(service_rig_host(&rig, "GET", "/v1/host/bundle", NULL, NULL), 200);
    assert_int_equal(service_rig_report(&rig, VIEW_RUN, true).answer, LEASE_OK);
    epoch = rig.epoch;
    restart();
    assert_int_equal(service_rig_report(&rig, VIEW_RUN, false).answer, LEASE_OK);
    assert_true(rig.epoch == epoch);
    assert_int_equal(service_rig_account(&rig), 200);
    restart();
    assert_int_equal(service_rig_report(&rig, VIEW_RUN, false).answer, LEASE_OK);
    assert_int_equal(get_token(), 200); /* the account's secret is known */
    check_token();
    restart();
    assert_int_equal(get_token(),
                     200); /* still in grace: a proof of what the record says */
    check_token();
    assert_int_equal(service_rig_report(&rig, VIEW_RUN, false).answer, LEASE_OK);
    assert_int_equal(service_rig_report(&rig, VIEW_RUN, true).answer, LEASE_OK);
    assert_true(rig.epoch > epoch);
}

static void
junk_from_strangers_leaves_the_audit_as_it_was(void **state)
{
    CLEANUP(tls_free) struct tls *tls = NULL;
    CLEANUP(buf_clear) struct buf into = BUF(HTTP_BODY_MAX), text = BUF(PROVE_BODY_MAX);
    struct error err = { 0 };
    uint8_t junk[64];
    int64_t before;
    int answered = 0;

    (void)state;
    enroll();
    before = service_rig_audit(&rig);
    tls = service_rig_guest(&rig);
    service_rig_prove(&rig, tls, "virtid-connect");
    for (int i = 0; i < 10000; i++) {
        const char *path = i % 3 ? "/v1/token" : "/v1/nothing";

        buf_clear(&text);
        assert_int_equal(random_bytes(junk, sizeof junk, &err), 0);
        if (i % 2) {
            memcpy(rig.p.hostsig, junk, sizeof rig.p.hostsig);
            rig.p.uuid.bytes[15] = (uint8_t)i;
            assert_int_equal(prove_encode(&rig.p, &text, &err), 0);
        } else {
            buf_add(&text, junk, sizeof junk);
        }
        assert_true(
            service_rig_guest_post(&rig, tls, path, text.data, text.len, &into) != 200);
        answered += rig.status != 0 && rig.status != 503;
        if (rig.status == 0) { /* shed: too much of one address */
            tls_free(tls);
            tls = service_rig_guest(&rig);
        }
    }
    assert_true(answered > 1000);
    /* Beside them the signed head of what was there before, at most. */
    assert_in_range(service_rig_audit(&rig), before, before + 1);
    assert_int_equal(get_token(), 200);
}

static void
known_and_unknown_vms_are_refused_with_the_same_bytes(void **state)
{
    CLEANUP(tls_free) struct tls *tls = NULL;
    CLEANUP(buf_clear)
    struct buf text = BUF(PROVE_BODY_MAX), known = BUF(HTTP_BODY_MAX),
               unknown = BUF(HTTP_BODY_MAX);
    struct error err = { 0 };

    (void)state;
    enroll();
    tls = service_rig_guest(&rig);
    service_rig_prove(&rig, tls, "virtid-connect");
    rig.p.hostsig[9] ^= 1;
    assert_int_equal(prove_encode(&rig.p, &text, &err), 0);
    service_rig_guest_post(&rig, tls, "/v1/token", text.data, text.len, &known);
    rig.p.uuid.bytes[0] ^= 1;
    buf_clear(&text);
    assert_int_equal(prove_encode(&rig.p, &text, &err), 0);
    service_rig_guest_post(&rig, tls, "/v1/token", text.data, text.len, &unknown);
    assert_int_equal(known.len, unknown.len);
    assert_memory_equal(known.data, unknown.data, known.len);
}

static void
a_removed_host_is_refused_on_its_open_connection(void **state)
{
    (void)state;
    enroll();
    assert_int_equal(
        service_rig_admin(&rig, "DELETE", "/v1/admin/hosts/a.example", NULL, NULL),
        200);
    assert_int_equal(service_rig_host(&rig, "GET", "/v1/host/bundle", NULL, NULL), 403);
    assert_int_equal(get_token(), 403);
}

static void
a_second_service_on_the_same_state_does_not_start(void **state)
{
    (void)state;
    /* Free ports of its own, and still refused; the first one is not disturbed. */
    assert_int_equal(service_rig_run(&rig, "--verbose"), 1);
    assert_int_equal(service_rig_admin(&rig, "GET", "/v1/admin/status", NULL, NULL),
                     200);
}

static void
sigterm_ends_it_cleanly(void **state)
{
    (void)state;
    enroll();
    assert_int_equal(service_rig_end(&rig, SIGTERM), 0);
}

/* The signer is the one child of the service. */
static pid_t
find_signer(void)
{
    char path[64], line[64] = "";
    FILE *f;

    snprintf(path, sizeof path, "/proc/%d/task/%d/children", (int)rig.pid,
             (int)rig.pid);
    f = fopen(path, "r");
    if (!f)
        return 0;
    if (!fgets(line, sizeof line, f))
        line[0] = '\0';
    fclose(f);
    return (pid_t)strtol(line, NULL, 10);
}

static void
without_its_signer_it_ends(void **state)
{
    pid_t signer;

    (void)state;
    signer = find_signer();
    if (signer <= 0)
        skip_missing("/proc/PID/task/PID/children, by which the signer is found");
    kill(signer, SIGKILL);
    assert_int_equal(service_rig_end(&rig, 0), 1);
}

/* At the end of its file, or in its place if that is "w". */
static void
configure(const char *mode, const char *text)
{
    char path[128];
    FILE *f;

    snprintf(path, sizeof path, "%s/tokend.conf", rig.folder);
    f = fopen(path, mode);
    assert_non_null(f);
    fputs(text, f);
    fclose(f);
}

static void
a_configuration_is_checked_without_a_start(void **state)
{
    static const char NAMES[] = "[service]\ntrust_domain = id.example.test\nissuer = https://id.example.test\nnames =%s\n";
    char text[sizeof NAMES + 20];

    (void)state;
    assert_int_equal(service_rig_run(&rig, "--check-config"), 0);
    configure("a", "[service]\nenroll = open\n");
    assert_int_equal(service_rig_run(&rig, "--check-config"), 2);
    snprintf(text, sizeof text, NAMES, " id.example.test");
    configure("w", text);
    assert_int_equal(service_rig_run(&rig, "--check-config"), 0);
    snprintf(text, sizeof text, NAMES, ""); /* of which hosts connect to the first */
    configure("w", text);
    assert_int_equal(service_rig_run(&rig, "--check-config"), 2);
    assert_int_equal(service_rig_run(&rig, "--no-such-option"), 2);
}

#define FLOW(name) cmocka_unit_test_setup_teardown(name, set_up, tear_down)

int
main(void)
{
    const struct CMUnitTest t[] = {
        FLOW(a_vm_gets_a_token_that_a_stranger_verifies),
        FLOW(a_proof_carried_over_another_connection_is_refused),
        FLOW(kill_9_between_the_steps_loses_nothing_acknowledged),
        FLOW(junk_from_strangers_leaves_the_audit_as_it_was),
        FLOW(known_and_unknown_vms_are_refused_with_the_same_bytes),
        FLOW(a_removed_host_is_refused_on_its_open_connection),
        FLOW(a_second_service_on_the_same_state_does_not_start),
        FLOW(sigterm_ends_it_cleanly),
        FLOW(without_its_signer_it_ends),
        FLOW(a_configuration_is_checked_without_a_start),
    };
    return cmocka_run_group_tests_name("service_flow", t, NULL, NULL);
}
