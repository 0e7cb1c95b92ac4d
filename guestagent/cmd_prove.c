#include "config.h"

#include "guestagent/commands.h"

#include <errno.h>
#include <stdio.h>

#include "guestagent/agent_client.h"
#include "lib/common/log.h"
#include "lib/wire/pop.h"

static int
ask(const char *socket_path, const char *audience, const uint8_t nonce[static POP_NONCE_LEN],
    const uint8_t exporter[static POP_EXPORTER_LEN], json_t **ret, struct error *err)
{
    CLEANUP(json_decref) json_t *o = json_pack("{s:s}", "audience", audience);
    CLEANUP(buf_clear) struct buf body = BUF(2048);

    if (!o)
        return error_set(err, ERROR_INPUT, "an audience is printable text");
    if (json_set_bytes(o, "nonce", nonce, POP_NONCE_LEN) < 0 ||
        json_set_bytes(o, "exporter", exporter, POP_EXPORTER_LEN) < 0)
        return error_sys(err, ENOMEM, "request to the agent");
    return json_print(o, &body, err) < 0 ? -1 : agent_client_ask(socket_path, "/v1/prove", &body, ret, err);
}

static int
prove(const struct conf *conf, const char *audience, const char *nonce_hex, const char *exporter_hex,
      struct error *err)
{
    CLEANUP(json_decref) json_t *answer = NULL;
    uint8_t nonce[POP_NONCE_LEN], exporter[POP_EXPORTER_LEN];
    char socket_path[SOCKET_PATH_MAX];
    const char *proof = NULL;

    agent_socket_path(conf, socket_path);
    if (pop_read_hex("--nonce", nonce_hex, nonce, err) < 0 ||
        pop_read_hex("--exporter", exporter_hex, exporter, err) < 0 ||
        ask(socket_path, audience, nonce, exporter, &answer, err) < 0 ||
        json_get_string(answer, "proof", false, POP_TEXT_MAX, &proof, err) < 0)
        return -1;
    if (printf("%s\n", proof) < 0 || fflush(stdout) != 0)
        return error_set(err, ERROR_SYSTEM, "the proof could not be written");
    return 0;
}

int
cmd_prove(const struct conf *conf, const char *audience, const char *nonce, const char *exporter)
{
    struct error err = { 0 };

    if (prove(conf, audience, nonce, exporter, &err) == 0)
        return 0;
    log_error(&err, "no proof for %s", audience);
    return exit_status_of(&err);
}
