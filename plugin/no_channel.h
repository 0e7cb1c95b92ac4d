/*
 * no_channel.h - with manage=all: domains that are not managed, because they have no channel
 *
 * Only listed, for `virtid list`; nothing is kept or done for them.
 */
#pragma once

#include "lib/common/json.h"
#include "plugin/hostd.h"

void no_channel_sweep_begins(struct hostd *hostd);
void no_channel_sweep_ends(struct hostd *hostd);
/* It is there, without a channel. */
void no_channel_see(struct hostd *hostd, const struct domain *domain);
/* It is managed now, or gone. */
void no_channel_drop(struct hostd *hostd, const struct vm_uuid *uuid);
void no_channel_free(struct hostd *hostd);

/* {"domains":[{"uuid","name"}],"next"?}, those behind `after` (NULL: from the first) in the order of UUIDs. */
json_t *no_channel_page(const struct hostd *hostd, const struct vm_uuid *after, unsigned page);
