/*
 * payload.h - the files that an injection brings into a guest, as a sealed memfd
 *
 * Always the trust bundle; with the agent also the program, its libraries, its
 * configuration, and in sections what starts it: systemd's unit, for guests that
 * have glibc; else its own loader and C library, and scripts for OpenRC or sysvinit.
 * No secret: the worker makes the key.  Form: lib/wire/priv_msg.h.
 */
#pragma once

#include <stdbool.h>

#include "lib/common/error.h"
#include "plugin/hostd.h"

int payload_make(const struct hostd_settings *settings, bool install_agent, int *ret_fd,
                 struct error *err);
