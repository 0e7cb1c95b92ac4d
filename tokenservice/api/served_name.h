/*
 * served_name.h - does a Host header name this listener? (CHECKS C10)
 *
 * Served are the names and addresses of the server certificate, and the host by which
 * the listener is advertised: of the issuer, in join codes, in the bundle.  The port is
 * not compared: whoever forwards one changes it, and no other server has our names.
 */
#pragma once

#include "tokenservice/api/route.h"

bool served_name(const struct service *service, enum route_listener on,
                 const char *host);
