/*
 * made.h - is what was made for a VM still there?
 *
 * A VM that is undefined loses its TPM (libvirt removes it), and the disk of the next one of its UUID
 * may be another.  While the daemon or libvirt's connection was down nobody has told: such a VM is in
 * doubt, until virtid-privd says that the TPM which was placed lies there still.  The account of a VM that has
 * proved itself does not follow what is made here (docs/DECISIONS/012).  Of each the TPM is asked about when it is to
 * be started, and where there is none a new one is made, which the service takes, of a VM that has proved itself, by an
 * operator's word alone (docs/DECISIONS/020).
 */
#pragma once

#include <stdbool.h>

struct hostd;
struct vm;

/* It may have been undefined and defined again since it was looked at. */
void made_doubt(struct vm *vm);

/* It is to be started: is its TPM still there?  Whether it has proved itself may not have come to us yet. */
void made_doubt_tpm(struct vm *vm);

/* Its TPM was made after the service had taken another one. */
bool made_tpm_anew(const struct vm *vm);

/* A run of it was seen: whatever TPM is there now, nobody can tell any more whether it is the one being placed. */
void made_ran(struct vm *vm);

/*
 * It goes with the definition: everything will be made again, and told to the service as a whole.
 * What has run or proved itself stays; a provisioning under way is forgotten when it ends.
 */
void made_forget(struct vm *vm);

/* The disk that was written is not the one it has now: what is in that one, nobody knows. */
void made_compare_disk(struct vm *vm);

/*
 * Asks about the next VM in doubt that is off.  true: `vm` is being asked about, and
 * starting_provisioned() follows.
 */
bool made_look(struct vm *vm);
