/*
 * http_limit.h - how much one address may ask of a listener
 *
 * A fixed table, so that a flood from many addresses takes no memory: an address that finds no room
 * shares one place with all others that found none.  IPv6 counts by /64.
 */
#pragma once

#include <stdbool.h>
#include <stdint.h>
#include <sys/socket.h>

#include "lib/common/cleanup.h"
#include "lib/common/error.h"

struct http_limit;
struct http_limit_place; /* of one address; stays valid while it has a connection */

/* 0: no limit. */
int http_limit_new(unsigned connections_per_address, unsigned requests_per_second,
                   struct http_limit **ret, struct error *err);
void http_limit_free(struct http_limit *limit);
DEFINE_CLEANUP(struct http_limit *, http_limit_free);

/* One more connection; NULL: this address has its share. */
struct http_limit_place *http_limit_enter(struct http_limit *limit,
                                          const struct sockaddr *address, int64_t now_ms);
void http_limit_leave(struct http_limit_place *place);
/* One request; a second's worth may come at once. */
bool http_limit_request(const struct http_limit *limit, struct http_limit_place *place,
                        int64_t now_ms);
