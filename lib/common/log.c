#include "config.h"

#include "lib/common/log.h"

#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

static const char *log_program = "virtid";
static enum log_level log_limit = LOG_LEVEL_INFO;
static int log_journal;

void
log_open(const char *program, enum log_level level)
{
    log_program = program;
    log_limit = level;
    log_journal = getenv("JOURNAL_STREAM") != NULL;
}

/* One write() per line, so that lines of several threads do not mix. */
static void
emit(enum log_level level, const char *text, const char *tail)
{
    static const int priority[] = { 3, 4, 5, 6, 7 };
    char line[2200];
    size_t used = 0, limit = sizeof line - 8;

    if (log_journal)
        used = (size_t)snprintf(line, limit, "<%d>", priority[level]);
    else
        used = (size_t)snprintf(line, limit, "%s: ", log_program);
    for (int part = 0; part < 2; part++) {
        const char *from = part == 0 ? text : tail;

        if (part == 1 && *from && used + 2 < limit) {
            line[used++] = ':';
            line[used++] = ' ';
        }
        for (; *from && used + 4 < limit; from++) {
            unsigned char c = (unsigned char)*from;

            if (c < 0x20 || c == 0x7f)
                used += (size_t)snprintf(line + used, sizeof line - used, "\\x%02x", c);
            else
                line[used++] = (char)c;
        }
    }
    line[used++] = '\n';
    (void)!write(STDERR_FILENO, line, used);
}

#define LOG_AT(level, tail)                         \
    do {                                            \
        char text_[2000];                           \
        va_list ap_;                                \
        if ((level) > log_limit)                    \
            return;                                 \
        va_start(ap_, fmt);                         \
        vsnprintf(text_, sizeof text_, fmt, ap_);   \
        va_end(ap_);                                \
        emit((level), text_, (tail));               \
    } while (0)

void
log_error(const struct error *err, const char *fmt, ...)
{
    LOG_AT(LOG_LEVEL_ERROR, err->text);
}

void
log_warning(const char *fmt, ...)
{
    LOG_AT(LOG_LEVEL_WARNING, "");
}

void
log_notice(const char *fmt, ...)
{
    LOG_AT(LOG_LEVEL_NOTICE, "");
}

void
log_info(const char *fmt, ...)
{
    LOG_AT(LOG_LEVEL_INFO, "");
}

void
log_debug(const char *fmt, ...)
{
    LOG_AT(LOG_LEVEL_DEBUG, "");
}
