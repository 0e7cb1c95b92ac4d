/*
 * x509_shape.h - what a certificate of each kind looks like, field by field; only for x509.c
 *
 * One function makes the unsigned certificate of a kind.  Composing signs it;
 * verifying makes it again from what a certificate shows and compares.
 */
#pragma once

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include <openssl/x509v3.h>

#include "lib/common/error.h"
#include "lib/crypto/x509.h"

enum { X509_NAME_MAX = 1024 };

bool x509_is_ca(enum x509_kind kind);

/* One DER certificate of at most X509_DER_MAX bytes and nothing behind it. ERROR_INPUT. */
int x509_decode(const uint8_t *der, size_t len, X509 **ret, struct error *err);

/* The certificate that `request` asks for, unsigned; `ca` NULL: self-signed. ERROR_INPUT. */
int x509_shape(const struct x509_request *request, X509 *ca, X509 **ret, struct error *err);

/* The request's `name` as a certificate of this kind shows it. -1: it shows none. */
int x509_shape_name(X509 *cert, enum x509_kind kind, char *ret, size_t size);

/* Equal in everything but the signature. */
bool x509_shape_equal(X509 *a, X509 *b);

/* The one URI SAN, or "". The first CN, or "". Neither holds a NUL byte. */
void x509_shape_uri(X509 *cert, char *ret, size_t size);
void x509_shape_cn(X509 *cert, char *ret, size_t size);
