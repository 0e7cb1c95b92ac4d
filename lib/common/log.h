/*
 * log.h - one line per event, to stderr, with syslog priorities
 *
 * Only edges log: main(), event handlers, endpoints.  Under journald each line
 * starts with "<N>"; on a terminal with the program's name.  Control
 * characters in the finished line are escaped, so text from outside can not
 * forge a line.  No token, key, nonce or signature is ever given to a log.
 */
#pragma once

#include "lib/common/error.h"

enum log_level { LOG_LEVEL_ERROR, LOG_LEVEL_WARNING, LOG_LEVEL_NOTICE, LOG_LEVEL_INFO, LOG_LEVEL_DEBUG };

/* `program` is borrowed for ever.  Lines above `level` are dropped. */
void log_open(const char *program, enum log_level level);

/* "fmt...: err->text" */
void log_error(const struct error *err, const char *fmt, ...)
    __attribute__((nonnull, format(printf, 2, 3)));
void log_warning(const char *fmt, ...) __attribute__((nonnull, format(printf, 1, 2)));
/* The life of a VM; begins with a stable word: "event=token uuid=... ..." */
void log_notice(const char *fmt, ...) __attribute__((nonnull, format(printf, 1, 2)));
void log_info(const char *fmt, ...) __attribute__((nonnull, format(printf, 1, 2)));
void log_debug(const char *fmt, ...) __attribute__((nonnull, format(printf, 1, 2)));
