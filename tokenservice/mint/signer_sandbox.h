/*
 * signer_sandbox.h - what a serving signer may still ask of the kernel
 */
#pragma once

#include "lib/common/error.h"

/*
 * From here on: packets on descriptors that are open, writing to `files`, reading `links` at any place (descriptors),
 * memory, time, random numbers, and the end.  No file, socket, program, process or namespace is opened or made; a try
 * fails with EPERM.
 */
enum { SIGNER_SANDBOX_FILES = 3 };
int signer_sandbox(const int files[static SIGNER_SANDBOX_FILES], int links, struct error *err);
