#include "config.h"

#include "guestagent/agent_client.h"

#include <ctype.h>
#include <errno.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/time.h>
#include <time.h>

#include "lib/common/clock.h"
#include "lib/common/fdio.h"
#include "lib/wire/http_message.h"
#include "lib/wire/problem.h"

enum {
    ANSWER_SECONDS = 30,
    RESTART_MS = 3000, /* an agent that is being restarted, by an upgrade for example, is back by then */
};

void
agent_client_encode(const char *text, struct buf *into)
{
    for (; *text; text++) {
        if (isalnum((unsigned char)*text) || strchr("-._~", *text))
            buf_add(into, text, 1);
        else
            buf_printf(into, "%%%02X", (unsigned char)*text);
    }
}

/* The problem's name and title are our own table's; its detail comes from our own agent. */
static int
refused(const struct http_message *m, const char *body, struct error *err)
{
    CLEANUP(json_decref) json_t *o = NULL;
    struct error failure = { 0 }, ignored = { 0 };
    const char *detail = NULL;

    problem_read(m->status, body, m->body_len, &failure);
    if (json_parse(body, m->body_len, &o, &ignored) == 0 &&
        json_get_string(o, "detail", true, sizeof failure.text - 1, &detail, &ignored) == 0 &&
        detail)
        memcpy(failure.text, detail, strlen(detail) + 1);
    *err = failure;
    return -1;
}

/* A name of its own: whoever can wait for an agent that is being restarted does. */
static int
absent(struct error *err, const char *what)
{
    struct error why = *err;

    error_problem(err, ERROR_BUSY, AGENT_ABSENT, "%s%s%s", what, why.text[0] ? ": " : "", why.text);
    return -1;
}

int
agent_client_ask(const char *socket_path, const char *target, const struct buf *body,
                 json_t **ret, struct error *err)
{
    CLEANUP(fd_close) int fd = -1;
    CLEANUP(buf_clear) struct buf bytes = BUF(HTTP_HEAD_MAX + JSON_TEXT_MAX);
    CLEANUP(mem_free) struct http_message *m = calloc(1, sizeof *m);
    struct timeval limit = { ANSWER_SECONDS, 0 };
    bool done = false;

    if (!m)
        return error_sys(err, ENOMEM, "HTTP");
    if (unix_connect(socket_path, SOCK_STREAM, &fd, err) < 0)
        return absent(err, "virtid-agent does not answer (systemctl status virtid-agent)");
    (void)setsockopt(fd, SOL_SOCKET, SO_RCVTIMEO, &limit, sizeof limit);
    http_print_request(&bytes, body ? "POST" : "GET", target, "localhost", "X-Virtid: 1\r\n",
                       body ? body->data : NULL, body ? body->len : 0);
    if (!buf_ok(&bytes))
        return error_set(err, buf_error_code(&bytes), "request too long");
    if (fd_write_all(fd, bytes.data, bytes.len, err) < 0)
        return -1;
    buf_clear(&bytes);
    if (fd_read_to_end(fd, &bytes, err) < 0 ||
        http_parse(bytes.data, bytes.len, false, JSON_TEXT_MAX, m, &done, err) < 0)
        return error_wrap(err, "answer of virtid-agent");
    if (!done)
        return absent(err, "virtid-agent closed without an answer");
    if (m->status != 200)
        return refused(m, (const char *)bytes.data + m->head_len, err);
    return json_parse((const char *)bytes.data + m->head_len, m->body_len, ret, err);
}

static int
token_once(const char *socket_path, const char *target, struct secret **ret, struct error *err)
{
    CLEANUP(json_decref) json_t *o = NULL;
    CLEANUP(secret_free) struct secret *token = NULL;
    const char *text = NULL;

    if (agent_client_ask(socket_path, target, NULL, &o, err) < 0 ||
        json_get_string(o, "token", false, JSON_STRING_MAX, &text, err) < 0 ||
        secret_new(strlen(text), &token, err) < 0)
        return -1;
    memcpy(token->bytes, text, token->len);
    *ret = STEAL(token);
    return 0;
}

int
agent_client_token(const char *socket_path, const char *audience, int wait_seconds, struct secret **ret,
                   struct error *err)
{
    int64_t began = clock_monotonic_ms(), until = began + wait_seconds * (int64_t)1000;
    CLEANUP(buf_clear) struct buf target = BUF(1024);

    buf_add_text(&target, "/v1/token?audience=");
    agent_client_encode(audience, &target);
    if (!buf_text(&target))
        return error_set(err, buf_error_code(&target), "audience is too long");
    for (;;) {
        struct timespec pause = { 0, 250000000 };
        struct error why = { 0 };
        bool is_absent;

        if (token_once(socket_path, buf_text(&target), ret, &why) == 0)
            return 0;
        *err = why;
        /* A refusal may end too: the host may still be registering this VM. */
        is_absent = strcmp(why.problem, AGENT_ABSENT) == 0;
        if (why.code == ERROR_INPUT ||
            clock_monotonic_ms() >= (is_absent && until < began + RESTART_MS ? began + RESTART_MS : until))
            return -1;
        if (!is_absent)
            pause = (struct timespec){ 1, 0 };
        (void)nanosleep(&pause, NULL);
    }
}
