/*
 * The service's database was restored from a backup: hosts whose certificates are newer come back by showing them.
 */
#include "config.h"

#include "tests/unit/sim_recovery.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stdio.h>
#include <string.h>
#include <unistd.h>

#include <cmocka.h>

static int
show_certificates(struct sim_host *h, const uint8_t *proof, size_t len)
{
    json_t *body = json_object();

    assert_int_equal(json_set_bytes(body, "proof_cert", proof, len), 0);
    return sim_host_ask(h, "POST", "/v1/host/certificates", body);
}

/* The certificate for proofs that belongs to h->cert. */
static size_t
proof_cert_of(const struct sim_host *h, uint8_t ret[static STORE_CERT_MAX])
{
    struct store_cert cert;
    struct error err;

    if (store_cert_of(the_api.service.store, h->name, CERT_NEXT, &cert, &err) < 0)
        assert_int_equal(store_cert_of(the_api.service.store, h->name, CERT_CURRENT, &cert, &err), 0);
    memcpy(ret, cert.proof_cert, cert.proof_cert_len);
    return cert.proof_cert_len;
}

static void
a_host_that_renewed_since_comes_back(void **state)
{
    CLEANUP(sim_stage_clear) struct sim_stage st;
    uint8_t before[STORE_CERT_MAX], proof[STORE_CERT_MAX], old_cert[2048];
    size_t before_len, proof_len, old_len;

    (void)state;
    sim_stage_new(&st);
    before_len = proof_cert_of(&st.a, before);
    usleep(1100 * 1000); /* a certificate knows whole seconds, by the signer's clock */
    sim_next_run(&st);
    sim_back_up();
    the_api.skew_ms += 2000;
    memcpy(old_cert, st.a.cert, st.a.cert_len);
    old_len = st.a.cert_len;
    assert_int_equal(sim_host_renew(&st.a), 200);
    proof_len = proof_cert_of(&st.a, proof);
    sim_says(&st.a, &st.s.vm, VIEW_RUN, &st.at_a);
    sim_restore();
    sim_says(&st.a, &st.s.vm, VIEW_RUN, &st.at_a);
    assert_int_equal(the_api.status, 403);
    assert_string_equal(the_api.problem, "certificate-unknown");
    assert_int_equal(show_certificates(&st.a, before, before_len), 403); /* older than the database */
    assert_int_equal(show_certificates(&st.a, st.a.cert, st.a.cert_len), 403); /* for another purpose */
    assert_false(sim_in_recovery());
    assert_int_equal(show_certificates(&st.a, proof, proof_len), 200);
    assert_true(sim_in_recovery());
    assert_int_equal(show_certificates(&st.a, proof, proof_len), 403); /* it is known */
    sim_says(&st.b, &st.s.vm, VIEW_OFF, &st.at_b);
    assert_int_equal(sim_says(&st.a, &st.s.vm, VIEW_RUN, &st.at_a).answer, LEASE_OK);
    assert_int_equal(sim_stepper_prove(&st.s, &st.a), 200); /* its new proof key counts */
    memcpy(st.a.cert, old_cert, old_len);
    st.a.cert_len = old_len;
    sim_says(&st.a, &st.s.vm, VIEW_RUN, &st.at_a);
    assert_int_equal(the_api.status, 403); /* retired, as it was */
}

/* Of two that are lost the newer one counts, and the older one is a thief's. */
static void
an_older_lost_certificate_does_not_come_back(void **state)
{
    CLEANUP(sim_stage_clear) struct sim_stage st;
    uint8_t stolen[2048], older[STORE_CERT_MAX], newer[STORE_CERT_MAX], cert[2048];
    size_t stolen_len, older_len, newer_len, len;

    (void)state;
    sim_stage_new(&st);
    sim_back_up();
    assert_int_equal(sim_host_renew(&st.a), 200);
    older_len = proof_cert_of(&st.a, older);
    memcpy(stolen, st.a.cert, st.a.cert_len);
    stolen_len = st.a.cert_len;
    sim_says(&st.a, &st.s.vm, VIEW_RUN, &st.at_a);
    usleep(1100 * 1000); /* as above */
    assert_int_equal(sim_host_renew(&st.a), 200);
    newer_len = proof_cert_of(&st.a, newer);
    sim_says(&st.a, &st.s.vm, VIEW_RUN, &st.at_a);
    sim_restore();
    assert_int_equal(show_certificates(&st.a, newer, newer_len), 200);
    memcpy(cert, st.a.cert, len = st.a.cert_len);
    memcpy(st.a.cert, stolen, st.a.cert_len = stolen_len);
    assert_int_equal(show_certificates(&st.a, older, older_len), 403);
    sim_says(&st.a, &st.s.vm, VIEW_RUN, &st.at_a);
    assert_int_equal(the_api.status, 403);
    memcpy(st.a.cert, cert, st.a.cert_len = len);
    sim_says(&st.a, &st.s.vm, VIEW_RUN, &st.at_a);
    assert_int_equal(the_api.status, 200);
}

static void
a_host_that_joined_since_is_named_and_not_let_in(void **state)
{
    CLEANUP(sim_stage_clear) struct sim_stage st;
    CLEANUP(sim_host_clear) struct sim_host late;
    CLEANUP(sim_vm_clear) struct sim_vm its;
    CLEANUP(json_decref) json_t *o = NULL;
    struct sim_kept kept = { .len = 0 };
    uint8_t proof[STORE_CERT_MAX];
    size_t len;

    (void)state;
    sim_stage_new(&st);
    sim_back_up();
    sim_host_new(&late, "late.example");
    sim_says(&st.a, &st.s.vm, VIEW_RUN, &st.at_a); /* the grace is over */
    sim_says(&st.b, &st.s.vm, VIEW_OFF, &st.at_b);
    sim_vm_enrolled(&its, 6, SIM_SECRET, &late);
    sim_says(&late, &its, VIEW_RUN, &kept);
    len = proof_cert_of(&late, proof);
    sim_restore();
    assert_int_equal(sim_host_ask(&late, "GET", "/v1/host/bundle", NULL), 403);
    assert_string_equal(the_api.problem, "refused");
    assert_int_equal(show_certificates(&late, proof, len), 403);
    assert_true(sim_in_recovery());
    o = sim_recovery_state();
    assert_int_equal(json_integer_value(json_object_get(o, "hosts_unknown")), 1);
    /* An operator lets it join anew: it brings its VM along. */
    sim_host_clear(&late);
    sim_host_new(&late, "late.example");
    sim_must_show(&late, &kept, "taken");
    sim_says(&st.a, &st.s.vm, VIEW_RUN, &st.at_a);
    sim_says(&st.b, &st.s.vm, VIEW_OFF, &st.at_b);
    assert_int_equal(sim_says(&late, &its, VIEW_RUN, &kept).answer, LEASE_OK);
    assert_int_equal(sim_vm_token(&its, &late, &the_answer), 200);
}

static void
a_removed_host_does_not_come_back(void **state)
{
    CLEANUP(sim_stage_clear) struct sim_stage st;
    uint8_t proof[STORE_CERT_MAX];
    size_t len;

    (void)state;
    sim_stage_new(&st);
    len = proof_cert_of(&st.b, proof);
    assert_int_equal(api_admin("DELETE", "/v1/admin/hosts/b.example", NULL), 200);
    api_restart();
    sim_says(&st.b, &st.s.vm, VIEW_OFF, &st.at_b);
    assert_string_equal(the_api.problem, "refused");
    assert_int_equal(show_certificates(&st.b, proof, len), 403);
    assert_false(sim_in_recovery());
}

int
main(void)
{
    const struct CMUnitTest tests[] = {
        API_TEST(a_host_that_renewed_since_comes_back),
        API_TEST(an_older_lost_certificate_does_not_come_back),
        API_TEST(a_host_that_joined_since_is_named_and_not_let_in),
        API_TEST(a_removed_host_does_not_come_back),
    };

    return cmocka_run_group_tests_name("api_certificates", tests, api_fixture_start, api_fixture_stop);
}
