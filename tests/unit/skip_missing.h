/*
 * skip_missing.h - skip a test, and name what it lacks: ./check quotes that, and fails of it with CI=true
 */
#pragma once

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdio.h>

#include <cmocka.h>

#define skip_missing(what) \
    do { \
        printf("# what is missing: %s\n", what); \
        fflush(stdout); \
        skip(); \
    } while (0)
