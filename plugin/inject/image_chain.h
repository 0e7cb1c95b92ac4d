/*
 * image_chain.h - the open files that together are one disk, top first
 *
 * The worker opens nothing: it reads a header from a descriptor it has, and asks
 * privd for the next file by the name that stands there.
 */
#pragma once

#include <stdbool.h>
#include <stddef.h>

#include "lib/common/cleanup.h"
#include "lib/common/error.h"
#include "lib/wire/priv_msg.h"

struct image_file {
    int fd; /* read-only */
    bool device;
    char format[8];
};

struct image_chain {
    struct image_file files[PRIV_CHAIN_MAX + 1]; /* [0] is the top */
    size_t n;
};

/*
 * `take_top_fd` and all further descriptors belong to *chain from here on.
 * ERROR_DENIED: the problem names of qcow2_header.h, privd's refusal, or image-chain for more than PRIV_CHAIN_MAX levels.
 */
int image_chain_open(int privd, int take_top_fd, const char *format, struct image_chain *chain,
                     struct error *err);
void image_chain_clear(struct image_chain *chain);
#define image_chain_clear_at image_chain_clear
