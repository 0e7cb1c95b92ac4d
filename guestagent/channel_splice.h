/*
 * channel_splice.h - one connection through the channel: DATA frames on one side, a socket on the other
 *
 * docs/PROTOCOL-channel.md, 4.  Nothing here blocks or waits; time and frames come in as arguments.
 * Used by the channel's thread alone.
 */
#pragma once

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "lib/common/buf.h"
#include "lib/common/error.h"
#include "lib/wire/frame.h"

enum {
    SPLICE_WINDOW = 65536,      /* in flight, each way */
    SPLICE_BYTES_MAX = 1 << 20, /* each way, per connection */
    SPLICE_MS_MAX = 60000,
    SPLICE_OPEN_MS = 5000,
    SPLICE_CLOSE_MS = 1000,
    SPLICE_OUT_MAX = 4 * SPLICE_WINDOW,
};

/* Frames on their way to the port. */
struct channel_out {
    struct buf bytes; /* BUF(SPLICE_OUT_MAX) */
    uint64_t session;
};
/* False: no room now; the frame is dropped, and whoever wanted it repeats it. */
bool channel_out_frame(struct channel_out *out, enum frame_type type, const void *payload,
                       size_t len);

enum splice_state { SPLICE_NONE, SPLICE_OPENING, SPLICE_OPEN, SPLICE_CLOSING };

struct splice {
    enum splice_state state;
    int fd;                /* our end of the pair; -1: none */
    int64_t deadline_ms;   /* of the present state */
    struct buf in;         /* BUF(SPLICE_WINDOW): from the host, not yet passed on */
    size_t in_flight;      /* sent and not acknowledged */
    size_t unacknowledged; /* passed on and not yet acknowledged by us */
    size_t sent, received;
    bool host_closed;
    char reason[301];      /* why the last connection ended */
};

void splice_init(struct splice *s);
/* HELLO, or the port went: the connection is gone without a word. */
void splice_reset(struct splice *s);

/* Ask for a connection.  ERROR_BUSY: one is there, or the last one is not closed yet. */
int splice_open(struct splice *s, struct channel_out *out, int64_t now_ms, struct error *err);
/*
 * A frame of type OPEN, DATA, CLOSE or ACK.  When it is the answer to OPEN, *ret_fd is the
 * caller's end of a fresh socketpair; else it is left alone.
 */
void splice_take(struct splice *s, const struct frame *frame, struct channel_out *out,
                 int64_t now_ms, int *ret_fd);
/* What poll() is to look for on s->fd. */
short splice_events(const struct splice *s, const struct channel_out *out);
/* Move what can be moved, end what is over. */
void splice_run(struct splice *s, struct channel_out *out, int64_t now_ms);
