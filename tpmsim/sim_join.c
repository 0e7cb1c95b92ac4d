#include "config.h"

#include "tpmsim/sim_join.h"

#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "lib/common/fdio.h"
#include "lib/common/log.h"
#include "plugin/enroll/enroll.h"

enum { CODE_MAX = 1024 };

static void
say_waiting(void *context, const char *fingerprint)
{
    const char *name = context;

    log_notice("event=waiting host=%s fingerprint=%s for: virtid host approve %s", name,
               fingerprint, name);
}

int
sim_join(const char *folder, const char *name, int64_t deadline_ms, struct error *err)
{
    CLEANUP(buf_clear) struct buf code = BUF(CODE_MAX);
    char *own = NULL;
    int failed;

    if (!name)
        return error_set(err, ERROR_INPUT,
                         "this host has not joined yet: --host NAME, and the "
                         "code of \"virtid host add NAME\" on standard input");
    if (isatty(STDIN_FILENO))
        fputs("Join code (from `virtid host add`), then Ctrl-D: ", stderr);
    if (fd_read_to_end(STDIN_FILENO, &code, err) < 0)
        return error_wrap(err, "join code");
    if (!buf_text(&code) || strlen(buf_text(&code)) != code.len || code.len == 0)
        return error_set(err, ERROR_INPUT,
                         "no join code on standard input (virtid host add %s)", name);
    own = strdup(name);
    if (!own)
        return error_sys(err, ENOMEM, "join");
    failed = enroll_join(folder, name, buf_text(&code), true, deadline_ms,
                         say_waiting, own, err);
    free(own);
    if (failed == 0)
        log_notice("event=joined host=%s", name);
    return failed;
}
