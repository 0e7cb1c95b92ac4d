/*
 * Who gets what from a running agent: workloads on its socket, strangers by `virtid-agent serve`.
 */
#include "config.h"

#include <arpa/inet.h>
#include <sched.h>
#include <setjmp.h>
#include <signal.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/wait.h>
#include <unistd.h>

#include <cmocka.h>

#include "lib/common/clock.h"
#include "lib/common/fdio.h"
#include "lib/crypto/hash.h"
#include "lib/crypto/tls.h"
#include "lib/wire/connect_msg.h"
#include "lib/wire/transcript.h"
#include "tests/flow/agent_rig.h"
#include "tests/unit/skip_missing.h"

static struct rig rig;

static int
set_up(void **state)
{
    rig_new(&rig, false);
    rig_start_agent(&rig);
    *state = &rig;
    return 0;
}

static int
tear_down(void **state)
{
    rig_free(*state);
    return 0;
}

/* The status line's number of one raw request, or -1. */
static int
ask(struct rig *r, const char *request)
{
    CLEANUP(fd_close) int fd = -1;
    CLEANUP(buf_clear) struct buf reply = BUF(70000);
    struct error err = { 0 };
    char path[128];

    snprintf(path, sizeof path, "%s/run/agent.sock", r->folder);
    if (unix_connect(path, SOCK_STREAM, &fd, &err) < 0)
        return -1;
    (void)fd_write_all(fd, request, strlen(request), &err);
    (void)fd_read_to_end(fd, &reply, &err); /* a refusal may reset what was not read */
    return reply.len > 12 && memcmp(reply.data, "HTTP/1.1 ", 9) == 0
               ? atoi((const char *)reply.data + 9)
               : -1;
}

#define GET_DB "GET /v1/token?audience=db HTTP/1.1\r\nHost: localhost\r\nX-Virtid: 1\r\n\r\n"

static void
a_request_needs_the_header_the_method_and_one_audience(void **state)
{
    static const struct {
        const char *request;
        int status;
    } all[] = {
        { GET_DB, 200 },
        { "GET /v1/token?audience=db HTTP/1.1\r\nHost: localhost\r\n\r\n", 400 },
        { "GET /v1/token?audience=db HTTP/1.1\r\nHost: localhost\r\nX-Virtid: 2\r\n\r\n", 400 },
        { "GET /v1/token HTTP/1.1\r\nHost: localhost\r\nX-Virtid: 1\r\n\r\n", 400 },
        { "GET /v1/token?audience=a&audience=b HTTP/1.1\r\nHost: l\r\nX-Virtid: 1\r\n\r\n", 400 },
        { "GET /v1/token?audience=two%20words HTTP/1.1\r\nHost: l\r\nX-Virtid: 1\r\n\r\n", 400 },
        { "POST /v1/token?audience=db HTTP/1.1\r\nHost: l\r\nX-Virtid: 1\r\nContent-Length: 0\r\n\r\n",
          404 },
        { "GET /v1/other HTTP/1.1\r\nHost: l\r\nX-Virtid: 1\r\n\r\n", 404 },
        { "POST /v1/pop HTTP/1.1\r\nHost: l\r\nX-Virtid: 1\r\nContent-Length: 2\r\n\r\n{}", 400 },
        { "POST /v1/pop HTTP/1.1\r\nHost: l\r\nX-Virtid: 1\r\nContent-Length: 999999\r\n\r\n", 400 },
        { "GET / HTTP/1.1\r\nX-Virtid: 1\r\n\r\n", 400 },
        { "junk\r\n\r\n", 400 },
    };

    for (size_t i = 0; i < sizeof all / sizeof *all; i++) {
        int status = ask(*state, all[i].request);

        if (status != all[i].status)
            print_error("%s", all[i].request);
        assert_int_equal(status, all[i].status);
    }
}

/* The status of a request for a proof over these bytes (base64url of 32, or not). */
static int
ask_proof(struct rig *r, const char *audience, const char *nonce, const char *exporter)
{
    char body[400], request[800];

    snprintf(body, sizeof body, "{\"audience\":\"%s\",\"nonce\":\"%s\",\"exporter\":\"%s\"}", audience, nonce, exporter);
    snprintf(request, sizeof request,
             "POST /v1/prove HTTP/1.1\r\nHost: l\r\nX-Virtid: 1\r\nContent-Length: %zu\r\n\r\n%s", strlen(body), body);
    return ask(r, request);
}

static void
proofs_are_for_bound_audiences_and_whom_the_rules_name(void **state)
{
    static const char bytes[] = "AAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAA";
    static const char rules[] = "[workload shop]\nuid = 54001\naudiences = bound-shop\n";
    char path[128], line[160];
    struct rig *r = *state;
    struct error err;
    int status;
    pid_t pid;

    assert_int_equal(ask_proof(r, "bound-db", bytes, bytes), 200);
    assert_int_equal(ask_proof(r, "db", bytes, bytes), 403); /* bearer tokens */
    assert_int_equal(ask_proof(r, "virtid-connect", bytes, bytes), 403);
    assert_int_equal(ask_proof(r, "bound-db", bytes + 1, bytes), 400);
    assert_int_equal(ask_proof(r, "bound-db", bytes, "AAAA"), 400);
    assert_int_equal(ask_proof(r, "two words", bytes, bytes), 400);
    if (geteuid() != 0)
        skip_missing("root");
    rig_stop_agent(r);
    snprintf(path, sizeof path, "%s/rules", r->folder);
    assert_int_equal(file_replace(path, rules, strlen(rules), 0644, &err), 0);
    snprintf(line, sizeof line, "workloads = %s\n", path);
    rig_configure(r, line);
    rig_start_agent(r);
    assert_int_equal(chmod(r->folder, 0755), 0);
    snprintf(path, sizeof path, "%s/run", r->folder);
    assert_int_equal(chmod(path, 0755), 0);
    pid = fork();
    if (pid == 0) {
        bool his = setgid(54001) == 0 && setuid(54001) == 0 && ask_proof(r, "bound-shop", bytes, bytes) == 200;

        _exit(his && ask_proof(r, "bound-db", bytes, bytes) == 403 ? 0 : 1);
    }
    assert_int_equal(waitpid(pid, &status, 0), pid);
    assert_int_equal(status, 0);
}

static void
the_proof_printed_is_of_the_question_the_connection_and_the_token(void **state)
{
    static const char nonce[] = "1111111111111111111111111111111111111111111111111111111111111111";
    static const char exporter[] = "ABCDEFABCDEFABCDEFABCDEFABCDEFABCDEFABCDEFABCDEFABCDEFABCDEFABCD";
    struct rig *r = *state;
    uint8_t nonce_bytes[32], exporter_bytes[32], named[KEY_THUMBPRINT_LEN];
    struct pop_place place = { "bound-db", nonce_bytes, exporter_bytes };
    char line[POP_TEXT_MAX + 2];
    struct pop pop;
    struct error err;

    assert_int_equal(rig_run(r, (const char *[]){ "prove", "-a", "bound-db", "--nonce", nonce, "--exporter", exporter, NULL },
                             line, sizeof line),
                     0);
    assert_int_equal(pop_parse(line, strcspn(line, "\n"), &pop, &err), 0);
    assert_int_equal(pop_read_hex("nonce", nonce, nonce_bytes, &err), 0);
    assert_int_equal(pop_read_hex("exporter", exporter, exporter_bytes, &err), 0);
    assert_int_equal(key_thumbprint(pop.point, named, &err), 0);
    assert_int_equal(pop_check(&pop, named, &place, &err), 0);
    place.verifier = "bound-bank";
    assert_int_equal(pop_check(&pop, named, &place, &err), -1);
    assert_int_equal(rig_run(r, (const char *[]){ "prove", "-a", "db", "--nonce", nonce, "--exporter", exporter, NULL },
                             line, sizeof line),
                     3);
    assert_int_equal(rig_run(r, (const char *[]){ "prove", "-a", "bound-db", "--nonce", nonce, NULL }, line, sizeof line), 2);
    assert_int_equal(rig_run(r, (const char *[]){ "prove", "-a", "bound-db", "--nonce", "11", "--exporter", exporter, NULL },
                             line, sizeof line),
                     2);
}

/* `prepare` in a child, then GET_DB: its status. */
static int
ask_as(struct rig *r, int (*prepare)(void))
{
    int status;
    pid_t pid = fork();

    if (pid == 0) {
        if (prepare() < 0)
            _exit(250);
        status = ask(r, GET_DB);
        _exit(status == 200 ? 200 : status == 403 ? 201 : 202);
    }
    assert_int_equal(waitpid(pid, &status, 0), pid);
    return WIFEXITED(status) ? WEXITSTATUS(status) : -1;
}

static int
as_we_are(void)
{
    return 0;
}

static int
as_nobody(void)
{
    return setgid(65534) < 0 || setuid(65534) < 0 ? -1 : 0;
}

static int
as_daemon(void)
{
    return setgid(1) < 0 || setuid(1) < 0 ? -1 : 0;
}

static int
in_a_mount_namespace(void)
{
    return unshare(CLONE_NEWNS);
}

static int
in_a_pid_namespace(void)
{
    pid_t pid;
    int status;

    if (unshare(CLONE_NEWPID) < 0)
        return -1;
    pid = fork(); /* the child is in it */
    if (pid == 0)
        return 0;
    if (waitpid(pid, &status, 0) == pid && WIFEXITED(status))
        _exit(WEXITSTATUS(status));
    return -1;
}

static void
only_root_of_this_guest_is_served(void **state)
{
    struct rig *r = *state;
    char path[128];

    if (geteuid() != 0)
        skip_missing("root");
    assert_int_equal(chmod(r->folder, 0755), 0);
    snprintf(path, sizeof path, "%s/run", r->folder);
    assert_int_equal(chmod(path, 0755), 0);
    assert_int_equal(ask_as(r, as_we_are), 200);
    assert_int_equal(ask_as(r, as_nobody), 201);
    assert_int_equal(ask_as(r, as_daemon), 201);
    assert_int_equal(ask_as(r, in_a_mount_namespace), 201);
    assert_int_equal(ask_as(r, in_a_pid_namespace), 201);
}

static void
many_idle_clients_do_not_keep_others_out_for_long(void **state)
{
    struct rig *r = *state;
    char path[128];
    int idle[40];
    struct error err = { 0 };

    assert_int_equal(ask(r, GET_DB), 200);
    snprintf(path, sizeof path, "%s/run/agent.sock", r->folder);
    for (size_t i = 0; i < 40; i++)
        assert_int_equal(unix_connect(path, SOCK_STREAM, &idle[i], &err), 0);
    assert_int_equal(rig_token(r, "db", 15, NULL, 0), 0);
    for (size_t i = 0; i < 40; i++)
        close(idle[i]);
}

/* ---- serve ---- */

static int
free_port(void)
{
    struct sockaddr_in at = { .sin_family = AF_INET, .sin_addr.s_addr = htonl(INADDR_LOOPBACK) };
    CLEANUP(fd_close) int fd = socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0);
    socklen_t len = sizeof at;

    assert_int_equal(bind(fd, (struct sockaddr *)&at, sizeof at), 0);
    assert_int_equal(getsockname(fd, (struct sockaddr *)&at, &len), 0);
    return ntohs(at.sin_port);
}

static pid_t
start_server(struct rig *r, int port)
{
    char address[32];
    const char *const words[] = { "serve", address, "--ready-fd", "3", NULL };

    snprintf(address, sizeof address, "127.0.0.1:%d", port);
    return rig_start(r, words);
}

static int
dial(int port)
{
    struct sockaddr_in at = { .sin_family = AF_INET,
                              .sin_port = htons((uint16_t)port),
                              .sin_addr.s_addr = htonl(INADDR_LOOPBACK) };
    int fd = socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0);

    assert_int_equal(connect(fd, (struct sockaddr *)&at, sizeof at), 0);
    return fd;
}

/* One whole conversation; the exporter of it into ret_exporter. */
static void
converse(int port, const struct connect_ask *question, struct connect_answer *ret,
         uint8_t ret_exporter[TLS_EXPORTER_LEN])
{
    CLEANUP(tls_ctx_free) struct ssl_ctx_st *ctx = NULL;
    CLEANUP(tls_free) struct tls *tls = NULL;
    CLEANUP(buf_clear) struct buf out = BUF(CONNECT_MSG_MAX + 2), in = BUF(CONNECT_MSG_MAX + 2);
    int64_t deadline = clock_monotonic_ms() + 30000;
    struct error err = { 0 };
    bool done = false;

    assert_int_equal(tls_client_blind_new(&ctx, &err), 0);
    assert_int_equal(tls_connect(ctx, dial(port), NULL, deadline, &tls, &err), 0);
    assert_int_equal(tls_exporter(tls_ssl(tls), CONNECT_EXPORTER, ret_exporter, &err), 0);
    assert_int_equal(connect_ask_encode(question, &out, &err), 0);
    assert_int_equal(tls_write(tls, out.data, out.len, deadline, &err), 0);
    while (!done) {
        uint8_t chunk[2048];
        size_t n = 0;

        assert_int_equal(tls_read(tls, chunk, sizeof chunk, &n, deadline, &err), 0);
        assert_true(n > 0);
        buf_add(&in, chunk, n);
        assert_int_equal(connect_answer_decode(in.data, in.len, ret, &done, &err), 0);
    }
}

static void
the_server_shows_a_token_and_that_it_is_ours(void **state)
{
    struct rig *r = *state;
    CLEANUP(buf_clear) struct buf message = BUF(1024), relayed = BUF(1024);
    CLEANUP(key_free) struct key *key = NULL;
    struct connect_ask question = { .verifier = "shop", .nonce = { 1, 2, 3 } };
    struct connect_answer *answer = calloc(1, sizeof *answer);
    uint8_t exporter[TLS_EXPORTER_LEN], other[TLS_EXPORTER_LEN], hash[32];
    struct error err = { 0 };
    int port = free_port();
    pid_t server = start_server(r, port);

    assert_non_null(answer);
    converse(port, &question, answer, exporter);
    assert_false(answer->refused);
    assert_string_equal(answer->pop.token, "token-1.virtid-connect.factors-5.cnf.fresh");
    assert_int_equal(hash_sha256(answer->pop.token, strlen(answer->pop.token), hash, &err), 0);
    assert_int_equal(key_from_point(answer->pop.point, &key, &err), 0);
    assert_int_equal(
        transcript_pop_message(hash, "shop", question.nonce, exporter, &message, &err), 0);
    assert_int_equal(key_verify(key, message.data, message.len, answer->pop.signature, &err), 0);
    /* Relayed: the other connection's exporter does not fit. */
    memcpy(other, exporter, sizeof other);
    other[0] ^= 1;
    assert_int_equal(
        transcript_pop_message(hash, "shop", question.nonce, other, &relayed, &err), 0);
    assert_int_equal(key_verify(key, relayed.data, relayed.len, answer->pop.signature, &err), -1);
    kill(server, SIGTERM);
    assert_int_equal(waitpid(server, NULL, 0), server);
    free(answer);
}

static void
a_server_without_its_agent_refuses_in_words(void **state)
{
    struct rig *r = *state;
    struct connect_ask question = { .verifier = "shop", .nonce = { 1 } };
    struct connect_answer *answer = calloc(1, sizeof *answer);
    uint8_t exporter[TLS_EXPORTER_LEN];
    int port = free_port();
    pid_t server = start_server(r, port);

    rig_stop_agent(r);
    converse(port, &question, answer, exporter);
    assert_true(answer->refused);
    assert_non_null(strstr(answer->reason, "no token now"));
    kill(server, SIGTERM);
    assert_int_equal(waitpid(server, NULL, 0), server);
    free(answer);
}

static void
strangers_that_say_nothing_do_not_stop_the_server(void **state)
{
    struct rig *r = *state;
    struct connect_ask question = { .verifier = "shop", .nonce = { 1 } };
    struct connect_answer *answer = calloc(1, sizeof *answer);
    uint8_t exporter[TLS_EXPORTER_LEN];
    int port = free_port(), idle[20];
    pid_t server = start_server(r, port);

    for (size_t i = 0; i < 20; i++)
        idle[i] = dial(port);
    assert_int_equal(write(idle[0], "GET / HTTP/1.1\r\n\r\n", 18), 18);
    converse(port, &question, answer, exporter);
    assert_false(answer->refused);
    for (size_t i = 0; i < 20; i++)
        close(idle[i]);
    kill(server, SIGTERM);
    assert_int_equal(waitpid(server, NULL, 0), server);
    free(answer);
}

#define WITH_AGENT(name) cmocka_unit_test_setup_teardown(name, set_up, tear_down)

int
main(void)
{
    const struct CMUnitTest tests[] = {
        WITH_AGENT(a_request_needs_the_header_the_method_and_one_audience),
        WITH_AGENT(only_root_of_this_guest_is_served),
        WITH_AGENT(many_idle_clients_do_not_keep_others_out_for_long),
        WITH_AGENT(proofs_are_for_bound_audiences_and_whom_the_rules_name),
        WITH_AGENT(the_proof_printed_is_of_the_question_the_connection_and_the_token),
        WITH_AGENT(the_server_shows_a_token_and_that_it_is_ours),
        WITH_AGENT(a_server_without_its_agent_refuses_in_words),
        WITH_AGENT(strangers_that_say_nothing_do_not_stop_the_server),
    };

    signal(SIGPIPE, SIG_IGN);
    return cmocka_run_group_tests_name("agent_serve", tests, NULL, NULL);
}
