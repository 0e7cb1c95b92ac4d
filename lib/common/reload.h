/*
 * reload.h - a daemon that goes on with another configuration: SIGHUP, and the line that says what came of it
 *
 * Policy is taken, as each daemon lists it; paths, sockets and users stay until a restart.  A file that would not be
 * taken at a start is refused as a whole, and the daemon goes on with what it has.
 */
#pragma once

#include "lib/common/conf.h"

/* A SIGHUP waits from here on: first in main(), so that none ends a daemon that only begins. */
void reload_hold(void);
/* ... and is delivered to this thread from here on.  Its handler is there. */
void reload_let(void);

/*
 * Settings of `fresh` that are in `live` (names as declared, ends with NULL) and differ are moved into `running`, and
 * their texts are other ones from here on; the others keep theirs.  "event=reload" tells both by name.
 */
void reload_take(const char *path, struct conf *running, struct conf *fresh, const char *const *live);
/* "event=reload" with what is wrong. */
void reload_refused(const struct error *err);
