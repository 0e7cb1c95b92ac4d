/*
 * table.h - results as virsh prints them, or as one JSON value
 */
#pragma once

#include <stddef.h>

#include "lib/common/cleanup.h"
#include "lib/common/error.h"

struct table;

/* `columns`: headings, ends with NULL; borrowed. */
int table_new(const char *const *columns, struct table **ret, struct error *err);
void table_free(struct table *table);
DEFINE_CLEANUP(struct table *, table_free);
/* One cell for each column; control characters are shown as \xNN. */
int table_row(struct table *table, const char *const *cells, struct error *err);
/* Heading, rule, rows, empty line. */
int table_print(struct table *table, struct error *err);

/* " Name:           value" as virsh dominfo does. */
void table_pair(const char *name, const char *value);
