/*
 * host_channel.h - the host's side of one running VM's channel
 *
 * HELLO, the host's signature, and the splice to the service's guest listener,
 * over any connected stream descriptor, in the caller's event loop.  What the
 * guest sends is hostile: every queue is bounded, every rate too, and a frame
 * that makes no sense is dropped (docs/PROTOCOL-channel.md).
 *
 * Not here: whether the descriptor's other end is the right domain (privd),
 * and whether the host holds the lease (the owner's may_sign).
 */
#pragma once

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <sys/socket.h>

#include "lib/common/cleanup.h"
#include "lib/common/error.h"
#include "lib/crypto/key.h"
#include "lib/wire/frame.h"
#include "lib/wire/names.h"
#include "lib/wire/vm_uuid.h"

struct event_base;
struct host_channel;

enum {
    HOST_CHANNEL_READY_MS = 5000,
    HOST_CHANNEL_WINDOW = 65536,        /* DATA bytes under way in each direction without an ACK */
    HOST_CHANNEL_SPLICE_MAX = 1 << 20,  /* bytes in each direction of one connection; a proof takes 20 KiB */
    HOST_CHANNEL_SIGNS_PER_SECOND = 5,
    HOST_CHANNEL_OPENS_PER_SECOND = 2,
    HOST_CHANNEL_SYNCS_PER_SECOND = 1,  /* a run takes two, one behind the other */
    HOST_CHANNEL_BURST = 10,            /* connections, greetings, status words at once after a pause */
    HOST_CHANNEL_BEHIND_MS = 60000,     /* a bundle that was not taken is not offered again so soon */
    HOST_CHANNEL_TEXT_MAX = 200,
};

enum host_channel_state {
    HOST_CHANNEL_WAITING, /* HELLO sent */
    HOST_CHANNEL_READY,   /* the agent answered this session's HELLO */
    HOST_CHANNEL_SILENT,  /* 5 s without READY: no agent yet, or somebody else holds the socket */
    HOST_CHANNEL_GONE,    /* QEMU closed it; free the object */
};

/* Who speaks; borrowed by each call that asks for it. */
struct host_channel_identity {
    const char *issuer, *host;
    const struct key *proof_key;
    const uint8_t *bundle;
    size_t bundle_len;
    uint64_t bundle_serial;
    struct sockaddr_storage service; /* guest listener */
    socklen_t service_len;           /* 0: its name does not resolve */
    int64_t clock_ahead_ms;          /* of the service's clock, where ours is wrong: guests are told its time */
};

struct host_channel_owner {
    void *context;
    const struct host_channel_identity *(*identity)(void *context);
    /* The epoch to sign in, or 0 with *ret_reason: no lease, it lapsed, an end is unreported. */
    uint64_t (*may_sign)(void *context, const char **ret_reason);
    /*
     * The guest asks that its vTPM's state be made durable: host_channel_synced() says how it went, at once or
     * later, with the same `session`.
     */
    void (*sync)(void *context, uint64_t session);
    /* State or status changed. The channel must not be freed inside. May be NULL. */
    void (*changed)(void *context);
    /*
     * The agent holds an older bundle than ours, though it was offered that: host_channel_offer() brings it a step
     * forward.  Not more than once a minute for the same one: when it says READY, and by host_channel_look().  May be
     * NULL.
     */
    void (*behind)(void *context, uint64_t serial);
};

struct host_channel_status {
    enum host_channel_state state;
    uint64_t bundle_serial;                /* that the agent said it holds */
    unsigned signatures, refusals, opens;
    int64_t signed_ms, token_ms;           /* UTC: the last signature; when the guest last said that it has a token; 0 never */
    char refusal[32];                      /* last NO */
    char word[32];                         /* last FRAME_STATUS of the guest: hostile, escaped */
    char text[HOST_CHANNEL_TEXT_MAX + 1];
};

/* Takes the descriptor, also on failure; says HELLO at once. `owner` is copied. */
int host_channel_new(struct event_base *base, const struct vm_uuid *uuid, int take_fd,
                     const struct host_channel_owner *owner, struct host_channel **ret,
                     struct error *err);
void host_channel_free(struct host_channel *channel);
DEFINE_CLEANUP(struct host_channel *, host_channel_free);

/* A new session: after a new epoch, a new bundle. */
void host_channel_hello(struct host_channel *channel);
/* The same with this bundle in place of ours: what an agent that was off for long takes next. */
void host_channel_offer(struct host_channel *channel, const uint8_t *bundle, size_t len);
/* Is the agent behind still, a minute after its owner was told?  A step may have failed. */
void host_channel_look(struct host_channel *channel);
/* A key that signs tokens was revoked: the agent gets new tokens.  One that is not READY is told nothing. */
void host_channel_stale(struct host_channel *channel);
/* The answer to owner.sync: NULL done, or the word why not (at most 30 characters). */
void host_channel_synced(struct host_channel *channel, uint64_t session, const char *problem);
void host_channel_status(const struct host_channel *channel, struct host_channel_status *ret);
const char *host_channel_state_name(enum host_channel_state state);

/* "HOST:PORT" to an address; blocks on DNS. ERROR_BUSY: it does not resolve now. */
int host_channel_resolve(const char *host_port, struct sockaddr_storage *ret, socklen_t *ret_len,
                         struct error *err);
