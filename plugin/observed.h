/*
 * observed.h - the bounded record of what would have been, one file per VM
 *
 * <state_dir>/observed/UUID.json, the newest OBSERVED_MAX words.  It is told
 * to operators (`virtid report`) and decides nothing: a file that can not be
 * read is as good as none.
 */
#pragma once

#include "lib/common/json.h"
#include "lib/wire/vm_uuid.h"

enum { OBSERVED_MAX = 16, OBSERVED_TEXT_MAX = 255, OBSERVED_WORD_MAX = 15 };

struct observed_word {
    int64_t ms; /* UTC; of the last time, if it was so several times in a row */
    int64_t times;
    char step[OBSERVED_WORD_MAX + 1];  /* "start", "lease", "vtpm", "inject", "migrate" */
    char would[OBSERVED_WORD_MAX + 1]; /* "done", "skipped", "allowed", "refused" */
    char text[OBSERVED_TEXT_MAX + 1];
};

struct observed {
    size_t n;
    struct observed_word words[OBSERVED_MAX]; /* oldest first */
};

/* The oldest goes when it is full; what was said last of the same step is not said twice. */
void observed_add(struct observed *o, const char *step, const char *would, const char *text, int64_t now_ms);

json_t *observed_show(const struct observed *o);

/* ERROR_MISSING: there is none. */
int observed_load(const char *state_dir, const struct vm_uuid *uuid, struct observed *ret, struct error *err);
int observed_save(const char *state_dir, const struct vm_uuid *uuid, const struct observed *o, struct error *err);
void observed_forget(const char *state_dir, const struct vm_uuid *uuid);
