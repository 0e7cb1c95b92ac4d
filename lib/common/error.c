#include "config.h"

#include "lib/common/error.h"

#include <stdarg.h>
#include <stdio.h>
#include <string.h>

/* Write prefix + tail into err->text; the tail may be err->text itself. */
__attribute__((format(printf, 3, 0))) static void
compose(struct error *err, const char *tail, const char *fmt, va_list ap)
{
    char text[sizeof err->text];
    int n = vsnprintf(text, sizeof text, fmt, ap);
    size_t used = n < 0 ? 0 : (size_t)n;

    if (used < sizeof text && *tail)
        used += (size_t)snprintf(text + used, sizeof text - used, ": %s", tail);
    if (used >= sizeof text)
        strcpy(text + sizeof text - sizeof "...", "...");
    memcpy(err->text, text, sizeof text);
}

int
error_set(struct error *err, enum error_code code, const char *fmt, ...)
{
    va_list ap;

    va_start(ap, fmt);
    compose(err, "", fmt, ap);
    va_end(ap);
    err->code = code;
    err->retry_s = 0;
    err->problem[0] = '\0';
    return -1;
}

int
error_sys(struct error *err, int errnum, const char *fmt, ...)
{
    va_list ap;

    va_start(ap, fmt);
    compose(err, strerror(errnum), fmt, ap);
    va_end(ap);
    err->code = ERROR_SYSTEM;
    err->retry_s = 0;
    err->problem[0] = '\0';
    return -1;
}

int
error_problem(struct error *err, enum error_code code, const char *problem,
              const char *fmt, ...)
{
    va_list ap;

    va_start(ap, fmt);
    compose(err, "", fmt, ap);
    va_end(ap);
    err->code = code;
    err->retry_s = 0;
    snprintf(err->problem, sizeof err->problem, "%s", problem);
    return -1;
}

int
error_wrap(struct error *err, const char *fmt, ...)
{
    va_list ap;

    va_start(ap, fmt);
    compose(err, err->text, fmt, ap);
    va_end(ap);
    return -1;
}
