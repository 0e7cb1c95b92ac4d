/*
 * frame.h - frames of the guest's channel (virtio-serial port org.virtid.0)
 *
 * Magic "VTD1", type (1), zero (3), session (8), length (4, <= 16384), payload.
 * docs/PROTOCOL-channel.md.  Wrong magic or length: bytes are skipped until
 * the next HELLO or WHO.
 */
#pragma once

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "lib/common/buf.h"
#include "lib/common/error.h"
#include "lib/wire/bundle.h"
#include "lib/wire/vm_uuid.h"

enum { FRAME_HEADER_LEN = 20, FRAME_PAYLOAD_MAX = 16384, CHANNEL_VERSION = 1 };

enum frame_type {
    FRAME_WHO = 1,    /* guest: empty; session 0 */
    FRAME_HELLO = 2,  /* host */
    FRAME_READY = 3,  /* guest: F(version(1), bundle serial held(8)) */
    FRAME_SIGN = 4,   /* guest: F(h(32)) */
    FRAME_SIG = 5,    /* host: F(h(32), epoch(8), host name, signature(64)) */
    FRAME_NO = 6,     /* host: F(type refused(1), reason text) */
    FRAME_SYNC = 7,   /* guest: empty */
    FRAME_SYNCED = 8, /* host: empty */
    FRAME_OPEN = 9,   /* guest: empty; host answers OPEN (done) or CLOSE */
    FRAME_DATA = 10,  /* both: bytes of the splice */
    FRAME_CLOSE = 11, /* both: F(reason text) */
    FRAME_ACK = 12,   /* both: F(bytes consumed(4)): window update of DATA */
    FRAME_STATUS = 13,/* guest: F(word, text): last outcome, for `virtid why`; hostile text */
    FRAME_STALE = 14, /* host: empty; a key was revoked: get other tokens than those at hand */
};

struct frame {
    enum frame_type type;
    uint64_t session;
    const uint8_t *payload; /* borrowed from the reader until its next call */
    size_t len;
};

/* HELLO = F(version(1), session(8), uuid(16), epoch(8), host UTC ms(8), issuer, bundle). */
struct hello {
    uint8_t version;
    uint64_t session;
    struct vm_uuid uuid;
    uint64_t epoch;
    uint64_t utc_ms;
    char issuer[NAME_ISSUER_MAX + 1];
    uint8_t bundle[BUNDLE_MAX];
    size_t bundle_len;
};

void frame_encode(enum frame_type type, uint64_t session, const void *payload, size_t len,
                  struct buf *into);

/* Bytes in, frames out. */
struct frame_reader {
    struct buf bytes;  /* BUF(2 * (FRAME_HEADER_LEN + FRAME_PAYLOAD_MAX)) */
    size_t taken;      /* consumed by the frame last returned */
    bool lost;         /* skipping until HELLO or WHO */
};
#define FRAME_READER() { .bytes = BUF(2 * (FRAME_HEADER_LEN + FRAME_PAYLOAD_MAX)) }
void frame_reader_clear(struct frame_reader *r);
/* Room for more bytes; 0 when full (then call frame_next first). */
size_t frame_room(const struct frame_reader *r);
void frame_feed(struct frame_reader *r, const void *bytes, size_t len); /* len <= room */
/* True and *ret: the next whole frame. False: feed more. Never fails on any input. */
bool frame_next(struct frame_reader *r, struct frame *ret);

int hello_encode(const struct hello *h, struct buf *into, struct error *err);
int hello_decode(const uint8_t *payload, size_t len, struct hello *ret, struct error *err);
