/*
 * signer_sandbox.h - what a serving signer may still ask of the kernel
 */
#pragma once

#include "lib/common/error.h"

/*
 * From here on: packets on descriptors that are open, writing to `key_file` and `ca_file` (descriptors), reading the latter, memory, time,
 * random numbers, and the end.  No file, socket, program, process or namespace is opened or made; a try fails with EPERM.
 */
int signer_sandbox(int key_file, int ca_file, struct error *err);
