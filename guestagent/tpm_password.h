/*
 * tpm_password.h - the endorsement hierarchy's password, from a file that only root reads
 *
 * The guest's owner may have given the hierarchy one.  It is named to the agent by a file (agent.conf,
 * endorsement_password_file), never by argv or environment, and read anew for each proof.
 */
#pragma once

#include "lib/common/error.h"
#include "lib/common/secret.h"

/*
 * The file's bytes without a newline at its end.  ERROR_MISSING: no such file.  ERROR_DENIED, problem
 * tpm-endorsement-auth: not a regular file of this user with no rights for others, or not 1 to 64 bytes.
 */
int tpm_password_read(const char *path, struct secret **ret, struct error *err);
