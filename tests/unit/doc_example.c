#include "config.h"

#include "tests/unit/doc_example.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stdbool.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

#include "lib/common/encode.h"

size_t
doc_example(const char *page, const char *name, uint8_t *ret, size_t max)
{
    const char *top = getenv("srcdir");
    char path[512], line[20000], wanted[64];
    struct error err = { 0 };
    size_t len = 0;
    int found = 0;
    bool fenced = false;
    FILE *file;

    snprintf(path, sizeof path, "%s/docs/%s", top ? top : ".", page);
    snprintf(wanted, sizeof wanted, "%s ", name);
    file = fopen(path, "r");
    assert_non_null(file);
    while (fgets(line, sizeof line, file)) {
        const char *hex = line + strlen(wanted);

        if (strncmp(line, "```", 3) == 0)
            fenced = !fenced;
        if (!fenced || strncmp(line, wanted, strlen(wanted)) != 0)
            continue;
        line[strcspn(line, "\n")] = '\0';
        assert_int_equal(hex_decode(hex, strlen(hex), ret, max, &len, &err), 0);
        found++;
    }
    fclose(file);
    assert_int_equal(found, 1);
    return len;
}
