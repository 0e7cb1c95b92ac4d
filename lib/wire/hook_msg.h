/*
 * hook_msg.h - what virtid-hook asks the host daemon, and the answers
 *
 * Request, on a Unix stream: "VHK1" || u32 length || F(op, subop, name, uuid text or "", truncated(1)) || u32 XML length || XML.
 * Answers, one line each: "go\n", "no REASON\n", "wait SECONDS\n" (repeated every 200 ms while it works).
 * Only prepare, migrate and restore wait; docs/PROTOCOL-hook.md.
 */
#pragma once

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "lib/common/buf.h"
#include "lib/common/error.h"
#include "lib/wire/names.h"

enum { HOOK_XML_MAX = 1 << 20, HOOK_HEAD_MAX = 2048, HOOK_SILENCE_MS = 500, HOOK_WAIT_EVERY_MS = 200, HOOK_REASON_MAX = 300 };

struct hook_msg {
    char op[32], subop[32], name[NAME_DOMAIN_MAX + 1], uuid[37];
    bool truncated; /* XML was longer than HOOK_XML_MAX and is not here */
    const char *xml;
    size_t xml_len;
};

int hook_msg_encode(const struct hook_msg *m, struct buf *into, struct error *err);
/* *ret_done = false: more bytes needed. xml is borrowed from `bytes`. */
int hook_msg_decode(const uint8_t *bytes, size_t len, struct hook_msg *ret, bool *ret_done,
                    struct error *err);

enum hook_verdict { HOOK_GO, HOOK_NO, HOOK_WAIT };
int hook_answer_encode(enum hook_verdict v, const char *reason_or_seconds, struct buf *into);
/* One line without its newline. */
int hook_answer_decode(const char *line, size_t len, enum hook_verdict *ret,
                       char ret_reason[static HOOK_REASON_MAX + 1], struct error *err);

/* True for prepare, migrate, restore: libvirt waits for our word. */
bool hook_op_waits(const char *op);
/* True for every operation that libvirt documents; others are answered by 0 at once. */
bool hook_op_known(const char *op);
