#include "config.h"

#include "tokenservice/api/pools.h"

#include <string.h>

int
pools_of_vm(struct service *s, const struct lease_record *lease, char ret[static NAME_POOL_MAX + 1], struct error *err)
{
    if (lease->hol[0])
        return store_pool_of(s->store, lease->hol, ret, err);
    memcpy(ret, lease->pool, sizeof lease->pool);
    return 0;
}

int
pools_keep_out(struct service *s, const struct lease_record *lease, const char *host, bool *ret, struct error *err)
{
    char wanted[NAME_POOL_MAX + 1], own[NAME_POOL_MAX + 1];

    *ret = false;
    if (strcmp(lease->hol, host) == 0) /* a renewal, most of the time */
        return 0;
    if (pools_of_vm(s, lease, wanted, err) < 0)
        return -1;
    if (wanted[0] == '\0')
        return 0;
    if (store_pool_of(s->store, host, own, err) < 0)
        return -1;
    *ret = strcmp(wanted, own) != 0;
    return 0;
}
