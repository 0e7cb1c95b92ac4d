/*
 * splice.h - one connection from a guest to the service's guest listener, and nowhere else
 *
 * Bytes pass through; TLS is end to end.  Both directions have a window and a
 * total, so one guest can hold at most two windows of memory; a connection
 * lives at most a minute.
 */
#pragma once

#include <stddef.h>
#include <stdint.h>
#include <sys/socket.h>

#include "lib/common/cleanup.h"
#include "lib/common/error.h"

struct event_base;
struct splice;

struct splice_owner {
    void *context;
    void (*opened)(void *context);
    void (*data)(void *context, const void *bytes, size_t len); /* for the guest */
    void (*consumed)(void *context, uint32_t len);              /* window update for the guest */
    void (*closed)(void *context, const char *reason);          /* free the splice afterwards, not inside */
};

/* Connects without blocking. */
int splice_open(struct event_base *base, const struct sockaddr *to, socklen_t to_len,
                const struct splice_owner *owner, struct splice **ret, struct error *err);
void splice_free(struct splice *splice);
DEFINE_CLEANUP(struct splice *, splice_free);

/* Bytes of the guest. ERROR_DENIED: beyond its window or the total; close. */
int splice_write(struct splice *splice, const void *bytes, size_t len, struct error *err);
/* The guest is done: what it sent still goes out, then closed(). */
void splice_finish(struct splice *splice);
/* The guest consumed `len` bytes of what it got. ERROR_INPUT: more than it was given. */
int splice_acked(struct splice *splice, uint32_t len, struct error *err);
