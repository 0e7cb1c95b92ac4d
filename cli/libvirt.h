/*
 * libvirt.h - the one file of the operator's tool that talks to libvirt
 */
#pragma once

#include <stdbool.h>
#include <stddef.h>

#include "cli/command.h"
#include "lib/common/cleanup.h"
#include "lib/wire/vm_uuid.h"

struct libvirt;

/* One domain an argument named. */
struct libvirt_domain {
    char name[256];
    char uuid[VM_UUID_TEXT];
    int id; /* -1: shut off */
    bool persistent;
};

/* ERROR_BUSY: libvirt cannot be reached. */
int libvirt_open(const char *uri, bool read_only, struct libvirt **ret, struct error *err);
void libvirt_close(struct libvirt *libvirt);
DEFINE_CLEANUP(struct libvirt *, libvirt_close);

/* Of the daemon and its QEMU: major * 1000000 + minor * 1000 + release. */
int libvirt_versions(struct libvirt *libvirt, unsigned long *ret_libvirt, unsigned long *ret_qemu,
                     struct error *err);

/*
 * All domains that `words` name (with no words all of them): an id, a UUID, a name, or a shell pattern.
 * *ret is yours (free). ERROR_MISSING: a word names none.
 */
int libvirt_find(struct libvirt *libvirt, char *const *words, size_t n_words,
                 struct libvirt_domain **ret, size_t *ret_n, struct error *err);

/* The persistent definition, with its passwords; free(). */
int libvirt_definition(struct libvirt *libvirt, const struct libvirt_domain *domain,
                       char **ret_xml, struct error *err);
int libvirt_define(struct libvirt *libvirt, const char *xml, struct error *err);
