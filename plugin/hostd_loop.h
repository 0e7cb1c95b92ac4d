/*
 * hostd_loop.h - the daemon's life: open everything, loop, close everything
 */
#pragma once

#include "plugin/hostd_conf.h"

/*
 * Until SIGTERM or SIGINT (0), or until something that we can not be without fails (-1).  Hooks and operators that wait
 * have their answers before, unless that takes more than DRAIN_MS or the signal comes again.  SIGHUP changes *conf.
 */
int hostd_loop(struct hostd_conf *conf, int ready_fd, struct error *err);
