/*
 * grace_end.h - what changes when the service has heard its hosts again after a start
 */
#pragma once

#include "tokenservice/api/service_state.h"

/*
 * Once, at the first request after the grace period: the candidates of all hand-overs under way sign in new
 * epochs, in the old order (PROTOCOL-LEASE 2, grace; mutant REJOIN of the model).  Nothing else of the
 * record changes.
 */
int grace_end(struct service *service, int64_t now_ms, struct error *err);
