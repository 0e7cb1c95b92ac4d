/*
 * signer_turn.h - the rings of keys turn: by time, by an operator's word, in an emergency
 *
 * Each change is durable before it counts.  Ages of keys go by the clock that only counts while the signer
 * runs, and by the time of day while it does not: a clock that is set ages no key.
 */
#pragma once

#include <stdint.h>

#include "lib/common/error.h"
#include "tokenservice/mint/mint_msg.h"
#include "tokenservice/mint/signer_keys.h"

/*
 * Do what is due.  `now`: seconds since 1970; `passed`: of a clock that only counts.  What can not be made
 * durable is not done, said once in keys->trouble, and tried again at the next tick; all else goes on.
 */
void signer_tick(struct signer_keys *keys, int64_t now, int64_t passed);

/* As key_ring_rotate() and key_ring_revoke(), durably; `now` is the last tick's. ERROR_SYSTEM: the disk. */
int signer_rotate(struct signer_keys *keys, enum key_ring_kind kind, struct error *err);
int signer_revoke(struct signer_keys *keys, const char *kid, struct error *err);

/* All keys that have a name, those that sign tokens first, then those of bound ones. */
int signer_key_list(const struct signer_keys *keys, struct mint_keys *ret, struct error *err);
