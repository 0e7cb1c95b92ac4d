/*
 * slot.h - the VM's secret as it lies in the guest: slots cur, new, inject
 *
 * kind (1) || uuid (16) || body: kind 1 `unique`: 64 random bytes that make a primary key of this TPM;
 * kind 2: a P-256 private key (32).  docs/PROTOCOL-proof.md, 1.
 */
#pragma once

#include <stddef.h>
#include <stdint.h>

#include "lib/common/error.h"
#include "lib/wire/vm_uuid.h"

enum { SLOT_UNIQUE = 1, SLOT_PRIVATE = 2, SLOT_UNIQUE_LEN = 64, SLOT_PRIVATE_LEN = 32, SLOT_MAX = 1 + 16 + 64 };

struct slot {
    uint8_t kind;
    struct vm_uuid uuid;
    uint8_t body[64];
};

size_t slot_encode(const struct slot *s, uint8_t ret[static SLOT_MAX]);
int slot_decode(const uint8_t *bytes, size_t len, struct slot *ret, struct error *err);
