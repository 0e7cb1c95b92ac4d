/*
 * qcow2_header.h - what a qcow2 file says about itself, read from its first bytes
 *
 * The header is writable by the guest's administrator: nothing in it is
 * believed but the name of the next file, and that one privd checks.
 *
 * Not here: clusters (QEMU reads those, in the appliance's process).
 */
#pragma once

#include <stddef.h>
#include <stdint.h>

#include "lib/common/error.h"
#include "lib/wire/inject_msg.h"

enum { QCOW2_HEADER_READ = 65536 /* the header lies in the first cluster, 64 KiB at least is looked at */ };

struct qcow2_header {
    uint32_t version;
    uint64_t size;                          /* of the disk inside, in bytes */
    char backing[INJECT_NAME_MAX + 1];      /* "" none */
    char backing_format[8];                 /* "raw", "qcow2" */
};

/*
 * `bytes` is the front of the file.  ERROR_DENIED with a problem name: image-format (no qcow2, a data
 * file outside, unknown incompatible features, marked corrupt or dirty), image-encrypted, image-chain (a
 * backing name without its format, a protocol or json: name, another format than raw or qcow2).
 */
int qcow2_header_read(const uint8_t *bytes, size_t len, struct qcow2_header *ret,
                      struct error *err);
