/*
 * when.h - times for people: "3 s ago", "in 2 min", "never"
 */
#pragma once

#include <jansson.h>

enum { WHEN_MAX = 32 };

/* `ms`: milliseconds since 1970 as a JSON integer, or anything else for "never". */
const char *when_ago(const json_t *ms, char ret[static WHEN_MAX]);
