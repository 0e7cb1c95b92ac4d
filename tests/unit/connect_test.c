#include "config.h"

#include <pthread.h>
#include <setjmp.h>
#include <signal.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <string.h>
#include <sys/socket.h>
#include <cmocka.h>

#include "lib/common/clock.h"
#include "lib/common/dial.h"
#include "lib/crypto/hash.h"
#include "lib/crypto/tls.h"
#include "lib/wire/connect_msg.h"
#include "lib/wire/transcript.h"
#include "tests/unit/verify_fixture.h"
#include "verify/connect.h"

static struct key *issuer_key, *vm_key, *other_key;
static struct virtid_verifier *verifier;

/* How the other end behaves. */
struct server {
    int fd;
    const struct key *named, *shown, *signs; /* cnf of the token, point sent, key that signs */
    const char *audience;
    const char *name; /* NULL: the fixture's; "": none */
    bool another_exporter, another_nonce, another_name, another_token, says_no, closes;
};

static int
set_up(void **state)
{
    CLEANUP(buf_clear) struct buf set = BUF(1024);
    struct virtid_options options = VIRTID_OPTIONS(FIXTURE_ISSUER, CONNECT_AUDIENCE);
    struct virtid_error error;
    struct error err;

    (void)state;
    (void)signal(SIGPIPE, SIG_IGN);
    assert_int_equal(key_generate(&issuer_key, &err), 0);
    assert_int_equal(key_generate(&vm_key, &err), 0);
    assert_int_equal(key_generate(&other_key, &err), 0);
    fixture_jwks(issuer_key, &set);
    options.jwks_text = (char *)set.data;
    assert_int_equal(virtid_verifier_new(&options, &verifier, &error), VIRTID_VALID);
    return 0;
}

static int
tear_down(void **state)
{
    (void)state;
    key_free(issuer_key);
    key_free(vm_key);
    key_free(other_key);
    virtid_verifier_free(verifier);
    return 0;
}

static void
read_ask(struct tls *tls, int64_t deadline, struct connect_ask *ret)
{
    uint8_t bytes[1024];
    size_t len = 0, n = 1;
    bool done = false;
    struct error err;

    while (!done && n > 0) {
        if (tls_read(tls, bytes + len, sizeof bytes - len, &n, deadline, &err) < 0)
            return;
        len += n;
        if (connect_ask_decode(bytes, len, ret, &done, &err) < 0)
            return;
    }
}

static void
make_token(const struct server *s, struct buf *into)
{
    CLEANUP(json_decref) json_t *claims =
        fixture_claims(s->audience, clock_realtime_ms() / 1000, s->named);
    json_t *ours = json_object_get(claims, "virtid");
    struct error err;

    if (s->name && s->name[0])
        json_object_set_new(ours, "name", json_string(s->name));
    else if (s->name)
        json_object_del(ours, "name");
    (void)token_sign(claims, issuer_key, into, &err);
}

/* What an honest agent signs, or nearly that. */
static void
sign(const struct server *s, struct connect_ask ask, uint8_t exporter[TLS_EXPORTER_LEN],
     const char *token, uint8_t ret[KEY_SIGNATURE_LEN])
{
    CLEANUP(buf_clear) struct buf message = BUF(TRANSCRIPT_MAX);
    uint8_t hash[SHA256_LEN];
    struct error err;

    exporter[0] ^= s->another_exporter;
    ask.nonce[0] ^= s->another_nonce;
    (void)hash_sha256(token, strlen(token), hash, &err);
    hash[0] ^= s->another_token;
    (void)transcript_pop_message(hash, s->another_name ? "someone" : ask.verifier, ask.nonce,
                                 exporter, &message, &err);
    (void)key_sign(s->signs, message.data, message.len, ret, &err);
}

static void *
serve(void *arg)
{
    struct server *s = arg;
    CLEANUP(tls_ctx_free) struct ssl_ctx_st *ctx = NULL;
    CLEANUP(tls_free) struct tls *tls = NULL;
    CLEANUP(buf_clear) struct buf token = BUF(TOKEN_TEXT_MAX), out = BUF(CONNECT_MSG_MAX);
    static struct connect_answer answer;
    struct connect_ask ask = { .verifier = "" };
    uint8_t exporter[TLS_EXPORTER_LEN];
    int64_t deadline = clock_monotonic_ms() + 30000;
    struct error err;

    if (tls_server_throwaway_new(&ctx, &err) < 0 ||
        tls_accept(ctx, s->fd, deadline, &tls, &err) < 0 ||
        tls_exporter(tls_ssl(tls), CONNECT_EXPORTER, exporter, &err) < 0)
        return NULL;
    read_ask(tls, deadline, &ask);
    if (s->closes)
        return NULL;
    memset(&answer, 0, sizeof answer);
    answer.refused = s->says_no;
    snprintf(answer.reason, sizeof answer.reason, "no fresh token yet");
    make_token(s, &token);
    snprintf(answer.pop.token, sizeof answer.pop.token, "%s", buf_text(&token));
    key_point(s->shown, answer.pop.point);
    sign(s, ask, exporter, answer.pop.token, answer.pop.signature);
    (void)connect_answer_encode(&answer, &out, &err);
    (void)tls_write(tls, out.data, out.len, deadline, &err);
    return NULL;
}

static struct server
honest(void)
{
    return (struct server){ .named = vm_key,
                            .shown = vm_key,
                            .signs = vm_key,
                            .audience = CONNECT_AUDIENCE };
}

/* 0: VALID. */
static int
ask(struct server s, const char *expect, struct virtid_error *token_error, struct error *err)
{
    struct connect_question question = { verifier, "shop", expect,
                                         clock_monotonic_ms() + 30000 };
    struct virtid_identity *vm = NULL;
    pthread_t thread;
    int pair[2], result;

    assert_int_equal(socketpair(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0, pair), 0);
    s.fd = pair[0];
    assert_int_equal(pthread_create(&thread, NULL, serve, &s), 0);
    memset(err, 0, sizeof *err);
    result = connect_ask(&question, pair[1], &vm, token_error, err);
    pthread_join(thread, NULL);
    if (result == 0) {
        assert_string_equal(virtid_identity_uuid(vm), FIXTURE_UUID);
        virtid_identity_free(vm);
    }
    return result;
}

static void
expect_refusal(struct server s, const char *expect, const char *problem)
{
    struct virtid_error token_error;
    struct error err;

    assert_int_equal(ask(s, expect, &token_error, &err), -1);
    assert_int_equal(token_error.result, VIRTID_VALID);
    assert_int_equal(err.code, ERROR_DENIED);
    assert_string_equal(err.problem, problem);
}

static void
vm_is_known_by_uuid_and_by_name(void **state)
{
    struct virtid_error token_error;
    struct error err;

    (void)state;
    assert_int_equal(ask(honest(), FIXTURE_UUID, &token_error, &err), 0);
    assert_int_equal(ask(honest(), "web1", &token_error, &err), 0);
}

static void
another_vm_is_refused(void **state)
{
    (void)state;
    expect_refusal(honest(), "6f1b0a3e-58c1-4a0e-9d4e-0a1b2c3d4e60", "connect-expect");
    expect_refusal(honest(), "web2", "connect-expect");
    expect_refusal(honest(), "", "connect-expect");
}

/* Whoever defines a domain gives it its name: also one that reads like another VM's UUID. */
static void
a_name_is_never_taken_for_a_uuid(void **state)
{
    static const char *const names[] = { "6F1B0A3E-58C1-4A0E-9D4E-0A1B2C3D4E60",
                                         "6f1b0a3e-58c1-4a0e-9d4e-0a1b2c3d4e60",
                                         "6f1b0a3e58c14a0e9d4e0a1b2c3d4e60" };
    struct virtid_error token_error;
    struct error err;

    (void)state;
    for (size_t i = 0; i < sizeof names / sizeof names[0]; i++) {
        struct server s = honest();

        s.name = names[i];
        expect_refusal(s, names[i], "connect-expect");
    }
    assert_int_equal(ask(honest(), "6F1B0A3E-58C1-4A0E-9D4E-0A1B2C3D4E5F", &token_error, &err), 0);
}

static void
a_vm_without_a_name_is_not_the_one_with_the_empty_name(void **state)
{
    struct server s = honest();

    (void)state;
    s.name = "";
    expect_refusal(s, "", "connect-expect");
}

/* A relay has the VM's answer, made for its own connection to the VM. */
static void
signature_for_another_connection_is_refused(void **state)
{
    struct server s = honest();

    (void)state;
    s.another_exporter = true;
    expect_refusal(s, FIXTURE_UUID, "connect-proof");
}

static void
signature_for_another_nonce_name_or_token_is_refused(void **state)
{
    struct server s = honest();

    (void)state;
    s.another_nonce = true;
    expect_refusal(s, FIXTURE_UUID, "connect-proof");
    s = honest();
    s.another_name = true;
    expect_refusal(s, FIXTURE_UUID, "connect-proof");
    s = honest();
    s.another_token = true;
    expect_refusal(s, FIXTURE_UUID, "connect-proof");
}

/* A stolen token, shown with a key of the thief's own, or with the right point and no key. */
static void
token_without_its_key_is_refused(void **state)
{
    struct server s = honest();

    (void)state;
    s.shown = s.signs = other_key;
    expect_refusal(s, FIXTURE_UUID, "connect-proof");
    s = honest();
    s.signs = other_key;
    expect_refusal(s, FIXTURE_UUID, "connect-proof");
    s = honest();
    s.named = NULL; /* no cnf in the token */
    expect_refusal(s, FIXTURE_UUID, "connect-proof");
}

static void
token_for_another_audience_is_refused(void **state)
{
    struct server s = honest();
    struct virtid_error token_error;
    struct error err;

    (void)state;
    s.audience = "shop";
    assert_int_equal(ask(s, FIXTURE_UUID, &token_error, &err), -1);
    assert_int_equal(token_error.result, VIRTID_AUDIENCE);
}

static void
reason_of_a_vm_without_a_token_is_told(void **state)
{
    struct server s = honest();
    struct virtid_error token_error;
    struct error err;

    (void)state;
    s.says_no = true;
    assert_int_equal(ask(s, FIXTURE_UUID, &token_error, &err), -1);
    assert_string_equal(err.problem, "connect-refused");
    assert_non_null(strstr(err.text, "no fresh token yet"));
}

static void
end_without_an_answer_is_no_answer(void **state)
{
    struct server s = honest();
    struct virtid_error token_error;
    struct error err;

    (void)state;
    s.closes = true;
    assert_int_equal(ask(s, FIXTURE_UUID, &token_error, &err), -1);
    assert_int_equal(err.code, ERROR_BUSY);
}

/* A man in the middle: ends both TLS connections, carries every byte. */
struct relay {
    int to_client, to_vm;
};

static void *
carry(void *arg)
{
    struct relay *r = arg;
    CLEANUP(tls_ctx_free) struct ssl_ctx_st *server = NULL, *client = NULL;
    CLEANUP(tls_free) struct tls *near = NULL, *far = NULL;
    int64_t deadline = clock_monotonic_ms() + 30000;
    uint8_t bytes[CONNECT_MSG_MAX + 2];
    struct error err;
    size_t n;

    if (tls_server_throwaway_new(&server, &err) < 0 || tls_client_blind_new(&client, &err) < 0 ||
        tls_accept(server, r->to_client, deadline, &near, &err) < 0 ||
        tls_connect(client, r->to_vm, NULL, deadline, &far, &err) < 0)
        return NULL;
    if (tls_read(near, bytes, sizeof bytes, &n, deadline, &err) == 0 &&
        tls_write(far, bytes, n, deadline, &err) == 0 &&
        tls_read(far, bytes, sizeof bytes, &n, deadline, &err) == 0)
        (void)tls_write(near, bytes, n, deadline, &err);
    return NULL;
}

static void
relaying_man_in_the_middle_is_refused(void **state)
{
    struct connect_question question = { verifier, "shop", FIXTURE_UUID,
                                         clock_monotonic_ms() + 30000 };
    struct server vm = honest();
    struct virtid_identity *identity = NULL;
    struct virtid_error token_error;
    struct error err = { 0 };
    pthread_t threads[2];
    int near[2], far[2];
    struct relay relay;

    (void)state;
    assert_int_equal(socketpair(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0, near), 0);
    assert_int_equal(socketpair(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0, far), 0);
    relay = (struct relay){ near[1], far[0] };
    vm.fd = far[1];
    assert_int_equal(pthread_create(&threads[0], NULL, serve, &vm), 0);
    assert_int_equal(pthread_create(&threads[1], NULL, carry, &relay), 0);
    assert_int_equal(connect_ask(&question, near[0], &identity, &token_error, &err), -1);
    pthread_join(threads[0], NULL);
    pthread_join(threads[1], NULL);
    assert_string_equal(err.problem, "connect-proof");
    assert_non_null(strstr(err.text, "relay"));
    assert_null(identity);
}

static void
addresses_of_another_form_are_refused(void **state)
{
    static const char *const bad[] = { "", "host", ":1", "host:", "host:x", "::1:80", "[::1]", "[]:1",
                                       "host:1:2", "host:-1" };
    struct error err;
    int fd = -1;

    (void)state;
    for (size_t i = 0; i < sizeof bad / sizeof bad[0]; i++) {
        assert_int_equal(dial_tcp(bad[i], clock_monotonic_ms() + 1000, &fd, &err), -1);
        assert_int_equal(err.code, ERROR_INPUT);
    }
    assert_int_equal(dial_tcp("127.0.0.1:1", clock_monotonic_ms() + 1000, &fd, &err), -1);
    assert_int_equal(err.code, ERROR_BUSY);
    assert_int_equal(fd, -1);
}

int
main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(vm_is_known_by_uuid_and_by_name),
        cmocka_unit_test(another_vm_is_refused),
        cmocka_unit_test(a_name_is_never_taken_for_a_uuid),
        cmocka_unit_test(a_vm_without_a_name_is_not_the_one_with_the_empty_name),
        cmocka_unit_test(signature_for_another_connection_is_refused),
        cmocka_unit_test(signature_for_another_nonce_name_or_token_is_refused),
        cmocka_unit_test(token_without_its_key_is_refused),
        cmocka_unit_test(token_for_another_audience_is_refused),
        cmocka_unit_test(reason_of_a_vm_without_a_token_is_told),
        cmocka_unit_test(end_without_an_answer_is_no_answer),
        cmocka_unit_test(relaying_man_in_the_middle_is_refused),
        cmocka_unit_test(addresses_of_another_form_are_refused),
    };

    return cmocka_run_group_tests_name("connect", tests, set_up, tear_down);
}
