/*
 * no_right.h - a guest runs here that is another host's, or nobody's any more
 *
 * It is said, and it gets no tokens: that is all, unless the service says definitely that another host took it after this
 * one was fenced.  Then virtid-privd is asked to do what root's configuration says (docs/DECISIONS/021).
 */
#pragma once

#include "lib/wire/lease_msg.h"
#include "plugin/hostd.h"

/* The service has answered what we said of it, `view`. */
void no_right_consider(struct vm *vm, enum lease_view view);
