/*
 * listen_address.h - where a listening socket really listens, after "port 0"
 */
#pragma once

#include "lib/common/error.h"

/* "127.0.0.1:8443", "[::1]:8443" */
int listen_address_of(int fd, char ret[static 64], struct error *err);
