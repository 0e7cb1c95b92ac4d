/*
 * error.h - what went wrong, told once, in full
 *
 * A function that can fail takes `struct error *err` last and returns 0 or
 * -1.  On success it leaves *err alone; on failure it fills it.  The struct
 * lives on the caller's stack, so reporting an error never allocates, never
 * fails and never has to be freed.
 *
 * Nothing below main() or an event handler logs: it returns the error, and
 * each caller may put its own words in front with error_wrap().
 *
 * Not here: what a code means to HTTP, exit status and retry (error_map.h).
 */
#pragma once

/* What the peer, the exit status and the retry logic need to know. */
enum error_code {
    ERROR_NONE,
    ERROR_INPUT,   /* the other side sent nonsense */
    ERROR_DENIED,  /* understood, and refused */
    ERROR_MISSING, /* no such VM, key, file */
    ERROR_BUSY,    /* try again later */
    ERROR_SYSTEM,  /* the host let us down; text names the errno */
};

struct error {
    enum error_code code;
    char problem[32]; /* stable RFC 9457 problem name, e.g. "foreign"; "" if none */
    char text[400];   /* longer chains end in "..." */
    unsigned retry_s; /* seconds until it is of use to try again; 0: not said */
};

/* Each fills *err and returns -1, so that `return error_set(...)` reads well. */
int error_set(struct error *err, enum error_code code, const char *fmt, ...)
    __attribute__((nonnull, format(printf, 3, 4)));
int error_sys(struct error *err, int errnum, const char *fmt, ...)
    __attribute__((nonnull, format(printf, 3, 4)));

/* As error_set, with the stable problem name (lib/wire/problem.h) beside it. */
int error_problem(struct error *err, enum error_code code, const char *problem,
                  const char *fmt, ...) __attribute__((nonnull, format(printf, 4, 5)));

/* "text" becomes "fmt...: text"; the code stays. */
int error_wrap(struct error *err, const char *fmt, ...)
    __attribute__((nonnull, format(printf, 2, 3)));
