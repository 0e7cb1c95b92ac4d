/*
 * guest_channel.h - the agent's end of the channel: greeting, host signature, one connection
 *
 * A thread of its own owns the port; the calls below may come from any other thread and block until their deadline.
 * docs/PROTOCOL-channel.md.  Not here: who is believed (trust.h), what runs through the connection
 * (service_client.h).
 */
#pragma once

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "lib/common/cleanup.h"
#include "lib/common/error.h"
#include "lib/wire/frame.h"

/* What the last accepted HELLO said. */
struct greeting {
    uint64_t count;   /* of HELLOs accepted: a change means that all that was under way is over */
    uint64_t session;
    uint64_t epoch;
    struct vm_uuid uuid;
    char issuer[NAME_ISSUER_MAX + 1];
    int64_t utc_offset_ms; /* host's UTC minus clock_monotonic_ms() */
};

struct host_signature {
    uint64_t epoch;
    char host[NAME_HOST_MAX + 1];
    uint8_t signature[64];
};

struct guest_channel_options {
    const char *where; /* channel_port_open(); borrowed for ever */
    /*
     * Runs on the channel's thread for each HELLO: 0 with the serial of the bundle held, or -1: the
     * HELLO is not answered and everything stays.
     */
    int (*on_hello)(void *context, const struct hello *hello, uint64_t *ret_serial,
                    struct error *err);
    /* Runs after an accepted HELLO, without the channel's lock. */
    void (*on_greeted)(void *context);
    /* Likewise, when the host says that a key was revoked, and other tokens are to be had. May be NULL. */
    void (*on_stale)(void *context);
    void *context;
};

struct guest_channel;

int guest_channel_new(const struct guest_channel_options *options, struct guest_channel **ret,
                      struct error *err);
/* From here on the port is opened and the callbacks run. */
int guest_channel_start(struct guest_channel *channel, struct error *err);
/* Ends the thread: no callback runs afterwards, and every call below fails at once. */
void guest_channel_stop(struct guest_channel *channel);
/* Stops it, if need be. */
void guest_channel_free(struct guest_channel *channel);
DEFINE_CLEANUP(struct guest_channel *, guest_channel_free);

/* The present greeting. ERROR_BUSY with problem "no-channel" or "channel-busy" (why) until `deadline_ms`. */
int guest_channel_wait(struct guest_channel *channel, int64_t deadline_ms,
                       struct greeting *ret, struct error *err);
/* The host's signature over h, now.  ERROR_DENIED: the host said NO; ERROR_BUSY: no answer to three. */
int guest_channel_sign(struct guest_channel *channel, const uint8_t h[static 32],
                       struct host_signature *ret, struct error *err);
/* The vTPM's file is durable when this returns 0. */
int guest_channel_sync(struct guest_channel *channel, struct error *err);
/* A connection to the token service's guest listener: one end of a socketpair, yours. */
int guest_channel_open(struct guest_channel *channel, int *ret_fd, struct error *err);
/* Tell the host how it stands; kept until it can be sent, only the last one counts. */
void guest_channel_status(struct guest_channel *channel, const char *word, const char *text);
