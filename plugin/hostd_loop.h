/*
 * hostd_loop.h - the daemon's life: open everything, loop, close everything
 */
#pragma once

#include "plugin/hostd.h"

/* Until SIGTERM or SIGINT (0), or until something that we can not be without fails (-1). */
int hostd_loop(const struct hostd_settings *settings, int ready_fd, struct error *err);
