/*
 * guest_channel_state.h - the inside of the channel: its thread (guest_channel.c), its callers (guest_channel_calls.c)
 */
#pragma once

#include <pthread.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "guestagent/channel_port.h"
#include "guestagent/channel_splice.h"
#include "guestagent/guest_channel.h"
#include "lib/common/buf.h"

enum want { WANT_NOTHING, WANT_SEND, WANT_ANSWER, WANT_DONE, WANT_FAILED };

struct guest_channel {
    struct guest_channel_options options;
    pthread_t thread;
    bool started;
    int wake; /* eventfd: a caller wants something */
    pthread_mutex_t lock;
    pthread_cond_t changed; /* CLOCK_MONOTONIC */

    /* Under the lock. */
    bool stop, up, greet_again, greeted_now, stale_now;
    struct greeting greeting;
    struct error port_error; /* why there is no greeting */
    enum want ask;
    enum frame_type ask_type;
    uint8_t ask_payload[64];
    size_t ask_len;
    struct host_signature signature;
    enum want open;
    int open_fd;
    struct error failure; /* of ask or open */
    struct buf status;    /* payload not sent yet; empty: none */

    int64_t who_at_ms;

    /* The thread's own. */
    struct channel_port port;
    struct frame_reader reader;
    struct channel_out out;
    struct splice splice;
    int64_t reopen_at_ms, quiet_until_ms;
};

/* A caller wants something: the thread looks at once. */
void guest_channel_wake(struct guest_channel *c);
