#include "config.h"

#include "verify/connect.h"

#include <ctype.h>
#include <errno.h>
#include <stdio.h>
#include <string.h>
#include <strings.h>

#include "lib/common/fdio.h"
#include "lib/crypto/random.h"
#include "lib/crypto/tls.h"
#include "lib/wire/connect_msg.h"

DEFINE_CLEANUP(struct virtid_identity *, virtid_identity_free);

static int
receive(struct tls *tls, int64_t deadline_ms, struct connect_answer *ret,
        struct error *err)
{
    CLEANUP(buf_clear) struct buf in = BUF(2 + CONNECT_MSG_MAX);
    bool done = false;

    while (!done) {
        uint8_t *to = buf_room(&in, in.max - in.len);
        size_t n = 0;

        if (!to || in.len == in.max)
            return error_set(err, ERROR_INPUT, "an answer without an end");
        if (tls_read(tls, to, in.max - in.len, &n, deadline_ms, err) < 0)
            return -1;
        if (n == 0)
            return error_set(err, ERROR_BUSY, "the other end closed without an answer");
        buf_grew(&in, n);
        if (connect_answer_decode(in.data, in.len, ret, &done, err) < 0)
            return error_wrap(err, "the other end's answer");
    }
    return 0;
}

/* 32 hexadecimal digits, in any case, with any dashes: whoever writes that means a UUID. */
static bool
reads_as_uuid(const char *text)
{
    size_t digits = 0;

    for (; *text; text++) {
        if (isxdigit((unsigned char)*text))
            digits++;
        else if (*text != '-')
            return false;
    }
    return digits == 32;
}

/*
 * A VM gets its name from whoever defines domains, so a name must never do as a UUID, also
 * not one in capitals; and a VM without a name has no name, not the empty one.
 */
static bool
is_expected(const struct virtid_identity *vm, const char *expect)
{
    const char *name = virtid_identity_name(vm);

    if (reads_as_uuid(expect))
        return strcasecmp(virtid_identity_uuid(vm), expect) == 0;
    return *name && strcmp(name, expect) == 0;
}

static int
check_expected(const struct virtid_identity *vm, const char *expect, struct error *err)
{
    const char *name = virtid_identity_name(vm);

    if (is_expected(vm, expect))
        return 0;
    return error_problem(err, ERROR_DENIED, "connect-expect", "it is %s (%s), not %.200s",
                         virtid_identity_uuid(vm), *name ? name : "no name", expect);
}

static int
judge(const struct connect_question *question, const struct connect_ask *ask,
      const struct connect_answer *answer,
      const uint8_t exporter[static TLS_EXPORTER_LEN], struct virtid_identity **ret,
      struct virtid_error *ret_token_error, struct error *err)
{
    struct pop_place place = { .verifier = ask->verifier, .nonce = ask->nonce, .exporter = exporter };
    CLEANUP(virtid_identity_free) struct virtid_identity *vm = NULL;
    struct error seen;

    if (virtid_verify(question->verifier, answer->pop.token, strlen(answer->pop.token), &vm,
                      ret_token_error) != VIRTID_VALID)
        return error_set(err, ERROR_DENIED, "%s", ret_token_error->text);
    if (pop_check(&answer->pop, virtid_identity_confirmation(vm), &place, &seen) < 0)
        return error_problem(err, ERROR_DENIED, "connect-proof", "%s", seen.text);
    if (check_expected(vm, question->expect, err) < 0)
        return -1;
    *ret = STEAL(vm);
    return 0;
}

int
connect_ask(const struct connect_question *question, int take_fd,
            struct virtid_identity **ret_identity, struct virtid_error *ret_token_error,
            struct error *err)
{
    CLEANUP(tls_ctx_free) struct ssl_ctx_st *ctx = NULL;
    CLEANUP(tls_free) struct tls *tls = NULL;
    CLEANUP(buf_clear) struct buf out = BUF(CONNECT_MSG_MAX);
    CLEANUP(mem_free) struct connect_answer *answer = calloc(1, sizeof *answer);
    struct connect_ask ask;
    uint8_t exporter[TLS_EXPORTER_LEN];

    memset(ret_token_error, 0, sizeof *ret_token_error);
    snprintf(ask.verifier, sizeof ask.verifier, "%s", question->name);
    if (!answer || tls_client_blind_new(&ctx, err) < 0) {
        fd_close(take_fd);
        return answer ? -1 : error_sys(err, ENOMEM, "answer");
    }
    if (tls_connect(ctx, take_fd, NULL, question->deadline_ms, &tls, err) < 0 ||
        tls_exporter(tls_ssl(tls), CONNECT_EXPORTER, exporter, err) < 0 ||
        random_bytes(ask.nonce, sizeof ask.nonce, err) < 0 ||
        connect_ask_encode(&ask, &out, err) < 0 ||
        tls_write(tls, out.data, out.len, question->deadline_ms, err) < 0 ||
        receive(tls, question->deadline_ms, answer, err) < 0)
        return -1;
    if (answer->refused)
        return error_problem(err, ERROR_DENIED, "connect-refused",
                             "the other end said: %s", answer->reason);
    return judge(question, &ask, answer, exporter, ret_identity, ret_token_error, err);
}
