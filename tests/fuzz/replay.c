/*
 * Runs a fuzz target without a fuzzer: every file named on the command line (or in
 * tests/data/fuzz/TARGET), and for each some thousand seeded mutations, so that plain
 * `make check` finds what a small change broke.
 */
#include "config.h"

#include <dirent.h>
#include <libgen.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

enum { INPUT_MAX = 1 << 17, MUTATIONS = 2000 };

static uint64_t state = 0x9e3779b97f4a7c15u;

static uint32_t
next_random(void)
{
    state ^= state << 13;
    state ^= state >> 7;
    state ^= state << 17;
    return (uint32_t)(state >> 32);
}

/* A copy on the heap of exactly this size, so that ASan sees a read behind it. */
static void
run_exact(const uint8_t *bytes, size_t len)
{
    uint8_t *copy = malloc(len ? len : 1);

    if (!copy)
        abort();
    memcpy(copy, bytes, len);
    LLVMFuzzerTestOneInput(copy, len);
    free(copy);
}

static void
run_mutations(const uint8_t *bytes, size_t len)
{
    static uint8_t changed[INPUT_MAX];

    for (int i = 0; i < MUTATIONS && len > 0; i++) {
        size_t n = len;

        memcpy(changed, bytes, len);
        for (uint32_t edits = 1 + next_random() % 4; edits > 0; edits--) {
            size_t at = next_random() % n;

            switch (next_random() % 4) {
            case 0:
                changed[at] ^= (uint8_t)(1u << (next_random() % 8));
                break;
            case 1:
                changed[at] = (uint8_t)next_random();
                break;
            case 2:
                n = at + 1;
                break;
            default:
                memmove(changed + at, changed + at / 2, n - at);
            }
        }
        run_exact(changed, n);
    }
}

static int
run_file(const char *path)
{
    static uint8_t bytes[INPUT_MAX];
    FILE *file = fopen(path, "rb");
    size_t len;

    if (!file) {
        perror(path);
        return -1;
    }
    len = fread(bytes, 1, sizeof bytes, file);
    fclose(file);
    run_exact(bytes, len);
    run_mutations(bytes, len);
    return 0;
}

static int
is_visible(const struct dirent *entry)
{
    return entry->d_name[0] != '.';
}

/* In the order of their names: the mutations of each are then the same everywhere. */
static int
run_folder(const char *folder)
{
    struct dirent **names = NULL;
    int n = scandir(folder, &names, is_visible, alphasort), failed = 0;

    if (n < 0) {
        perror(folder);
        return -1;
    }
    for (int i = 0; i < n; i++) {
        char path[4096 + 256];

        snprintf(path, sizeof path, "%s/%s", folder, names[i]->d_name);
        free(names[i]);
        failed |= run_file(path) < 0;
    }
    free(names);
    return failed || n == 0 ? -1 : n;
}

int
main(int argc, char **argv)
{
    char folder[4096], name[256];
    const char *top = getenv("srcdir");
    int n = 0;

    for (int i = 1; i < argc; i++)
        n += run_file(argv[i]) == 0;
    if (argc == 1) {
        snprintf(name, sizeof name, "%s", basename(argv[0]));
        if (strlen(name) > 5 && strcmp(name + strlen(name) - 5, "_fuzz") == 0)
            name[strlen(name) - 5] = '\0';
        if (strncmp(name, "lt-", 3) == 0)
            memmove(name, name + 3, strlen(name) - 2);
        snprintf(folder, sizeof folder, "%s/tests/data/fuzz/%s", top ? top : ".", name);
        n = run_folder(folder);
    }
    run_exact((const uint8_t *)"", 0);
    printf("%s 1 - corpus_replayed (%d inputs, %d mutations each)\n1..1\n",
           n > 0 ? "ok" : "not ok", n, MUTATIONS);
    return n > 0 ? 0 : 1;
}
