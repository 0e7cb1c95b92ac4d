/*
 * reverted.h - what libvirt shows of a state that was put back
 *
 * A snapshot that is reverted, a memory that is restored, a <genid> that is not the one of the definition: noted
 * in the VM's record until the token service has heard of it (lease.h tells it), for `virtid why` and the audit.
 * It is evidence: what an older disk or TPM shows is judged by the guest's proof, whatever was seen or not here.
 *
 * Not here: reverts that libvirt does not show (a file that was copied back, `qemu-img snapshot -a`).
 */
#pragma once

#include "plugin/domain/domain.h"
#include "plugin/hostd.h"

/* One more of SAW_*. Durable when it returns, or the daemon ends. */
void reverted_note(struct vm *vm, enum lease_saw saw);

/*
 * libvirt shows the running domain, and as what it will start the next time (NULL: not asked, or it has no next).
 * Its <genid> is another one than that when its memory or disk was put back.
 */
void reverted_see_genid(struct vm *vm, const struct domain *live, const struct domain *next);

/* SAW_* to be told now, under the number record.saw_seq, which is durable then: 0 while more of the same may come. */
unsigned reverted_tell(struct vm *vm, int64_t now_ms);

/* The service has heard all up to this number.  True: the record changed, and is not saved yet. */
bool reverted_acknowledged(struct vm *vm, uint64_t acked_seq);
