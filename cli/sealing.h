/*
 * sealing.h - whom a backup is for: a passphrase or a key, from standard input or a file, never from the command line
 */
#pragma once

#include "lib/common/buf.h"
#include "lib/crypto/sealed.h"

enum { PASSPHRASE_MIN = 12, PASSPHRASE_MAX = 1023, SEALING_PEM_MAX = 64 * 1024 };

struct sealing {
    struct buf secret; /* wiped by sealing_clear() */
    struct sealed_for who;
};
#define SEALING() ((struct sealing){ .secret = BUF(SEALING_PEM_MAX) })

void sealing_clear(struct sealing *s);
#define sealing_clear_at sealing_clear /* CLEANUP(sealing_clear) struct sealing s = SEALING(); */

/*
 * `pem` NULL: a passphrase, the first line of standard input; at a terminal it is asked for, without echo, and twice
 * when it is `new_one`.  Else a file with a certificate or key, "-" for standard input.
 */
int sealing_read(const char *pem, bool new_one, struct sealing *ret, struct error *err);
