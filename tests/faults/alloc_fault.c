#include "config.h"

#include "tests/faults/alloc_fault.h"

#include <errno.h>
#include <malloc.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#ifdef __SANITIZE_ADDRESS__
#include <sanitizer/lsan_interface.h>
#define REAL(name) __interceptor_##name
#else
#define REAL(name) __libc_##name
#endif

enum { EVERY = 499, LEAKS_EVERY = 500 };

void *REAL(malloc)(size_t size);
void *REAL(calloc)(size_t n, size_t size);
void *REAL(realloc)(void *old, size_t size);

/* Only the thread that tries: whoever serves it has its memory. */
static __thread unsigned counted, fails_at;
static __thread bool is_counting, from_there_on;

static bool
fails(void)
{
    if (!is_counting)
        return false;
    counted++;
    if (counted != fails_at && !(from_there_on && fails_at && counted > fails_at))
        return false;
    errno = ENOMEM;
    return true;
}

/* ---- libc's names ---- */

void *
malloc(size_t size)
{
    return fails() ? NULL : REAL(malloc)(size);
}

void *
calloc(size_t n, size_t size)
{
    return fails() ? NULL : REAL(calloc)(n, size);
}

void *
realloc(void *old, size_t size)
{
    return fails() ? NULL : REAL(realloc)(old, size);
}

void *
reallocarray(void *old, size_t n, size_t size)
{
    size_t bytes;

    if (__builtin_mul_overflow(n, size, &bytes)) {
        errno = ENOMEM;
        return NULL;
    }
    return realloc(old, bytes);
}

char *
strndup(const char *text, size_t max)
{
    size_t len = strnlen(text, max);
    char *copy = malloc(len + 1);

    if (!copy)
        return NULL;
    memcpy(copy, text, len);
    copy[len] = '\0';
    return copy;
}

char *
strdup(const char *text)
{
    return strndup(text, strlen(text));
}

/* ---- runs ---- */

static int
try_with(const struct alloc_case *c, unsigned at, bool onward)
{
    int outcome;

    counted = 0;
    fails_at = at;
    from_there_on = onward;
    outcome = c->work();
    is_counting = false;
    return outcome;
}

void
alloc_fault_on(void)
{
    is_counting = true;
}

void
alloc_fault_off(void)
{
    is_counting = false;
}

static bool
leaks(void)
{
#ifdef __SANITIZE_ADDRESS__
    return __lsan_do_recoverable_leak_check() != 0;
#else
    return false;
#endif
}

static unsigned
every(const struct alloc_case *c)
{
    const char *text = getenv("VIRTID_FAULTS_EVERY");
    unsigned usual = c->every ? c->every : EVERY;
    long n = text ? strtol(text, NULL, 10) : usual;
    unsigned wanted = n > 0 ? (unsigned)n : usual;

    return wanted > c->least ? wanted : c->least;
}

static void
look_for_leaks(const struct alloc_case *c, unsigned n, struct alloc_counts *counts)
{
    if (!leaks())
        return;
    counts->violations++;
    printf("# VIOLATION %s: it leaks at or before allocation %u\n", c->name, n);
}

struct alloc_counts
alloc_fault_run(const struct alloc_case *c)
{
    struct alloc_counts counts = { 0 };

    /* Twice: what is made once and kept is there then. */
    if (try_with(c, 0, false) != 0 || try_with(c, 0, false) != 0) {
        printf("# %s: it does not work without a fault\n", c->name);
        counts.violations++;
        return counts;
    }
    counts.allocations = counted;
    for (unsigned n = 1; n <= counts.allocations; n++) {
        if (n != 1 && n != counts.allocations && n % every(c) != 0)
            continue;
        for (int onward = 0; onward < 2; onward++) {
            bool done = try_with(c, n, onward) == 0;

            counts.runs++;
            if (c->check)
                c->check(done);
            if (counts.runs % LEAKS_EVERY == 0)
                look_for_leaks(c, n, &counts);
        }
    }
    look_for_leaks(c, counts.allocations, &counts);
    printf("# %s: %u allocations, %u runs, %u violations\n", c->name, counts.allocations, counts.runs,
           counts.violations);
    return counts;
}
