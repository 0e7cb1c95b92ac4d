/*
 * tpm_socket.h - a swtpm behind a Unix socket, with a limit to its silence
 *
 * tss2's own TCTI for "swtpm:path=..." waits for ever and wants the control socket too; this
 * one speaks only TPM commands and gives up in time.
 */
#pragma once

#include <stdbool.h>

#include <tss2/tss2_tcti.h>

#include "lib/common/error.h"

/* Connect to the socket `path`; a context for ESAPI. ERROR_SYSTEM: nobody listens there. */
int tpm_socket_open(const char *path, int silence_seconds, TSS2_TCTI_CONTEXT **ret,
                    struct error *err);
/* False: not a context of ours. */
bool tpm_socket_limit(TSS2_TCTI_CONTEXT *tcti, int silence_seconds);
/* False: not a context of ours. */
bool tpm_socket_close(TSS2_TCTI_CONTEXT *tcti);
