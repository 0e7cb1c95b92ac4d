/*
 * channels.h - every running managed VM has its channel connected
 *
 * privd opens the socket after it has seen that QEMU of this very domain is
 * behind it; a lost one is opened again while the VM runs.
 */
#pragma once

#include "plugin/hostd.h"

/* Connect if it should be and is not. */
void channels_consider(struct vm *vm);
/* New bundle or identity: everybody hears HELLO. */
void channels_hello_all(struct hostd *hostd);
/* Agents whose bundle is behind still are brought forward. */
void channels_look(struct hostd *hostd);
/* A key that signs tokens was revoked at this time (0: not lately): every agent is told, once. */
void channels_tell_stale(struct hostd *hostd, int64_t since_ms);
