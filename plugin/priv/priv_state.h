/*
 * priv_state.h - is there a managed save of this domain?
 *
 * Its memory already holds the filesystem: such a disk is not written to.
 */
#pragma once

#include <stdbool.h>

#include "lib/common/error.h"
#include "plugin/priv/priv_settings.h"

int priv_state_saved(const struct priv_settings *s, const char *name, bool *ret_saved,
                     struct error *err);
