#include "config.h"

#include "tokenservice/mint/mint_client.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/time.h>

#include "lib/common/fdio.h"
#include "lib/wire/fields.h"

enum { DEADLINE_SECONDS = 5 };

struct mint {
    int fd;
    bool broken;
    uint8_t packet[MINT_PACKET_MAX]; /* the newest answer */
};

int
mint_new(int take_fd, struct mint **ret_mint, struct error *err)
{
    CLEANUP(fd_close) int fd = take_fd;
    struct timeval deadline = { .tv_sec = DEADLINE_SECONDS };
    struct mint *mint;

    if (setsockopt(fd, SOL_SOCKET, SO_RCVTIMEO, &deadline, sizeof deadline) < 0 ||
        setsockopt(fd, SOL_SOCKET, SO_SNDTIMEO, &deadline, sizeof deadline) < 0)
        return error_sys(err, errno, "signer's socket");
    mint = calloc(1, sizeof *mint);
    if (!mint)
        return error_sys(err, ENOMEM, "signer's socket");
    mint->fd = fd_steal(&fd);
    *ret_mint = mint;
    return 0;
}

void
mint_free(struct mint *mint)
{
    if (!mint)
        return;
    fd_close(mint->fd);
    explicit_bzero(mint->packet, sizeof mint->packet);
    free(mint);
}

int
mint_fd(const struct mint *mint)
{
    return mint->fd;
}

/* What is behind the answer's head, borrowed from mint->packet. */
static int
exchange(struct mint *mint, const struct buf *request, struct fields *ret,
         struct error *err)
{
    size_t len, n_fds;
    bool broken;
    int rc;

    if (fd_send(mint->fd, request->data, request->len, NULL, 0, err) < 0 ||
        fd_receive(mint->fd, mint->packet, sizeof mint->packet, &len, NULL, 0, &n_fds,
                   err) < 0) {
        mint->broken = true;
        err->code = ERROR_SYSTEM;
        return error_wrap(err, "the signer does not answer");
    }
    rc = mint_answer_decode(mint->packet, len, &ret->at, &ret->left, &broken, err);
    if (rc < 0 && broken)
        mint->broken = true;
    return rc;
}

static int
ask(struct mint *mint, const struct mint_request *request, struct fields *ret,
    struct error *err)
{
    CLEANUP(buf_clear) struct buf packet = BUF(MINT_PACKET_MAX);

    if (mint->broken)
        return error_set(err, ERROR_SYSTEM, "the signer is gone");
    if (mint_request_encode(request, &packet, err) < 0)
        return -1;
    return exchange(mint, &packet, ret, err);
}

/* The answer said "done", but not what was asked for. */
static int
bad_answer(struct mint *mint, struct error *err)
{
    mint->broken = true;
    err->code = ERROR_SYSTEM;
    return error_wrap(err, "the signer's answer");
}

/* One field of 1..max bytes, appended to `into`. */
static int
take_one(struct mint *mint, struct fields *answer, size_t max, struct buf *into,
         struct error *err)
{
    const uint8_t *bytes;
    size_t len;

    if (fields_take(answer, 1, max, &bytes, &len, err) < 0 ||
        fields_end(answer, err) < 0)
        return bad_answer(mint, err);
    buf_add(into, bytes, len);
    return buf_ok(into)
               ? 0
               : error_set(err, ERROR_SYSTEM, "no room for the signer's answer");
}

static int
take_exact(struct mint *mint, struct fields *answer, uint8_t *ret, size_t len,
           struct error *err)
{
    if (fields_take_exact(answer, ret, len, err) < 0 || fields_end(answer, err) < 0)
        return bad_answer(mint, err);
    return 0;
}

int
mint_ask_info(struct mint *mint, struct mint_info *ret_info, struct error *err)
{
    struct mint_request request = { .op = MINT_INFO };
    struct fields answer;

    if (ask(mint, &request, &answer, err) < 0)
        return -1;
    if (mint_info_decode(answer.at, answer.left, ret_info, err) < 0)
        return bad_answer(mint, err);
    return 0;
}

static int
certify(struct mint *mint, const struct mint_request *request, struct buf *into,
        struct error *err)
{
    struct fields answer;

    if (ask(mint, request, &answer, err) < 0)
        return -1;
    return take_one(mint, &answer, MINT_CERT_MAX, into, err);
}

static int
certify_point(struct mint *mint, enum mint_kind kind, const char *name,
              const uint8_t point[static KEY_POINT_LEN], struct buf *into,
              struct error *err)
{
    struct mint_request request = { .op = MINT_CERTIFY,
                                    .kind = kind,
                                    .public_len = KEY_POINT_LEN };

    if (strlen(name) >= sizeof request.name)
        return error_set(err, ERROR_INPUT, "the name is too long");
    strcpy(request.name, name);
    memcpy(request.public_, point, KEY_POINT_LEN);
    return certify(mint, &request, into, err);
}

int
mint_certify_server(struct mint *mint, const uint8_t point[static KEY_POINT_LEN],
                    struct buf *into, struct error *err)
{
    return certify_point(mint, MINT_KIND_SERVER, "", point, into, err);
}

int
mint_certify_host_tls(struct mint *mint, const char *host,
                      const uint8_t point[static KEY_POINT_LEN], struct buf *into,
                      struct error *err)
{
    return certify_point(mint, MINT_KIND_HOST_TLS, host, point, into, err);
}

int
mint_certify_host_proof(struct mint *mint, const char *host,
                        const uint8_t point[static KEY_POINT_LEN], struct buf *into,
                        struct error *err)
{
    return certify_point(mint, MINT_KIND_HOST_PROOF, host, point, into, err);
}

/* The length says which: 256 RSA modulus, 96 x||y of P-384, 65 point of P-256. */
static void
put_ek(struct mint_request *request, const struct credential_ek *ek)
{
    switch (ek->kind) {
    case CREDENTIAL_EK_RSA2048:
        request->public_len = 256;
        memcpy(request->public_, ek->modulus, 256);
        break;
    case CREDENTIAL_EK_P384:
        request->public_len = 96;
        memcpy(request->public_, ek->x, 48);
        memcpy(request->public_ + 48, ek->y, 48);
        break;
    case CREDENTIAL_EK_P256:
        request->public_len = KEY_POINT_LEN;
        request->public_[0] = 4;
        memcpy(request->public_ + 1, ek->x, 32);
        memcpy(request->public_ + 33, ek->y, 32);
        break;
    }
}

int
mint_certify_ek(struct mint *mint, const struct vm_uuid *uuid,
                const struct credential_ek *ek, struct buf *into, struct error *err)
{
    struct mint_request request = { .op = MINT_CERTIFY, .kind = MINT_KIND_EK };

    vm_uuid_print(uuid, request.name);
    put_ek(&request, ek);
    return certify(mint, &request, into, err);
}

int
mint_row_seal(struct mint *mint, const struct identity_row *row, struct buf *into,
              uint8_t ret_mac[static ROW_MAC_LEN], struct error *err)
{
    CLEANUP(buf_clear) struct buf bytes = BUF(ROW_MAX);
    struct mint_request request = { .op = MINT_ROW_MAC };
    uint8_t mac[ROW_MAC_LEN];
    struct fields answer;

    if (identity_row_encode(row, &bytes, err) < 0)
        return -1;
    request.row = bytes.data;
    request.row_len = bytes.len;
    if (ask(mint, &request, &answer, err) < 0 ||
        take_exact(mint, &answer, mac, sizeof mac, err) < 0)
        return -1;
    buf_add(into, bytes.data, bytes.len);
    if (!buf_ok(into))
        return error_set(err, ERROR_SYSTEM, "no room for the identity row");
    memcpy(ret_mac, mac, sizeof mac);
    return 0;
}

int
mint_row_check(struct mint *mint, const uint8_t *row, size_t len,
               const uint8_t mac[static ROW_MAC_LEN], struct error *err)
{
    struct mint_request request = { .op = MINT_ROW_CHECK, .row = row, .row_len = len };
    struct fields answer;

    memcpy(request.mac, mac, sizeof request.mac);
    if (ask(mint, &request, &answer, err) < 0)
        return -1;
    return fields_end(&answer, err) < 0 ? bad_answer(mint, err) : 0;
}

int
mint_row_open(struct mint *mint, const uint8_t *row, size_t len,
              const uint8_t mac[static ROW_MAC_LEN], struct identity_row *ret_row,
              struct error *err)
{
    if (mint_row_check(mint, row, len, mac, err) < 0)
        return -1;
    return identity_row_decode(row, len, ret_row, err);
}

int
mint_token(struct mint *mint, const uint8_t *row, size_t row_len,
           const uint8_t mac[static ROW_MAC_LEN],
           const struct mint_token_request *token, struct buf *into, struct error *err)
{
    struct mint_request request = {
        .op = MINT_TOKEN, .row = row, .row_len = row_len, .token = *token
    };
    struct fields answer;

    memcpy(request.mac, mac, sizeof request.mac);
    if (ask(mint, &request, &answer, err) < 0)
        return -1;
    return take_one(mint, &answer, MINT_TOKEN_MAX, into, err);
}

int
mint_receipt(struct mint *mint, const void *record, size_t len, struct buf *into,
             struct error *err)
{
    struct mint_request request = { .op = MINT_RECEIPT,
                                    .record = record,
                                    .record_len = len };
    struct fields answer;

    if (ask(mint, &request, &answer, err) < 0)
        return -1;
    return take_one(mint, &answer, MINT_RECEIPT_MAX, into, err);
}

int
mint_subkey(struct mint *mint, enum mint_purpose purpose, uint64_t hour,
            uint8_t ret_key[static MINT_SUBKEY_LEN], struct error *err)
{
    struct mint_request request = { .op = MINT_SUBKEY,
                                    .purpose = purpose,
                                    .hour = hour };
    struct fields answer;
    int rc;

    if (ask(mint, &request, &answer, err) < 0)
        return -1;
    rc = take_exact(mint, &answer, ret_key, MINT_SUBKEY_LEN, err);
    explicit_bzero(mint->packet, sizeof mint->packet);
    return rc;
}

static int
ask_keys(struct mint *mint, const struct mint_request *request, struct mint_keys *ret, struct error *err)
{
    struct fields answer;

    if (ask(mint, request, &answer, err) < 0)
        return -1;
    return mint_keys_decode(answer.at, answer.left, ret, err) < 0 ? bad_answer(mint, err) : 0;
}

int
mint_keys(struct mint *mint, struct mint_keys *ret, struct error *err)
{
    struct mint_request request = { .op = MINT_KEYS };

    return ask_keys(mint, &request, ret, err);
}

int
mint_keys_rotate(struct mint *mint, enum mint_key_purpose purpose, struct mint_keys *ret, struct error *err)
{
    struct mint_request request = { .op = MINT_ROTATE, .key = purpose };

    return ask_keys(mint, &request, ret, err);
}

int
mint_keys_revoke(struct mint *mint, const char *kid, struct mint_keys *ret, struct error *err)
{
    struct mint_request request = { .op = MINT_REVOKE };

    if (strlen(kid) >= sizeof request.kid)
        return error_problem(err, ERROR_MISSING, "not-found", "no key has this name");
    strcpy(request.kid, kid);
    return ask_keys(mint, &request, ret, err);
}

static int
ask_done(struct mint *mint, const struct mint_request *request, struct error *err)
{
    struct fields answer;

    if (ask(mint, request, &answer, err) < 0)
        return -1;
    return fields_end(&answer, err) < 0 ? bad_answer(mint, err) : 0;
}

int
mint_ca_publish(struct mint *mint, struct error *err)
{
    struct mint_request request = { .op = MINT_CA_PUBLISH };

    return ask_done(mint, &request, err);
}

int
mint_ca_turn(struct mint *mint, const char *kid, struct error *err)
{
    struct mint_request request = { .op = MINT_CA_TURN };

    if (strlen(kid) >= sizeof request.kid)
        return error_problem(err, ERROR_MISSING, "not-found", "no CA has this name");
    strcpy(request.kid, kid);
    return ask_done(mint, &request, err);
}

int
mint_bundle(struct mint *mint, uint64_t serial, struct buf *into, struct error *err)
{
    struct mint_request request = { .op = MINT_BUNDLE, .serial = serial };
    struct fields answer;

    if (ask(mint, &request, &answer, err) < 0)
        return -1;
    return take_one(mint, &answer, BUNDLE_MAX, into, err);
}

int
mint_head(struct mint *mint, bool new_line, int64_t id, const uint8_t hash[static AUDIT_HASH], struct audit_head *ret,
          struct error *err)
{
    struct mint_request request = { .op = MINT_HEAD, .new_line = new_line, .head_id = id };
    struct fields answer;

    memcpy(request.head_hash, hash, sizeof request.head_hash);
    if (ask(mint, &request, &answer, err) < 0)
        return -1;
    return mint_head_decode(answer.at, answer.left, ret, err) < 0 ? bad_answer(mint, err) : 0;
}

int
mint_signed(struct mint *mint, uint8_t ret_point[static KEY_POINT_LEN], struct audit_head *ret, struct error *err)
{
    struct mint_request request = { .op = MINT_SIGNED };
    struct fields answer;

    if (ask(mint, &request, &answer, err) < 0)
        return -1;
    return fields_take_exact(&answer, ret_point, KEY_POINT_LEN, err) < 0 ||
                   mint_head_decode(answer.at, answer.left, ret, err) < 0
               ? bad_answer(mint, err)
               : 0;
}
