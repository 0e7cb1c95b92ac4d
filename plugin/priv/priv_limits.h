/*
 * priv_limits.h - what the root half gives up before it serves
 */
#pragma once

#include "lib/common/error.h"

/*
 * No network (a namespace of its own), no capability but those the table needs, orphans of the
 * worker become our children.  ERROR_SYSTEM: one of them failed.  Without root only the last.
 */
int priv_limits_drop(struct error *err);
