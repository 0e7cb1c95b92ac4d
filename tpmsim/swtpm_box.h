/*
 * swtpm_box.h - a fresh TPM in a box: private folder, EK certificates, running swtpm
 *
 * As an ordinary user, without fixed ports, any number at once.  The EK certificates are by a
 * simulator CA that lives as long as the box: only a trust domain made with --test takes it.
 */
#pragma once

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <sys/types.h>

#include "lib/common/cleanup.h"
#include "lib/common/error.h"
#include "plugin/vtpm/vtpm.h"

struct swtpm_box;

/*
 * `keep`: an empty or absent folder of at most 55 characters that stays when the box goes, or NULL
 * for a temporary one.  `swtpm`: program, or NULL for the one found at build time.
 */
int swtpm_box_new(const char *keep, const char *swtpm, struct swtpm_box **ret,
                  struct error *err);
/* Ends swtpm, removes a temporary folder. */
void swtpm_box_free(struct swtpm_box *box);
DEFINE_CLEANUP(struct swtpm_box *, swtpm_box_free);

const char *swtpm_box_tcti(const struct swtpm_box *box);
const char *swtpm_box_folder(const struct swtpm_box *box);
/* PEM file of the simulator CA. */
const char *swtpm_box_ca_file(const struct swtpm_box *box);
/* The same in DER; borrowed. */
void swtpm_box_ca(const struct swtpm_box *box, const uint8_t **ret, size_t *ret_len);
const struct vtpm_made *swtpm_box_made(const struct swtpm_box *box);
const struct vm_uuid *swtpm_box_uuid(const struct swtpm_box *box);
/* Of swtpm, or -1; and is this one of the box's own processes? */
pid_t swtpm_box_pid(const struct swtpm_box *box);
bool swtpm_box_owns(const struct swtpm_box *box, pid_t pid);

/* The machine is switched off and on: swtpm ends (killed outright with `hard`) and starts anew. */
int swtpm_box_reset(struct swtpm_box *box, bool hard, struct error *err);
