/*
 * slot_key.h - the key that a slot stands for: in the TPM, or in the slot itself
 *
 * Not here: the slots' files (slots.h).
 */
#pragma once

#include <stdint.h>

#include "lib/common/error.h"
#include "lib/common/secret.h"
#include "lib/tpm/tpm_device.h"

/* `slot` as slots_read() gave it; `tpm` may be NULL where it holds the key itself. */
int slot_key_point(struct tpm_device *tpm, const struct secret *slot, uint8_t ret[static 65],
                   struct error *err);
/* Its signature over F("virtid-secret-1", h). */
int slot_key_sign(struct tpm_device *tpm, const struct secret *slot, const uint8_t h[static 32],
                  uint8_t ret[static 64], struct error *err);
