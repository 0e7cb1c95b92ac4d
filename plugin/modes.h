/*
 * modes.h - what becomes of a VM without a lease: loose starts, strict does not, observe is left alone
 *
 * Operators set a VM's mode where the service is; it comes with every answer
 * and is journalled, so that it holds while the service is away.  For a
 * strict VM a file lies in strict_dir: the hook looks there when this daemon
 * is silent.
 */
#pragma once

#include "plugin/hostd.h"

/* The service's word. */
void modes_take(struct vm *vm, enum lease_mode mode);
/* Another mode for those of whom the service has said nothing. */
void modes_of_host(struct hostd *hostd, enum lease_mode mode);
/* Put the file there or take it away, as the mode says now. */
void modes_mark(const struct vm *vm);
