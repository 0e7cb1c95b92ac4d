/*
 * privd_link.h - the worker's side of its socket to privd (lib/wire/inject_msg.h)
 */
#pragma once

#include "lib/common/error.h"
#include "lib/wire/inject_msg.h"

/* The first packet: what is to be done. */
int privd_link_job(int privd, struct inject_msg *ret, struct error *err);

/* The next file of the chain, by its name in the header; *ret_fd is yours.  ERROR_DENIED: privd's reason. */
int privd_link_next(int privd, const char *name, int *ret_fd, struct error *err);

/* "Looked at and found good": returns when we may write. ERROR_DENIED: privd gave it up. */
int privd_link_ready(int privd, struct error *err);

/* The last packet. */
int privd_link_done(int privd, const struct inject_msg *done, struct error *err);
