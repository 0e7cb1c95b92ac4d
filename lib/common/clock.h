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

/* Another number at each millisecond and, by their starts, on each machine: to spread what many do, for no secret. */
static inline uint32_t
clock_dice(void)
{
    return (uint32_t)((uint64_t)clock_monotonic_ms() * UINT64_C(0x9e3779b97f4a7c15) >> 32);
}
