/*
 * connect_msg.h - the three messages of `virtid-verify --connect` and `virtid-agent serve`
 *
 * Inside TLS 1.3, each is a u16 big-endian length (1..CONNECT_MSG_MAX) and F():
 *   client  F("virtid-connect-1", verifier name(1..255), nonce(32))
 *   server  F("virtid-connect-1", token text, cnf point(65), signature(64))
 *       or  F("virtid-connect-no", reason text)
 * The signature is by the cnf key over transcript_pop_message() with the exporter CONNECT_EXPORTER.
 * docs/PROTOCOL-connect.md.
 */
#pragma once

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "lib/common/buf.h"
#include "lib/common/error.h"
#include "lib/crypto/key.h"
#include "lib/wire/pop.h"
#include "lib/wire/token.h"

#define CONNECT_EXPORTER POP_EXPORTER
#define CONNECT_AUDIENCE "virtid-connect"

enum {
    CONNECT_MSG_MAX = 8192,
    CONNECT_NONCE_LEN = 32,
    CONNECT_VERIFIER_MAX = 255,
    CONNECT_REASON_MAX = 300,
    CONNECT_DEADLINE_MS = 10000,
};

struct connect_ask {
    char verifier[CONNECT_VERIFIER_MAX + 1];
    uint8_t nonce[CONNECT_NONCE_LEN];
};

struct connect_answer {
    bool refused; /* then only `reason` says something */
    char reason[CONNECT_REASON_MAX + 1];
    struct pop pop; /* the token, and that it is the VM's own */
};

/* Each appends the length and the message. ERROR_INPUT: a text is empty, too long or not printable ASCII. */
int connect_ask_encode(const struct connect_ask *ask, struct buf *into, struct error *err);
int connect_answer_encode(const struct connect_answer *answer, struct buf *into,
                          struct error *err);

/*
 * Look at `len` bytes from the front of a connection. *ret_done = false: more bytes are needed.
 * When done, bytes behind the message are refused: each side sends exactly one.
 */
int connect_ask_decode(const uint8_t *bytes, size_t len, struct connect_ask *ret,
                       bool *ret_done, struct error *err);
int connect_answer_decode(const uint8_t *bytes, size_t len, struct connect_answer *ret,
                          bool *ret_done, struct error *err);
