/*
 * qmp.h - a few commands to the appliance's QEMU, with descriptors
 *
 * The other end is our own QEMU, which a hostile image may have taken over:
 * lines are bounded; "return" and "error" are looked at, and whether a disk of the host failed.
 */
#pragma once

#include <stdbool.h>

#include "lib/common/cleanup.h"
#include "lib/common/error.h"

struct qmp;

/* Connect and leave the negotiation.  `deadline_ms` (monotonic) holds for all commands. */
int qmp_open(const char *path, int64_t deadline_ms, struct qmp **ret_qmp, struct error *err);
void qmp_close(struct qmp *qmp);
DEFINE_CLEANUP(struct qmp *, qmp_close);

/* One command (a JSON text of ours), with a descriptor if `fd` >= 0.  ERROR_SYSTEM: QEMU refused or is silent. */
int qmp_do(struct qmp *qmp, const char *command, int fd, struct error *err);

/* Did a read or write of ours fail on the host?  *ret_full: for want of room, at least once.  The last call. */
bool qmp_io_failed(struct qmp *qmp, bool *ret_full);
