#include "config.h"

#include "cli/table.h"

#include <errno.h>
#include <libsmartcols.h>
#include <stdbool.h>
#include <stdio.h>
#include <string.h>

struct table {
    struct libscols_table *lines;
    size_t n_columns;
};

int
table_new(const char *const *columns, struct table **ret, struct error *err)
{
    CLEANUP(table_free) struct table *table = calloc(1, sizeof *table);

    if (!table || !(table->lines = scols_new_table()))
        return error_sys(err, ENOMEM, "table");
    scols_table_set_column_separator(table->lines, "   ");
    for (; columns[table->n_columns]; table->n_columns++) {
        if (!scols_table_new_column(table->lines, columns[table->n_columns], 0, 0))
            return error_sys(err, ENOMEM, "table");
    }
    *ret = STEAL(table);
    return 0;
}

void
table_free(struct table *table)
{
    if (!table)
        return;
    scols_unref_table(table->lines);
    free(table);
}

int
table_row(struct table *table, const char *const *cells, struct error *err)
{
    struct libscols_line *line = scols_table_new_line(table->lines, NULL);

    if (!line)
        return error_sys(err, ENOMEM, "table");
    for (size_t i = 0; i < table->n_columns; i++) {
        if (scols_line_set_data(line, i, *cells[i] ? cells[i] : "-") != 0)
            return error_sys(err, ENOMEM, "table");
    }
    return 0;
}

static size_t
longest_line(const char *text)
{
    size_t longest = 0;

    while (*text) {
        size_t len = strcspn(text, "\n");

        if (len > longest)
            longest = len;
        text += len + (text[len] == '\n');
    }
    return longest;
}

int
table_print(struct table *table, struct error *err)
{
    CLEANUP(mem_free) char *text = NULL;
    bool heading = true;

    if (scols_table_is_empty(table->lines)) {
        puts(" (none)\n");
        return 0;
    }
    if (scols_print_table_to_string(table->lines, &text) != 0 || !text)
        return error_sys(err, ENOMEM, "table");
    for (const char *at = text; *at;) {
        size_t len = strcspn(at, "\n"), shown = len;

        while (shown > 0 && at[shown - 1] == ' ')
            shown--;
        printf(" %.*s\n", (int)shown, at);
        if (heading) {
            for (size_t i = longest_line(text) + 2; i > 0; i--)
                putchar('-');
            putchar('\n');
            heading = false;
        }
        at += len + (at[len] == '\n');
    }
    putchar('\n');
    return 0;
}

void
table_pair(const char *name, const char *value)
{
    char label[64];

    snprintf(label, sizeof label, "%s:", name);
    printf("%-18s %s\n", label, value);
}
