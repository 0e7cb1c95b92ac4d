/*
 * domain.h - what virtid needs to know of a libvirt domain, read from its XML
 *
 * The XML comes from libvirt, but people write it: no network, no entities,
 * bounded size and depth.  What is not understood is said (tpm kind OTHER, disk
 * type OTHER), never guessed.
 *
 * Not here: asking libvirt (libvirt_watch.h).
 */
#pragma once

#include <stdbool.h>
#include <stddef.h>

#include "lib/common/error.h"
#include "lib/wire/names.h"
#include "lib/wire/vm_uuid.h"

#define DOMAIN_MARKER_NAMESPACE "urn:virtid:domain:1"
#define DOMAIN_CHANNEL_NAME "org.virtid.0"

enum { DOMAIN_XML_MAX = 1 << 20, DOMAIN_DEPTH_MAX = 64, DOMAIN_PATH_MAX = 4096 };

enum domain_tpm {
    DOMAIN_TPM_NONE,
    DOMAIN_TPM_EMULATOR,  /* emulator, version 2.0, in the clear: ours to make */
    DOMAIN_TPM_ENCRYPTED, /* emulator 2.0 with <encryption> */
    DOMAIN_TPM_OTHER,     /* 1.2, passthrough, external */
};

enum domain_disk {
    DOMAIN_DISK_NONE,
    DOMAIN_DISK_FILE,
    DOMAIN_DISK_BLOCK,
    DOMAIN_DISK_NETWORK,
    DOMAIN_DISK_OTHER, /* dir, volume, nvme, vhostuser... */
};

struct domain {
    struct vm_uuid uuid;
    char name[NAME_DOMAIN_MAX + 1];
    bool marker;                  /* <virtid:identity xmlns:virtid="urn:virtid:domain:1"/> */
    bool channel;                 /* virtio channel org.virtid.0 of type unix */
    bool channel_connected;       /* live XML: the guest has the port open */
    char channel_path[108];       /* live XML only, else "" */
    enum domain_tpm tpm;
    bool tpm_persistent;          /* persistent_state='yes' */
    enum domain_disk disk;        /* the first disk that is a disk, not a cdrom or floppy */
    char disk_format[16];         /* driver type: raw, qcow2, ...; "" if not given */
    char disk_path[DOMAIN_PATH_MAX + 1];
    char genid[VM_UUID_TEXT];     /* <genid>; "" if none, or not made yet */
    bool disk_readonly, disk_transient, disk_backing_given, disk_encrypted;
};

/* ERROR_INPUT: no well-formed <domain>, too long or deep, an entity, no uuid, a bad name. */
int domain_parse(const char *xml, size_t len, struct domain *ret, struct error *err);

const char *domain_tpm_name(enum domain_tpm tpm);
const char *domain_disk_name(enum domain_disk disk);
