/*
 * signer_init.h - make a trust domain: its keys, CA certificates, first bundle
 */
#pragma once

#include <stdbool.h>
#include <stdint.h>

#include "lib/common/error.h"

struct signer_init {
    const char *key_dir;      /* made 0700 if missing; else it must be empty */
    const char *trust_domain;
    const char *issuer;
    const char *names;        /* of the server certificate, separated by spaces */
    const char *guests;       /* HOST:PORT of the guest listener */
    const char *user;         /* owner of folder and files when run as root; NULL: us */
    bool test;
};

/*
 * All or nothing that is used: signer.conf is written last, durably, and without it nothing is loaded.
 * The hosts in `issuer` and `guests` join the names.  ERROR_DENIED: the folder is not empty.
 */
int signer_init(const struct signer_init *init, int64_t now, struct error *err);
