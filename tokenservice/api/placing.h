/*
 * placing.h - before an operator's word gives a VM to a host
 *
 * docs/PROTOCOL-lease.md, 2, PLACE: the host is asked first, since what it has to say of earlier runs
 * must not arrive behind the placement.
 */
#pragma once

#include "tokenservice/api/vm_account.h"

enum placing_state {
    PLACING_ASKED,  /* the call is parked: leave it as it is, it comes again */
    PLACING_READY,  /* the host has said all that it has to say, or has never spoken of this VM */
    PLACING_SILENT, /* it does not answer, and has spoken of this VM before */
};

/* ERROR_MISSING "not-found", ERROR_DENIED "conflict": no host that has joined. */
int placing_check_host(struct service *service, const char *name, struct store_host *ret, struct error *err);

/* Ask `host` for a report of this VM; within a transaction, which PLACING_ASKED is to leave undone. */
int placing_ask(struct service *service, struct api_call *call, const struct vm_account *account,
                const char *host, enum placing_state *ret, struct error *err);
