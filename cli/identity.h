/*
 * identity.h - the identities that a command's arguments name, as the service knows them
 */
#pragma once

#include <stddef.h>

#include "cli/command.h"
#include "lib/common/json.h"

/*
 * All identities of the service, page by page; *ret_list is a JSON array of the objects of
 * GET /v1/admin/vms, yours.
 */
int identity_list(const struct cli *cli, json_t **ret_list, struct error *err);

/*
 * Those that `words` name (UUID, name or pattern; with no words all).
 * ERROR_MISSING: a word names none.
 */
int identity_find(const struct cli *cli, char *const *words, size_t n_words,
                  json_t **ret_list, struct error *err);

/* One identity in full: GET /v1/admin/vms/UUID. */
int identity_read(const struct cli *cli, const char *uuid, json_t **ret, struct error *err);

/* "host+vtpm+secret" from an array of texts. */
const char *identity_join(const json_t *array, char *ret, size_t room);
