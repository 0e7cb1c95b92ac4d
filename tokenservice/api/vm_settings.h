/*
 * vm_settings.h - what an operator may change of an identity: owner, labels, floor,
 * audiences, restore
 */
#pragma once

#include <stdbool.h>

#include "lib/common/json.h"
#include "tokenservice/mint/identity_row.h"

/* ERROR_INPUT "bad-request": not such a value; ERROR_DENIED "floor": it would be
 * lowered; "conflict": it names what the account does not have. */
int vm_settings_change(const json_t *body, struct identity_row *row, struct error *err);

/* Does the VM list this audience among its own? */
bool vm_settings_list_audience(const struct identity_row *row, const char *audience);
