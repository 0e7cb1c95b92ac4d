/*
 * vm_walk.h - at which step does this VM stand, what was seen, what repairs it
 *
 * The host's half of `virtid why`; the service tells the rest.
 */
#pragma once

#include "lib/common/json.h"
#include "plugin/hostd.h"

/* One line of a list. */
json_t *vm_walk_summary(const struct vm *vm);
/* The summary with "steps": [{"step","state","seen","expected"?,"repair"?}]. */
json_t *vm_walk(const struct vm *vm);
/* The daemon itself. */
json_t *vm_walk_status(const struct hostd *hostd);
