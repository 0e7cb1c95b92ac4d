/*
 * when.h - times for people: "3 s ago", "in 2 min", "never"; "2026-01-31 12:00:00 +0100"
 */
#pragma once

#include <jansson.h>

enum { WHEN_MAX = 32 };

/* `ms`: milliseconds since 1970 as a JSON integer, or anything else for "never". */
const char *when_ago(const json_t *ms, char ret[static WHEN_MAX]);
/* The same as a date in this machine's zone. */
const char *when_at(const json_t *ms, char ret[static WHEN_MAX]);
