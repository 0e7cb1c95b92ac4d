/*
 * tokend_conf.h - what tokend.conf says
 */
#pragma once

#include <stdbool.h>

#include "lib/common/cleanup.h"
#include "lib/common/error.h"

struct tokend_conf {
    struct conf *file;
    const char *path;             /* of the file; the caller's */
    /* borrowed from `file`: */
    const char *trust_domain, *issuer;
    const char *state_dir, *key_dir, *signer_program;
    const char *public_, *hosts, *guests, *admin; /* where to listen */
    const char *metrics;                          /* "": nowhere */
    const char *admin_group;                      /* "" : none */
    const char *guests_advertised; /* "" : what the signer's bundle says */
    const char *service_user, *signer_user;
    int rotate_days; /* so long a key signs tokens */
    int64_t audit_reserve; /* bytes */
    bool enrol_placed, test;
    bool accept_clock; /* not of the file: an option of one start */
    bool recovery;     /* likewise */
    char hosts_advertised[256]; /* in join codes; "" until the port is known */
    const char *first_name;
};

/* ERROR_INPUT names file, line and key. */
int tokend_conf_read(const char *path, struct tokend_conf *ret, struct error *err);
/* What `fresh`, read from the same file, says of the settings that can be changed while it runs; it is cleared. */
void tokend_conf_take(struct tokend_conf *running, struct tokend_conf *fresh);
void tokend_conf_clear(struct tokend_conf *conf);
#define tokend_conf_clear_at tokend_conf_clear
