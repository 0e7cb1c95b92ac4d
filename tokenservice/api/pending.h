/*
 * pending.h - a host may claim only so many VMs that have not proved themselves
 *
 * Anybody who has joined can make UUIDs up; each is a row.  A host with more than that
 * many gives up those that are off, longest unheard first: nothing but what it said of
 * them itself is lost, and it says that again (docs/DECISIONS/004).
 */
#pragma once

#include "tokenservice/api/route.h"

/* A quarter of the VMs that a host daemon takes on: machines without an agent, and
 * those provisioned for later. */
enum { PENDING_PER_HOST_MAX = 1000 };

/* For one more, in the transaction that makes it.  *ret_has_room false: recorded, and
 * there will be none before VMs of this host end or prove themselves. */
int pending_make_room(struct service *service, struct api_call *call,
                      bool *ret_has_room, struct error *err);
