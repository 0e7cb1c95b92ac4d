/*
 * cleanup.h - a variable that knows how to go away
 *
 *     CLEANUP(store_close) struct store *store = NULL;
 *     CLEANUP(fd_close) int fd = -1;
 *     CLEANUP(mem_free) char *text = NULL;
 *
 * Declare it empty, fill it, leave by any `return`.  To keep the value,
 * hand it out with STEAL() (pointers) or fd_steal() (fdio.h).  A type joins
 * in with one DEFINE_CLEANUP line under its destructor; destructors accept
 * the empty value.
 */
#pragma once

#include <stdlib.h>

#define CLEANUP(destroy) __attribute__((cleanup(destroy##_at)))

#define DEFINE_CLEANUP(type, destroy)         \
    static inline void destroy##_at(type *at) \
    {                                         \
        destroy(*at);                         \
    }                                         \
    struct cleanup_takes_a_semicolon

/* The pointer's value; the variable is NULL from here on. */
#define STEAL(ptr)                       \
    ({                                   \
        __typeof__(ptr) stolen_ = (ptr); \
        (ptr) = NULL;                    \
        stolen_;                         \
    })

/* free() for CLEANUP(mem_free) of any pointer type. */
static inline void
mem_free_at(void *at)
{
    free(*(void **)at);
}
