/*
 * doc_example.h - the worked examples of docs/PROTOCOL-*.md, so that page and code can not part
 */
#pragma once

#include <stddef.h>
#include <stdint.h>

/*
 * The line "NAME hex" in a fenced block of docs/`page`, decoded into ret.  Fails the test if it is not there once.
 * The source folder is $srcdir, or the present one.
 */
size_t doc_example(const char *page, const char *name, uint8_t *ret, size_t max);
