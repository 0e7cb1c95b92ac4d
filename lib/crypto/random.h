/*
 * random.h - bytes nobody can guess
 */
#pragma once

#include <stddef.h>

#include "lib/common/error.h"

/* Fill `ret` with `len` random bytes; all of them, or an error. */
int random_bytes(void *ret, size_t len, struct error *err);
