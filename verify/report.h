/*
 * report.h - what virtid-verify says: for people, or as one JSON object
 */
#pragma once

#include <stdbool.h>
#include <stdint.h>

#include "verify/virtid-verify.h"

/* To stdout. `now` is seconds since 1970. */
void report_valid(const struct virtid_identity *vm, bool json, int64_t now);

/* To stdout: NOT VALID, with reason and repair; with `json` {"valid":false,...}. */
void report_invalid(const struct virtid_error *error, bool json);
