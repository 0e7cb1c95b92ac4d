/*
 * The agent, whole: a real program and a real swtpm between a host's side and a token service that can both
 * misbehave.
 */
#include "config.h"

#include <arpa/inet.h>
#include <setjmp.h>
#include <signal.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdio.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <unistd.h>

#include <cmocka.h>

#include "lib/common/encode.h"
#include "lib/common/fdio.h"
#include "lib/crypto/random.h"
#include "lib/wire/slot.h"
#include "tests/flow/agent_rig.h"
#include "tests/flow/agent_rig_service.h"

static struct rig rig;

static int
with_tpm(void **state)
{
    rig_new(&rig, true);
    *state = &rig;
    return 0;
}

static int
without_tpm(void **state)
{
    rig_new(&rig, false);
    *state = &rig;
    return 0;
}

static int
tear_down(void **state)
{
    rig_free(*state);
    return 0;
}

static void
the_agent_activates_its_credential_and_gets_a_token(void **state)
{
    struct rig *r = *state;
    char token[5000];

    rig_start_agent(r);
    assert_int_equal(rig_token(r, "db", 60, token, sizeof token), 0);
    assert_string_equal(token, "token-1.db.factors-7.fresh");
    assert_int_equal(r->activations, 1);
    assert_true(rig_wait_status(r, "token", 60));
    /* From the cache: no proof. */
    assert_int_equal(rig_token(r, "db", 0, token, sizeof token), 0);
    assert_string_equal(token, "token-1.db.factors-7.fresh");
    assert_int_equal(r->tokens, 1);
    /* Another audience: a proof, without activation. */
    assert_int_equal(rig_token(r, "virtid-connect", 0, token, sizeof token), 0);
    assert_string_equal(token, "token-2.virtid-connect.factors-7.cnf.fresh");
    assert_int_equal(r->activations, 1);
    rig_stop_agent(r);
}

static void
a_vm_without_tpm_gets_a_token_with_host_and_secret(void **state)
{
    struct rig *r = *state;
    char token[5000];

    rig_start_agent(r);
    assert_int_equal(rig_token(r, "db", 60, token, sizeof token), 0);
    assert_string_equal(token, "token-1.db.factors-5.fresh");
    rig_stop_agent(r);
}

static void
a_guest_without_bundle_takes_the_first_from_the_host(void **state)
{
    struct rig *r = *state;
    char path[128];
    struct stat st;

    rig_start_agent(r);
    assert_true(rig_wait(r, &r->readies, 1, 60));
    assert_int_equal(r->serial_held, 1);
    snprintf(path, sizeof path, "%s/state/bundle", r->folder);
    assert_int_equal(stat(path, &st), 0);
    assert_int_equal(rig_token(r, "db", 60, NULL, 0), 0);
}

static void
a_guest_with_an_old_bundle_takes_the_newer_one_signed_under_it(void **state)
{
    struct rig *r = *state;

    rig_install_bundle(r);
    rig_offer(r, 2, NULL, false);
    rig_start_agent(r);
    assert_true(rig_wait(r, &r->readies, 1, 60));
    assert_int_equal(r->serial_held, 2);
}

static void
an_older_bundle_than_the_one_held_is_not_taken(void **state)
{
    struct rig *r = *state;

    rig_offer(r, 5, NULL, false);
    rig_install_bundle(r);
    rig_offer(r, 4, NULL, false);
    rig_start_agent(r);
    assert_true(rig_wait(r, &r->readies, 1, 60));
    assert_int_equal(r->serial_held, 5);
    assert_int_equal(rig_token(r, "db", 60, NULL, 0), 0);
}

static void
a_false_bundle_is_refused_and_the_held_one_goes_on(void **state)
{
    struct rig *r = *state;

    rig_install_bundle(r);
    rig_offer(r, 9, r->other_ca_key, true);
    rig_start_agent(r);
    assert_true(rig_wait(r, &r->readies, 1, 60));
    assert_int_equal(r->serial_held, 1);
    assert_int_equal(rig_token(r, "db", 60, NULL, 0), 0);
}

static void
a_false_service_that_relays_gets_no_proof(void **state)
{
    struct rig *r = *state;

    rig_install_bundle(r);
    r->wish.false_service = true;
    rig_start_agent(r);
    assert_int_not_equal(rig_token(r, "db", 2, NULL, 0), 0);
    assert_true(r->opens > 0);
    assert_int_equal(r->proofs, 0);
    r->wish.false_service = false;
    assert_int_equal(rig_token(r, "db", 60, NULL, 0), 0);
}

static void
a_channel_held_by_another_delays_and_nothing_more(void **state)
{
    struct rig *r = *state;
    char text[2000];
    const char *const status[] = { "status", NULL };

    r->wish.silent = true;
    rig_start_agent(r);
    assert_int_not_equal(rig_token(r, "db", 1, NULL, 0), 0);
    assert_int_equal(rig_run(r, status, text, sizeof text), 5);
    assert_non_null(strstr(text, "no-channel"));
    r->wish.silent = false;
    assert_int_equal(rig_token(r, "db", 60, NULL, 0), 0);
}

static void
a_hello_with_another_epoch_ends_what_was_under_way_and_proves_anew(void **state)
{
    struct rig *r = *state;
    char token[5000];
    unsigned before;

    rig_start_agent(r);
    assert_int_equal(rig_token(r, "db", 60, NULL, 0), 0);
    before = r->accepted;
    pthread_mutex_lock(&r->lock);
    r->epoch = 2000;
    pthread_mutex_unlock(&r->lock);
    rig_hello(r);
    assert_true(rig_wait(r, &r->accepted, before + 1, 60));
    assert_int_equal(rig_token(r, "db", 0, token, sizeof token), 0);
    rig_stop_agent(r);
}

/* As after a restore an hour later, and when a wrong clock of the host is put right. */
static void
a_clock_that_jumps_ends_tokens_and_nothing_else(void **state)
{
    struct rig *r = *state;
    char first[5000], token[5000];

    rig_start_agent(r);
    assert_int_equal(rig_token(r, "db", 60, first, sizeof first), 0);
    r->wish.host_ahead = 3600;
    rig_hello(r);
    assert_true(rig_wait(r, &r->accepted, 2, 60));
    assert_int_equal(rig_token(r, "db", 60, token, sizeof token), 0);
    assert_string_not_equal(token, first);
    r->wish.host_ahead = 0;
    rig_hello(r);
    assert_int_equal(rig_token(r, "db", 60, token, sizeof token), 0);
    assert_int_equal(rig_token(r, "other", 60, NULL, 0), 0);
    rig_stop_agent(r);
}

static void
a_hello_with_another_uuid_is_not_answered(void **state)
{
    struct rig *r = *state;
    unsigned readies;

    rig_start_agent(r);
    assert_int_equal(rig_token(r, "db", 60, NULL, 0), 0);
    pthread_mutex_lock(&r->lock);
    readies = r->readies;
    r->uuid.bytes[0] ^= 1;
    pthread_mutex_unlock(&r->lock);
    rig_hello(r);
    assert_false(rig_wait(r, &r->readies, readies + 1, 2));
    pthread_mutex_lock(&r->lock);
    r->uuid.bytes[0] ^= 1;
    pthread_mutex_unlock(&r->lock);
    rig_hello(r);
    assert_true(rig_wait(r, &r->readies, readies + 1, 60));
}

static void
a_host_side_that_restarts_is_greeted_again(void **state)
{
    struct rig *r = *state;
    unsigned readies;

    rig_start_agent(r);
    assert_int_equal(rig_token(r, "db", 60, NULL, 0), 0);
    readies = r->readies;
    rig_cut(r);
    assert_int_equal(rig_token(r, "db", 0, NULL, 0), 0); /* cached */
    assert_true(rig_wait(r, &r->readies, readies + 1, 60));
    assert_int_equal(rig_token(r, "other", 60, NULL, 0), 0);
}

/* transport=direct: `n` connections over TCP, each to the rig's service. */
struct guest_listener {
    struct rig *r;
    int fd;
    unsigned accepted;
};

static void *
take_connections(void *context)
{
    struct guest_listener *l = context;
    int fd;

    while ((fd = accept4(l->fd, NULL, NULL, SOCK_CLOEXEC)) >= 0) {
        l->accepted++;
        rig_service_start(l->r, fd);
    }
    return NULL;
}

static void
an_agent_reaches_the_service_over_its_own_network(void **state)
{
    struct rig *r = *state;
    struct sockaddr_in at = { .sin_family = AF_INET, .sin_addr.s_addr = htonl(INADDR_LOOPBACK) };
    struct guest_listener l = { r, socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0), 0 };
    socklen_t len = sizeof at;
    pthread_t thread;

    assert_int_equal(bind(l.fd, (struct sockaddr *)&at, sizeof at), 0);
    assert_int_equal(getsockname(l.fd, (struct sockaddr *)&at, &len), 0);
    assert_int_equal(listen(l.fd, 16), 0);
    assert_int_equal(pthread_create(&thread, NULL, take_connections, &l), 0);
    r->port = ntohs(at.sin_port);
    rig_offer(r, 1, NULL, false);
    rig_configure(r, "transport=direct\n");
    r->wish.service_away = true; /* nothing comes through the channel */
    rig_start_agent(r);
    assert_int_equal(rig_token(r, "db", 60, NULL, 0), 0);
    assert_int_equal(r->opens, 0);
    assert_true(l.accepted > 0 && r->signs > 0);
    /* The host's signature is not to be had there, nor is a service of another CA taken. */
    r->wish.no_signature = true;
    assert_int_not_equal(rig_token(r, "other", 2, NULL, 0), 0);
    r->wish.no_signature = false;
    assert_int_equal(rig_token(r, "other", 60, NULL, 0), 0);
    r->wish.false_service = true;
    len = r->proofs;
    assert_int_not_equal(rig_token(r, "third", 2, NULL, 0), 0);
    assert_int_equal(r->proofs, len);
    /* Nobody there: it says so, and where. */
    assert_int_equal(shutdown(l.fd, SHUT_RDWR), 0);
    assert_int_equal(pthread_join(thread, NULL), 0);
    close(l.fd);
    assert_int_not_equal(rig_token(r, "fourth", 2, NULL, 0), 0);
    assert_true(rig_log_has(r, "token service at localhost:"));
    rig_stop_agent(r);
    rig_configure(r, "transport=pigeon\n");
    assert_int_equal(rig_run(r, (const char *[]){ "run", NULL }, (char[100]){ "" }, 100), 2);
}

static void
resolve_is_followed_by_another_proof(void **state)
{
    struct rig *r = *state;

    r->wish.resolve = true;
    rig_start_agent(r);
    assert_int_equal(rig_token(r, "db", 60, NULL, 0), 0);
    assert_int_equal(r->accepted, 2);
}

static void
garbage_on_the_channel_costs_time_and_nothing_else(void **state)
{
    struct rig *r = *state;
    uint8_t junk[4096];
    struct error err = { 0 };

    r->wish.garbage = true;
    rig_start_agent(r);
    assert_true(rig_wait(r, &r->readies, 1, 60));
    for (int i = 0; i < 50; i++) {
        assert_int_equal(random_bytes(junk, sizeof junk, &err), 0);
        if (i % 2)
            memcpy(junk, "VTD1\002\0\0\0", 8);
        rig_inject(r, junk, sizeof junk);
    }
    rig_hello(r);
    rig_cut(r);
    assert_int_equal(rig_token(r, "db", 60, NULL, 0), 0);
    rig_stop_agent(r);
}

static void
a_second_agent_does_not_start(void **state)
{
    struct rig *r = *state;
    const char *const words[] = { "run", NULL };
    char text[100];

    rig_start_agent(r);
    assert_int_equal(rig_run(r, words, text, sizeof text), 5);
    assert_int_equal(rig_token(r, "db", 60, NULL, 0), 0);
}

static void
the_slots_of_another_vm_are_not_used_and_are_wiped_when_the_own_is_accepted(void **state)
{
    struct rig *r = *state;
    struct slot foreign = { .kind = SLOT_PRIVATE, .body = { 1, 2, 3 } };
    uint8_t bytes[SLOT_MAX];
    size_t len = slot_encode(&foreign, bytes);
    char path[128];
    struct error err = { 0 };

    snprintf(path, sizeof path, "%s/state/slots", r->folder);
    assert_int_equal(dir_make(path, 0700, &err), 0);
    snprintf(path, sizeof path, "%s/state/slots/cur", r->folder);
    assert_int_equal(file_replace(path, bytes, len, 0600, &err), 0);
    rig_start_agent(r);
    assert_int_equal(rig_token(r, "db", 60, NULL, 0), 0);
    snprintf(path, sizeof path, "%s/state/slots/cur.other", r->folder);
    assert_int_not_equal(access(path, F_OK), 0);
}

static void
a_secret_that_is_lost_is_refused_and_changes_nothing(void **state)
{
    struct rig *r = *state;
    uint8_t cur[65];
    char path[128];

    rig_start_agent(r);
    assert_int_equal(rig_token(r, "db", 60, NULL, 0), 0);
    rig_stop_agent(r);
    memcpy(cur, r->account.ratchet.cur, sizeof cur);
    snprintf(path, sizeof path, "%s/state/slots/cur", r->folder);
    assert_int_equal(unlink(path), 0);
    rig_start_agent(r);
    assert_int_not_equal(rig_token(r, "db", 2, NULL, 0), 0);
    assert_true(rig_wait_status(r, "disk-behind", 60));
    assert_memory_equal(cur, r->account.ratchet.cur, sizeof cur);
}

static void
a_tpm_that_is_gone_leaves_the_cached_tokens_and_no_lesser_proof(void **state)
{
    struct rig *r = *state;
    unsigned proofs;

    rig_start_agent(r);
    assert_int_equal(rig_token(r, "db", 60, NULL, 0), 0);
    swtpm_box_free(STEAL(r->tpm));
    proofs = r->proofs;
    assert_int_equal(rig_token(r, "db", 0, NULL, 0), 0);
    assert_int_not_equal(rig_token(r, "other", 1, NULL, 0), 0);
    assert_int_equal(r->proofs, proofs);
}

static void
a_tpm_that_was_reset_proves_again(void **state)
{
    struct rig *r = *state;
    struct error err = { 0 };

    rig_start_agent(r);
    assert_int_equal(rig_token(r, "db", 60, NULL, 0), 0);
    assert_int_equal(swtpm_box_reset(r->tpm, true, &err), 0);
    assert_int_equal(rig_token(r, "other", 60, NULL, 0), 0);
    rig_stop_agent(r);
    rig_start_agent(r);
    assert_int_equal(rig_token(r, "db", 60, NULL, 0), 0);
    assert_int_equal(r->activations, 1);
}

static void
no_token_and_no_secret_is_in_the_log(void **state)
{
    struct rig *r = *state;
    CLEANUP(buf_clear) struct buf slot = BUF(SLOT_MAX);
    char path[128], token[5000], hex[2 * SLOT_MAX + 1];
    struct error err = { 0 };

    rig_start_agent(r);
    assert_int_equal(rig_token(r, "db", 60, token, sizeof token), 0);
    assert_int_equal(rig_token(r, "virtid-connect", 60, NULL, 0), 0);
    r->wish.hang_up = true;
    assert_int_not_equal(rig_token(r, "more", 1, NULL, 0), 0);
    rig_stop_agent(r);
    snprintf(path, sizeof path, "%s/state/slots/cur", r->folder);
    assert_int_equal(file_read(path, &slot, &err), 0);
    hex_encode(slot.data + 17, slot.len - 17, hex);
    assert_true(rig_log_has(r, "event=token"));
    assert_false(rig_log_has(r, token));
    assert_false(rig_log_has(r, ".factors-"));
    assert_false(rig_log_has(r, hex));
}

#define WITH(name) cmocka_unit_test_setup_teardown(name, with_tpm, tear_down)
#define WITHOUT(name) cmocka_unit_test_setup_teardown(name, without_tpm, tear_down)

/* `agent_flow_test 'a_host_*'`: those only. */
int
main(int argc, char **argv)
{
    const struct CMUnitTest tests[] = {
        WITH(the_agent_activates_its_credential_and_gets_a_token),
        WITHOUT(a_vm_without_tpm_gets_a_token_with_host_and_secret),
        WITHOUT(a_guest_without_bundle_takes_the_first_from_the_host),
        WITHOUT(a_guest_with_an_old_bundle_takes_the_newer_one_signed_under_it),
        WITHOUT(an_older_bundle_than_the_one_held_is_not_taken),
        WITHOUT(a_false_bundle_is_refused_and_the_held_one_goes_on),
        WITHOUT(a_false_service_that_relays_gets_no_proof),
        WITHOUT(a_channel_held_by_another_delays_and_nothing_more),
        WITHOUT(a_hello_with_another_epoch_ends_what_was_under_way_and_proves_anew),
        WITHOUT(a_clock_that_jumps_ends_tokens_and_nothing_else),
        WITHOUT(a_hello_with_another_uuid_is_not_answered),
        WITHOUT(a_host_side_that_restarts_is_greeted_again),
        WITHOUT(an_agent_reaches_the_service_over_its_own_network),
        WITHOUT(resolve_is_followed_by_another_proof),
        WITHOUT(garbage_on_the_channel_costs_time_and_nothing_else),
        WITHOUT(a_second_agent_does_not_start),
        WITHOUT(the_slots_of_another_vm_are_not_used_and_are_wiped_when_the_own_is_accepted),
        WITHOUT(a_secret_that_is_lost_is_refused_and_changes_nothing),
        WITHOUT(no_token_and_no_secret_is_in_the_log),
        WITH(a_tpm_that_is_gone_leaves_the_cached_tokens_and_no_lesser_proof),
        WITH(a_tpm_that_was_reset_proves_again),
    };

    if (argc > 1)
        cmocka_set_test_filter(argv[1]);
    signal(SIGPIPE, SIG_IGN);
    return cmocka_run_group_tests_name("agent_flow", tests, NULL, NULL);
}
