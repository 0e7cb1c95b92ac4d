/*
 * secret.h - bytes that must not be seen, swapped or dumped
 *
 * Kept in pages of their own: locked, left out of core dumps and of forks.
 * There is no function that prints one.
 */
#pragma once

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "lib/common/cleanup.h"
#include "lib/common/error.h"

struct secret {
    uint8_t *bytes;
    size_t len;
};

/* Room for `len` (1..4096) zero bytes. */
int secret_new(size_t len, struct secret **ret_secret, struct error *err);
/* Wipes, unlocks, frees. */
void secret_free(struct secret *secret);
DEFINE_CLEANUP(struct secret *, secret_free);

/* Equal length and bytes, in time that depends on `len` alone. */
bool secret_equal(const void *a, const void *b, size_t len);
