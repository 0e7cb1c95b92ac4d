/*
 * x509.h - the few certificates virtid makes, and the strict way it reads them
 *
 * Kinds and lifetimes are fixed here; a caller chooses only name, key and serial.
 * DER everywhere; PEM only at the edges (files, JSON).
 */
#pragma once

#include <stddef.h>
#include <stdint.h>

#include "lib/common/buf.h"
#include "lib/common/cleanup.h"
#include "lib/common/error.h"
#include "lib/crypto/key.h"

enum {
    X509_DER_MAX = 8192,
    X509_CHAIN_MAX = 3,
    X509_BACKDATE = 300, /* seconds: not_before is that long before a certificate is made, since clocks differ */
};

enum x509_kind {
    X509_CA_HOST,    /* self-signed, 10 years; signs server, host, admin certificates */
    X509_CA_EK,      /* self-signed, 10 years; signs EK certificates only */
    X509_SERVER,     /* serverAuth; `name` = comma-separated DNS names and IP addresses; 7 days */
    X509_HOST_TLS,   /* clientAuth; `name` = spiffe://TD/host/NAME as URI SAN; 24 h */
    X509_HOST_PROOF, /* no EKU but 1.3.6.1.4.1.61853.1.1 ("virtid-host-proof"), URI SAN as above; 24 h */
    X509_ADMIN,      /* clientAuth; URI SAN spiffe://TD/admin/NAME; 365 days */
    X509_EK,         /* EKU 2.23.133.8.1, SAN directoryName with TPM manufacturer, model, version; no end */
};

/* One request to compose a certificate.  `now` is seconds since 1970; notBefore is now - 5 min. */
struct x509_request {
    enum x509_kind kind;
    const char *name;         /* see the kind; CN for CA kinds; uuid text for X509_EK */
    const uint8_t *spki;      /* DER SubjectPublicKeyInfo of the subject (RSA allowed for X509_EK only) */
    size_t spki_len;
    const uint8_t *serial;    /* 16 bytes, positive */
    int64_t now;
};

/* Sign with the CA's key; `ca_der` is NULL for self-signed kinds. */
int x509_compose(const struct x509_request *request, const struct key *ca_key,
                 const uint8_t *ca_der, size_t ca_der_len, struct buf *into_der,
                 struct error *err);

/* DER SubjectPublicKeyInfo of a point, and of a TPM EK's raw numbers. */
int x509_spki_of_point(const uint8_t point[static KEY_POINT_LEN], struct buf *into,
                       struct error *err);
int x509_spki_of_p384(const uint8_t x[static 48], const uint8_t y[static 48],
                      struct buf *into, struct error *err);
int x509_spki_of_rsa(const uint8_t *modulus, size_t len, struct buf *into,
                     struct error *err); /* e = 65537; 2048..4096 bits */

/* What a certificate says, after x509_verify accepted it. */
struct x509_info {
    char uri[256];          /* the one URI SAN, or "" */
    char subject_cn[128];
    int64_t not_before, not_after;
    uint8_t serial[20];
    size_t serial_len;
    uint8_t spki_sha256[32];
    uint8_t point[KEY_POINT_LEN]; /* all zero unless P-256 */
};

/*
 * The leaf `der` (one certificate, no trailing bytes) chains to one of the `n_ca` CAs directly,
 * is of `kind` in every field x509_compose would set (EKU, CA flag, key usage, SAN), and `now` lies
 * within its time.  CHECKS C1, C9, C11.  ERROR_DENIED otherwise.
 */
struct x509_der {
    const uint8_t *bytes;
    size_t len;
};
int x509_verify(const uint8_t *der, size_t len, enum x509_kind kind,
                const struct x509_der *cas, size_t n_ca, int64_t now,
                struct x509_info *ret_info, struct error *err);

/* Read without deciding anything. ERROR_INPUT: not one DER certificate of at most X509_DER_MAX. */
int x509_read(const uint8_t *der, size_t len, struct x509_info *ret_info, struct error *err);

/* One "CERTIFICATE" PEM block <-> DER.  x509_from_pem takes the first block. */
int x509_to_pem(const uint8_t *der, size_t len, struct buf *into, struct error *err);
int x509_from_pem(const char *pem, size_t len, struct buf *into_der, struct error *err);
