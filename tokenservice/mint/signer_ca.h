/*
 * signer_ca.h - the CAs turn, by an operator's word: a next pair is published, and then issues
 *
 * Each change is durable before it counts, and may be asked for again.
 */
#pragma once

#include <stdint.h>

#include "lib/common/buf.h"
#include "lib/common/error.h"
#include "tokenservice/mint/signer_keys.h"

/* Make good what a crash left, and trust no more what has had its time.  ERROR_SYSTEM: the disk. */
int signer_ca_tick(struct signer_keys *keys, int64_t now, struct error *err);
/* As ca_set_publish(), ca_set_turn() and ca_file_next(), durably.  ERROR_SYSTEM: the disk. */
int signer_ca_publish(struct signer_keys *keys, int64_t now, struct error *err);
int signer_ca_turn(struct signer_keys *keys, const char *kid, int64_t now, struct error *err);
int signer_ca_bundle(const struct signer_keys *keys, uint64_t serial, struct buf *into, struct error *err);
/* Their rows in the list of keys. */
int signer_ca_list(const struct signer_keys *keys, struct mint_keys *list, struct error *err);
