/*
 * confirm.h - a question before what cannot be undone
 */
#pragma once

#include <stdbool.h>

#include "lib/common/error.h"

/*
 * 0: `yes` was said on the command line, or by whoever sits at the terminal.  ERROR_DENIED: not, or there is
 * no terminal to ask at.
 */
int confirm(bool yes, struct error *err, const char *question_fmt, ...) __attribute__((format(printf, 3, 4)));
