/*
 * false_root_half.h - a root half for tests that answers late, wrongly or not at all
 *
 * One at a time, on a socket of the test's own; what it is to do and what it was asked stand in `root`.
 * Beside it a token service that knows one thing: the state of the VM's account.
 */
#pragma once

#include <pthread.h>
#include <stdbool.h>
#include <stdint.h>

#include "lib/common/error.h"

/* What the root half does with a request. */
enum mood { SERVE, REFUSE, SWALLOW /* do it, and hang up without an answer */ };

extern struct root_half {
    char dir[64], socket[96], placed[96];
    int listener, stop[2];
    pthread_t thread;
    enum mood place, save_state;
    const char *inject; /* result; NULL: wait for CANCEL */
    unsigned n_placed, n_injected, n_cancelled;
    unsigned *injections; /* where they are counted for those who outlive this process; NULL: nowhere */
    uint8_t point[65];
    int held; /* an INJECT that waits */
    int service;              /* listens on TCP */
    struct ssl_ctx_st *tls;   /* of the service */
    const char *account;      /* state it tells; NULL: hangs up, as it does on all other requests */
} root;

/* Is a vTPM state in its place? */
bool is_placed(void);

/* The thread: answers until root.stop can be read. */
void *root_half(void *context);

/* Makes a host's identity in `dir`, as joining would have, and root.service and root.tls of the service that
 * it joined. */
int false_service_make(const char *dir, struct error *err);
