/*
 * arriving.h - a VM that comes by live migration (PROTOCOL-LEASE 5, hook `migrate begin`)
 *
 * libvirt calls `migrate` and then `prepare` here; the memory arrives later (event Resumed Migrated).  The
 * service is asked for a hand-over before anything begins, so that a refusal costs nothing: the guest runs on at
 * its source.  What decides is the guest's own proof, when it runs here.
 */
#pragma once

#include "plugin/hookd.h"
#include "plugin/hostd.h"

void arriving_begin(struct vm *vm, struct hook_call *call);
/* `prepare` of a VM that is incoming. */
void arriving_prepare(struct vm *vm, struct hook_call *call);
/* The hook's mark announces one, whose `prepare` is awaited: let in by nobody, without an epoch. */
void arriving_missed(struct vm *vm);
/* The journal was read: was one let in, and has not begun? */
void arriving_loaded(struct vm *vm);
/* It was announced and did not come. */
void arriving_failed(struct vm *vm);
/* libvirt has its definition here, without `prepare`: it was moved while it was off, and no memory follows. */
void arriving_defined(struct vm *vm);
/* libvirt shows an incoming migration that its hook has not announced. */
void arriving_unasked(struct vm *vm);
/* Its memory is here, and it runs. */
void arriving_resumed(struct vm *vm);
