/*
 * agent_rig_service.h - the small token service behind the rig's channel
 */
#pragma once

#include "tests/flow/agent_rig.h"

/* Serve one connection on a thread of its own. */
void rig_service_start(struct rig *r, int take_fd);
/* Until no connection is open. */
void rig_service_wait(struct rig *r);
