#include "config.h"

#include "plugin/join.h"

#include <stdint.h>
#include <stdio.h>
#include <string.h>
#include <unistd.h>

#include "lib/common/clock.h"
#include "lib/common/fdio.h"
#include "plugin/enroll/enroll.h"
#include "plugin/enroll/join_message.h"

static void
show_fingerprint(void *context, const char *fingerprint)
{
    const char *name = context;

    printf("host         %s\n"
           "fingerprint  %s\n"
           "waiting for approval: compare the fingerprint, then run `virtid host approve %s`\n",
           name, fingerprint, name);
    fflush(stdout);
}

int
join_run(const char *state_dir, const char *host_name, int wait_seconds, struct error *err)
{
    CLEANUP(buf_clear) struct buf code = BUF(JOIN_CODE_MAX + 8);
    int64_t deadline = clock_monotonic_ms() + (int64_t)wait_seconds * 1000;

    if (isatty(STDIN_FILENO))
        fputs("Join code (from `virtid host add`), then Ctrl-D: ", stderr);
    if (fd_read_to_end(STDIN_FILENO, &code, err) < 0 || !buf_text(&code))
        return error_wrap(err, "join code");
    if (strlen(buf_text(&code)) != code.len)
        return error_set(err, ERROR_INPUT, "the join code holds a NUL byte");
    if (enroll_join(state_dir, host_name, buf_text(&code), false, deadline, show_fingerprint,
                    (void *)(uintptr_t)host_name, err) < 0)
        return -1;
    printf("joined as %s\n", host_name);
    return 0;
}
