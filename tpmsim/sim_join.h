/*
 * sim_join.h - a simulated host joins, by the code on standard input
 */
#pragma once

#include <stdint.h>

#include "lib/common/error.h"

/* As `name`, its identity into `folder`; waits for the operator's approval until `deadline_ms`. */
int sim_join(const char *folder, const char *name, int64_t deadline_ms, struct error *err);
