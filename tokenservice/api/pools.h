/*
 * pools.h - for which hosts a VM is, as operators listed them
 *
 * docs/DECISIONS/021.  A VM's pool is that of the host which has it or had it last; of one whose host was fenced it is
 * in the record (lease_record.pool), so that a change of the lists opens it to nobody else.
 */
#pragma once

#include "tokenservice/api/service_state.h"

/* "": it is for any host. */
int pools_of_vm(struct service *service, const struct lease_record *lease, char ret[static NAME_POOL_MAX + 1],
                struct error *err);

/* Is `host` not of the pool that the VM is for? */
int pools_keep_out(struct service *service, const struct lease_record *lease, const char *host, bool *ret,
                   struct error *err);
