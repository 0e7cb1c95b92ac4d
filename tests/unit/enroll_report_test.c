/*
 * Reports to a token service of before, which refuses what it does not know.
 */
#include "config.h"

#include "plugin/enroll/enroll.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <string.h>

#include <cmocka.h>

#include "tests/unit/http_fixture.h"

static struct fixture *the;
static struct host_identity identity;

static int
start(void **state)
{
    const struct fixture_pki *pki;

    (void)state;
    the = fixture_start();
    pki = fixture_pki(the);
    strcpy(identity.name, "one");
    snprintf(identity.service, sizeof identity.service, "127.0.0.1:%u", fixture_port(the));
    identity.tls_key = pki->client_key;
    identity.tls_cert = pki->client;
    memcpy(identity.trust.ca_now, pki->ca.data, pki->ca.len);
    identity.trust.ca_now_len = pki->ca.len;
    return 0;
}

static int
stop(void **state)
{
    (void)state;
    fixture_stop(the);
    return 0;
}

/* The report's requests until it is answered; of one VM of which that was seen. */
static unsigned
requests_of(struct enroll *enroll, unsigned saw)
{
    static struct lease_report report;
    static struct lease_result results[LEASE_VMS_MAX];
    unsigned before = fixture_served(the);
    struct error err = { 0 };
    size_t n = 0;

    memset(&report, 0, sizeof report);
    strcpy(report.host, "one");
    strcpy(report.boot, "0a5e8b2c-1111-4222-8333-944455566677");
    report.seq = 7;
    report.n_vms = 1;
    report.vms[0].view = VIEW_RUN;
    report.vms[0].saw = saw;
    report.vms[0].saw_seq = 6;
    if (enroll_report(enroll, &report, 30000, results, LEASE_VMS_MAX, &n, &err) < 0)
        fail_msg("%s", err.text);
    assert_int_equal(report.vms[0].saw, saw); /* it is told when that service is a newer one */
    return fixture_served(the) - before;
}

static void
a_lease_does_not_wait_for_evidence(void **state)
{
    CLEANUP(enroll_free) struct enroll *enroll = NULL;
    struct error err;

    (void)state;
    assert_int_equal(enroll_new(&identity, &enroll, &err), 0);
    assert_int_equal(requests_of(enroll, 0), 1);
    assert_int_equal(requests_of(enroll, SAW_SNAPSHOT), 2);
    assert_int_equal(requests_of(enroll, SAW_SNAPSHOT), 1); /* not again for an hour */
    assert_int_equal(requests_of(enroll, 0), 1);
}

int
main(void)
{
    const struct CMUnitTest t[] = {
        cmocka_unit_test(a_lease_does_not_wait_for_evidence),
    };
    return cmocka_run_group_tests_name("enroll_report", t, start, stop);
}
