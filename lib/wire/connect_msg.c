#include "config.h"

#include "lib/wire/connect_msg.h"

#include <string.h>

#include "lib/wire/fields.h"

static const char label_yes[] = "virtid-connect-1";
static const char label_no[] = "virtid-connect-no";

static bool
is_text(const char *s, size_t max)
{
    size_t len = strnlen(s, max + 1);

    for (size_t i = 0; i < len; i++) {
        if (s[i] < 0x20 || s[i] > 0x7e)
            return false;
    }
    return len > 0 && len <= max;
}

/* Put the length in front of what `message` holds. */
static int
finish(const struct buf *message, struct buf *into, struct error *err)
{
    if (buf_ok(message) && message->len <= CONNECT_MSG_MAX) {
        buf_add_u16(into, (uint16_t)message->len);
        buf_add(into, message->data, message->len);
        if (buf_ok(into))
            return 0;
    }
    return error_set(err, message->no_memory ? ERROR_SYSTEM : buf_error_code(into), "message too long");
}

int
connect_ask_encode(const struct connect_ask *ask, struct buf *into, struct error *err)
{
    CLEANUP(buf_clear) struct buf message = BUF(CONNECT_MSG_MAX);

    if (!is_text(ask->verifier, CONNECT_VERIFIER_MAX))
        return error_set(err, ERROR_INPUT,
                         "a verifier's name is 1 to %d printable characters",
                         CONNECT_VERIFIER_MAX);
    fields_add_text(&message, label_yes);
    fields_add_text(&message, ask->verifier);
    fields_add(&message, ask->nonce, sizeof ask->nonce);
    return finish(&message, into, err);
}

int
connect_answer_encode(const struct connect_answer *answer, struct buf *into,
                      struct error *err)
{
    CLEANUP(buf_clear) struct buf message = BUF(CONNECT_MSG_MAX);

    if (answer->refused ? !is_text(answer->reason, CONNECT_REASON_MAX)
                        : !is_text(answer->pop.token, TOKEN_TEXT_MAX))
        return error_set(err, ERROR_INPUT, "an answer that is no printable text");
    fields_add_text(&message, answer->refused ? label_no : label_yes);
    if (answer->refused) {
        fields_add_text(&message, answer->reason);
    } else {
        fields_add_text(&message, answer->pop.token);
        fields_add(&message, answer->pop.point, sizeof answer->pop.point);
        fields_add(&message, answer->pop.signature, sizeof answer->pop.signature);
    }
    return finish(&message, into, err);
}

/* The one message in these bytes, without its length. */
static int
unframe(const uint8_t *bytes, size_t len, struct fields *ret, bool *ret_done,
        struct error *err)
{
    size_t said;

    *ret_done = false;
    if (len < 2)
        return 0;
    said = (size_t)bytes[0] << 8 | bytes[1];
    if (said == 0 || said > CONNECT_MSG_MAX)
        return error_set(err, ERROR_INPUT, "message of %zu bytes", said);
    if (len - 2 < said)
        return 0;
    if (len - 2 > said)
        return error_set(err, ERROR_INPUT, "bytes behind the message");
    *ret = (struct fields){ bytes + 2, said };
    *ret_done = true;
    return 0;
}

int
connect_ask_decode(const uint8_t *bytes, size_t len, struct connect_ask *ret,
                   bool *ret_done, struct error *err)
{
    char label[sizeof label_yes];
    struct fields f;

    if (unframe(bytes, len, &f, ret_done, err) < 0)
        return -1;
    if (!*ret_done)
        return 0;
    if (fields_take_text(&f, sizeof label_yes - 1, sizeof label_yes - 1, label, err) <
            0 ||
        fields_take_text(&f, 1, CONNECT_VERIFIER_MAX, ret->verifier, err) < 0 ||
        fields_take_exact(&f, ret->nonce, sizeof ret->nonce, err) < 0 ||
        fields_end(&f, err) < 0)
        return -1;
    if (strcmp(label, label_yes) != 0)
        return error_set(err, ERROR_INPUT, "another label");
    return 0;
}

int
connect_answer_decode(const uint8_t *bytes, size_t len, struct connect_answer *ret,
                      bool *ret_done, struct error *err)
{
    char label[sizeof label_no];
    struct fields f;

    if (unframe(bytes, len, &f, ret_done, err) < 0)
        return -1;
    if (!*ret_done)
        return 0;
    memset(ret, 0, sizeof *ret);
    if (fields_take_text(&f, sizeof label_yes - 1, sizeof label_no - 1, label, err) < 0)
        return -1;
    ret->refused = strcmp(label, label_no) == 0;
    if (!ret->refused && strcmp(label, label_yes) != 0)
        return error_set(err, ERROR_INPUT, "another label");
    if (ret->refused) {
        if (fields_take_text(&f, 1, CONNECT_REASON_MAX, ret->reason, err) < 0)
            return -1;
    } else if (fields_take_text(&f, 1, TOKEN_TEXT_MAX, ret->pop.token, err) < 0 ||
               fields_take_exact(&f, ret->pop.point, sizeof ret->pop.point, err) < 0 ||
               fields_take_exact(&f, ret->pop.signature, sizeof ret->pop.signature, err) < 0) {
        return -1;
    }
    return fields_end(&f, err);
}
