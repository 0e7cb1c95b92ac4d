/*
 * clock.h - what time it is; the only module that asks
 *
 * Everything that decides by time takes it as an argument, so that tests can
 * hold it still.
 */
#pragma once

#include <stdint.h>

int64_t clock_realtime_ms(void);  /* UTC, since 1970 */
int64_t clock_monotonic_ms(void); /* goes on while suspended (CLOCK_BOOTTIME) */
