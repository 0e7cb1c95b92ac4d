#include "config.h"

#include "cli/confirm.h"

#include <stdarg.h>
#include <stdio.h>
#include <unistd.h>

int
confirm(bool yes, struct error *err, const char *question_fmt, ...)
{
    char line[8] = "";
    va_list ap;

    if (yes)
        return 0;
    if (!isatty(STDIN_FILENO))
        return error_set(err, ERROR_DENIED, "not confirmed; say --yes");
    va_start(ap, question_fmt);
    vprintf(question_fmt, ap);
    va_end(ap);
    fputs(" [y/N] ", stdout);
    fflush(stdout);
    if (fgets(line, sizeof line, stdin) && (line[0] == 'y' || line[0] == 'Y'))
        return 0;
    return error_set(err, ERROR_DENIED, "not confirmed");
}
