/*
 * error_map.h - what an error code means to HTTP, to an exit status, to a retry
 */
#pragma once

#include <stdbool.h>

#include "lib/common/error.h"

/* 400, 403, 404, 503 or 500. */
int error_http_status(enum error_code code);

/* The nearest code for an HTTP status of 400 and above. */
enum error_code error_from_http(int status);

/* True for ERROR_BUSY and ERROR_SYSTEM: the same request may succeed later. */
bool error_may_retry(enum error_code code);
