/*
 * hook_ask.h - one question to the host daemon, and how long to believe in it
 *
 * Every line from the daemon resets the silence deadline; the whole wait is
 * bounded too, so that no daemon can hold a start for ever.
 *
 * Not here: what a silent daemon means for this VM (hook.c).
 */
#pragma once

#include <stdint.h>

#include "lib/common/buf.h"
#include "lib/wire/hook_msg.h"

enum { HOOK_TOTAL_MS = 120000 };

enum hook_outcome {
    HOOK_ANSWERED_GO,
    HOOK_ANSWERED_NO,
    HOOK_SILENT, /* no daemon, no word for HOOK_SILENCE_MS, or nonsense */
};

/* Send `message` to the socket at `path` and, with `wait`, listen for the verdict. */
enum hook_outcome hook_ask(const char *path, const struct buf *message, bool wait,
                           char ret_reason[static HOOK_REASON_MAX + 1]);
