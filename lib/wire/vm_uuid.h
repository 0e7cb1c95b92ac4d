/*
 * vm_uuid.h - the name of a VM: libvirt's domain UUID, as 16 bytes in printed order
 */
#pragma once

#include <stdbool.h>
#include <stdint.h>
#include <string.h>

#include "lib/common/error.h"

enum { VM_UUID_TEXT = 37 }; /* with its NUL */

struct vm_uuid {
    uint8_t bytes[16];
};

static inline bool
vm_uuid_equal(const struct vm_uuid *a, const struct vm_uuid *b)
{
    return memcmp(a->bytes, b->bytes, sizeof a->bytes) == 0;
}

/* Lower case, 8-4-4-4-12 (RFC 9562, 4); nothing else is taken (CHECKS C12). */
int vm_uuid_parse(const char *text, struct vm_uuid *ret, struct error *err);
void vm_uuid_print(const struct vm_uuid *uuid, char ret[static VM_UUID_TEXT]);
