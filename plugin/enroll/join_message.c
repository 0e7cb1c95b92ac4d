#include "config.h"

#include "plugin/enroll/join_message.h"

#include <string.h>

#include "lib/common/encode.h"
#include "lib/crypto/hash.h"
#include "lib/wire/fields.h"

enum { MESSAGE_MAX = 1024 };

/* One comma-separated part; *at moves behind it. */
static const char *
next_part(const char **at, size_t *ret_len)
{
    const char *part = *at;
    size_t len = strcspn(part, ",");

    *ret_len = len;
    *at = part + len + (part[len] == ',');
    return part;
}

static int
decode_exact(const char *part, size_t len, uint8_t ret[static 32], struct error *err)
{
    size_t got = 0;

    if (b64url_decode(part, len, ret, 32, &got, err) < 0 || got != 32)
        return -1;
    return 0;
}

int
join_code_parse(const char *text, struct join_code *ret, struct error *err)
{
    char line[JOIN_CODE_MAX + 1];
    struct join_code code = { 0 };
    const char *at = line, *part;
    struct error quiet;
    size_t len;

    text += strspn(text, " \t\r\n");
    len = strcspn(text, " \t\r\n");
    if (len > JOIN_CODE_MAX || text[len + strspn(text + len, " \t\r\n")] != '\0')
        return error_set(err, ERROR_INPUT, "a join code is one line of at most %d characters", JOIN_CODE_MAX);
    memcpy(line, text, len);
    line[len] = '\0';
    part = next_part(&at, &len);
    if (len != 7 || memcmp(part, "virtid1", 7) != 0)
        return error_set(err, ERROR_INPUT, "a join code begins with \"virtid1,\"");
    part = next_part(&at, &len);
    if (len == 0 || len > HOST_ADDRESS_MAX || !memchr(part, ':', len) || memchr(part, '/', len) ||
        memchr(part, '@', len))
        return error_set(err, ERROR_INPUT, "the join code's second part is no HOST:PORT");
    memcpy(code.service, part, len);
    part = next_part(&at, &len);
    if (decode_exact(part, len, code.ca_sha256, &quiet) < 0)
        return error_set(err, ERROR_INPUT, "the join code's third part is no CA fingerprint");
    part = next_part(&at, &len);
    if (decode_exact(part, len, code.token, &quiet) < 0 || *at != '\0')
        return error_set(err, ERROR_INPUT, "the join code's last part is no token");
    *ret = code;
    return 0;
}

static int
compose(const char *label, const char *name, const uint8_t *token, const struct key *tls,
        const struct key *proof, struct buf *into, struct error *err)
{
    uint8_t point[KEY_POINT_LEN];

    fields_add_text(into, label);
    fields_add_text(into, name);
    if (token)
        fields_add(into, token, JOIN_TOKEN_LEN);
    key_point(tls, point);
    fields_add(into, point, sizeof point);
    key_point(proof, point);
    fields_add(into, point, sizeof point);
    return buf_ok(into) ? 0 : error_set(err, buf_error_code(into), "join message is too long");
}

static int
add_signature(json_t *body, const char *member, const struct key *key, const struct buf *message,
              struct error *err)
{
    uint8_t signature[KEY_SIGNATURE_LEN];

    if (key_sign(key, message->data, message->len, signature, err) < 0)
        return -1;
    if (json_set_bytes(body, member, signature, sizeof signature) < 0)
        return error_set(err, ERROR_SYSTEM, "no memory for \"%s\"", member);
    return 0;
}

static int
add_point(json_t *body, const char *member, const struct key *key, struct error *err)
{
    uint8_t point[KEY_POINT_LEN];

    key_point(key, point);
    if (json_set_bytes(body, member, point, sizeof point) < 0)
        return error_set(err, ERROR_SYSTEM, "no memory for \"%s\"", member);
    return 0;
}

int
join_message_sign(const char *label, const char *name, const uint8_t *token,
                  const struct key *tls, const struct key *proof, json_t *body,
                  struct error *err)
{
    CLEANUP(buf_clear) struct buf message = BUF(MESSAGE_MAX);

    if (compose(label, name, token, tls, proof, &message, err) < 0 ||
        add_point(body, "tls", tls, err) < 0 || add_point(body, "proof", proof, err) < 0 ||
        add_signature(body, "sig_tls", tls, &message, err) < 0 ||
        add_signature(body, "sig_proof", proof, &message, err) < 0)
        return -1;
    return 0;
}

int
join_fingerprint(const char *name, const uint8_t token[static JOIN_TOKEN_LEN],
                 const struct key *tls, const struct key *proof, char ret[static 33],
                 struct error *err)
{
    CLEANUP(buf_clear) struct buf message = BUF(MESSAGE_MAX);
    uint8_t digest[SHA256_LEN];

    if (compose(JOIN_LABEL_JOIN, name, token, tls, proof, &message, err) < 0 ||
        hash_sha256(message.data, message.len, digest, err) < 0)
        return -1;
    hex_encode(digest, 16, ret);
    return 0;
}
