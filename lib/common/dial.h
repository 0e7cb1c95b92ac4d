/*
 * dial.h - a TCP connection to an address that somebody wrote down
 */
#pragma once

#include <stdint.h>

#include "lib/common/error.h"

/*
 * To "HOST:PORT" or "[V6]:PORT"; *ret_fd does not block, and is yours to close.  ERROR_INPUT: no such form; ERROR_BUSY:
 * nobody there until `deadline_ms` (clock_monotonic_ms(); finding the name takes what it takes).
 */
int dial_tcp(const char *address, int64_t deadline_ms, int *ret_fd, struct error *err);
