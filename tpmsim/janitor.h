/*
 * janitor.h - a folder that goes when we go, however we go
 *
 * A small process waits for our end and removes the folder: also when we are killed outright.
 */
#pragma once

#include <sys/types.h>

#include "lib/common/cleanup.h"
#include "lib/common/error.h"

struct janitor;

/* `folder`: a private one of ours; everything in it is removed, links are not followed. */
int janitor_start(const char *folder, struct janitor **ret, struct error *err);
pid_t janitor_pid(const struct janitor *janitor);
/* Have it removed now, and wait. */
void janitor_end(struct janitor *janitor);
DEFINE_CLEANUP(struct janitor *, janitor_end);
