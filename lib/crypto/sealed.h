/*
 * sealed.h - a file that only whoever has a passphrase, or a private key, can read or could have changed unseen
 *
 * CMS AuthEnvelopedData (RFC 5083) with AES-256-GCM, in DER: `openssl cms -decrypt -inform DER` reads it too.  With a
 * passphrase the key comes from PBKDF2 (RFC 3211), a million rounds; else from the recipient's certificate.
 */
#pragma once

#include <stddef.h>

#include "lib/common/error.h"

/* One of the two. */
struct sealed_for {
    const char *passphrase;
    const char *pem; /* to seal: an X.509 certificate; to open: its private key */
};

/* Everything that `from` gives, to its end, into `to`.  ERROR_INPUT: the certificate is none, or of no key for this. */
int sealed_write(const struct sealed_for *who, int from, int to, struct error *err);

/*
 * The whole of `from` is read into memory, checked and written to `to`.  After a failure what stands in `to` is
 * nobody's word.  ERROR_INPUT: no such file.  ERROR_DENIED: another passphrase or key, or it was changed.
 */
int sealed_read(const struct sealed_for *who, int from, int to, struct error *err);
