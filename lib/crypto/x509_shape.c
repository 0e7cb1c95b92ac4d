#include "config.h"

#include "lib/crypto/x509_shape.h"

#include <arpa/inet.h>
#include <errno.h>
#include <stdio.h>
#include <string.h>

#include "lib/crypto/crypto_error.h"

enum { CN_MAX = 64 /* RFC 5280, ub-common-name */, SAN_PARTS_MAX = 16 };

DEFINE_CLEANUP(GENERAL_NAMES *, GENERAL_NAMES_free);
DEFINE_CLEANUP(ASN1_OBJECT *, ASN1_OBJECT_free);
DEFINE_CLEANUP(EXTENDED_KEY_USAGE *, EXTENDED_KEY_USAGE_free);

struct shape {
    const char *eku;        /* dotted; NULL: none */
    const char *uri_middle; /* "/host/": the name is spiffe://TD/host/NAME */
    int64_t life_seconds;   /* 0: RFC 5280's "no well-defined end" */
    uint16_t key_usage;     /* bits as RFC 5280 numbers them */
};

#define USAGE(bit) (0x8000u >> (bit))
enum { DIGITAL_SIGNATURE = 0, KEY_ENCIPHERMENT = 2, KEY_AGREEMENT = 4, CERT_SIGN = 5 };
enum { HOUR = 3600, DAY = 24 * HOUR };

static const struct shape shapes[] = {
    [X509_CA_HOST] = { NULL, NULL, 3650LL * DAY,
                       USAGE(DIGITAL_SIGNATURE) | USAGE(CERT_SIGN) },
    [X509_CA_EK] = { "2.23.133.8.1", NULL, 3650LL * DAY, USAGE(CERT_SIGN) },
    [X509_SERVER] = { "1.3.6.1.5.5.7.3.1", NULL, 7LL * DAY, USAGE(DIGITAL_SIGNATURE) },
    [X509_HOST_TLS] = { "1.3.6.1.5.5.7.3.2", "/host/", DAY, USAGE(DIGITAL_SIGNATURE) },
    [X509_HOST_PROOF] = { "1.3.6.1.4.1.61853.1.1", "/host/", DAY,
                          USAGE(DIGITAL_SIGNATURE) },
    [X509_ADMIN] = { "1.3.6.1.5.5.7.3.2", "/admin/", 365LL * DAY,
                     USAGE(DIGITAL_SIGNATURE) },
    [X509_EK] = { "2.23.133.8.1", NULL, 0, 0 /* by the key */ },
};

/* What the TCG EK Credential Profile wants in the SAN; values of swtpm, whose EKs these
 * are. */
static const char *const tpm_attributes[][2] = {
    { "2.23.133.2.1", "id:00001014" },
    { "2.23.133.2.2", "swtpm" },
    { "2.23.133.2.3", "id:20191023" },
};

bool
x509_is_ca(enum x509_kind kind)
{
    return kind == X509_CA_HOST || kind == X509_CA_EK;
}

int
x509_decode(const uint8_t *der, size_t len, X509 **ret, struct error *err)
{
    const unsigned char *at = der;
    CLEANUP(X509_free) X509 *cert = NULL;

    if (len == 0 || len > X509_DER_MAX)
        return error_set(err, ERROR_INPUT, "certificate of %zu bytes", len);
    cert = d2i_X509(NULL, &at, (long)len);
    if (!cert)
        return crypto_error(err, ERROR_INPUT, "no DER certificate");
    if (at != der + len)
        return error_set(err, ERROR_INPUT, "bytes behind the certificate");
    *ret = STEAL(cert);
    return 0;
}

/* The kinds of key that a subject may have: P-256; an EK also RSA 2048..4096 or P-384.
 */
static int
check_key(EVP_PKEY *key, enum x509_kind kind, uint16_t *usage, struct error *err)
{
    char group[32] = "";
    int bits = EVP_PKEY_get_bits(key);

    if (EVP_PKEY_is_a(key, "EC") &&
        EVP_PKEY_get_group_name(key, group, sizeof group, NULL) &&
        (!strcmp(group, "prime256v1") ||
         (kind == X509_EK && !strcmp(group, "secp384r1")))) {
        if (kind == X509_EK)
            *usage = USAGE(KEY_AGREEMENT);
        return 0;
    }
    if (kind == X509_EK && EVP_PKEY_is_a(key, "RSA") && bits >= 2048 && bits <= 4096) {
        *usage = USAGE(KEY_ENCIPHERMENT);
        return 0;
    }
    return error_set(err, ERROR_INPUT, "a public key of a kind that is not taken here");
}

static int
add_extension(X509 *cert, int nid, void *value, int critical)
{
    return value &&
                   X509_add1_ext_i2d(cert, nid, value, critical, X509V3_ADD_APPEND) == 1
               ? 0
               : -1;
}

static int
add_constraints(X509 *cert, bool is_ca)
{
    BASIC_CONSTRAINTS *bc = BASIC_CONSTRAINTS_new();
    int failed;

    if (bc && is_ca) {
        bc->ca = 0xff;
        bc->pathlen = ASN1_INTEGER_new();
        if (!bc->pathlen || !ASN1_INTEGER_set(bc->pathlen, 0)) {
            BASIC_CONSTRAINTS_free(bc);
            return -1;
        }
    }
    failed = add_extension(cert, NID_basic_constraints, bc, 1);
    BASIC_CONSTRAINTS_free(bc);
    return failed;
}

static int
add_usage(X509 *cert, uint16_t usage)
{
    ASN1_BIT_STRING *bits = ASN1_BIT_STRING_new();
    int failed = bits ? 0 : -1;

    for (int i = 0; i < 9 && !failed; i++) {
        if ((usage & USAGE(i)) && !ASN1_BIT_STRING_set_bit(bits, i, 1))
            failed = -1;
    }
    if (!failed)
        failed = add_extension(cert, NID_key_usage, bits, 1);
    ASN1_BIT_STRING_free(bits);
    return failed;
}

static int
add_extended_usage(X509 *cert, const char *dotted)
{
    CLEANUP(EXTENDED_KEY_USAGE_free)
    EXTENDED_KEY_USAGE *list = sk_ASN1_OBJECT_new_null();
    ASN1_OBJECT *object = OBJ_txt2obj(dotted, 1);

    if (!list || !object || !sk_ASN1_OBJECT_push(list, object)) {
        ASN1_OBJECT_free(object);
        return -1;
    }
    return add_extension(cert, NID_ext_key_usage, list, 0);
}

/* RFC 5280, 4.2.1.2 (1): SHA-1 of the key's bits; an identifier, nothing depends on it.
 */
static int
key_identifier(X509 *of, uint8_t ret[static 20])
{
    unsigned len = 0;

    return X509_pubkey_digest(of, EVP_sha1(), ret, &len) && len == 20 ? 0 : -1;
}

static int
add_identifiers(X509 *cert, X509 *ca)
{
    AUTHORITY_KEYID *issuer = AUTHORITY_KEYID_new();
    ASN1_OCTET_STRING *own = ASN1_OCTET_STRING_new();
    uint8_t id[20];
    int failed = -1;

    if (ca) {
        if (issuer && (issuer->keyid = ASN1_OCTET_STRING_new()) &&
            key_identifier(ca, id) == 0 &&
            ASN1_OCTET_STRING_set(issuer->keyid, id, sizeof id))
            failed = add_extension(cert, NID_authority_key_identifier, issuer, 0);
    } else if (own && key_identifier(cert, id) == 0 &&
               ASN1_OCTET_STRING_set(own, id, sizeof id)) {
        failed = add_extension(cert, NID_subject_key_identifier, own, 0);
    }
    AUTHORITY_KEYID_free(issuer);
    ASN1_OCTET_STRING_free(own);
    return failed;
}

static GENERAL_NAME *
name_of_text(int type, const char *text, size_t len)
{
    GENERAL_NAME *name = GENERAL_NAME_new();
    ASN1_IA5STRING *value = ASN1_IA5STRING_new();

    if (!name || !value || !ASN1_STRING_set(value, text, (int)len)) {
        GENERAL_NAME_free(name);
        ASN1_IA5STRING_free(value);
        return NULL;
    }
    GENERAL_NAME_set0_value(name, type, value);
    return name;
}

static GENERAL_NAME *
name_of_ip(const char *text)
{
    GENERAL_NAME *name = GENERAL_NAME_new();
    ASN1_OCTET_STRING *value = a2i_IPADDRESS(text);

    if (!name || !value) {
        GENERAL_NAME_free(name);
        ASN1_OCTET_STRING_free(value);
        return NULL;
    }
    GENERAL_NAME_set0_value(name, GEN_IPADD, value);
    return name;
}

static bool
is_dns(const char *s)
{
    size_t len = strlen(s);

    return len > 0 && len <= 253 &&
           strspn(s, "abcdefghijklmnopqrstuvwxyz0123456789.-") == len && s[0] != '.' &&
           s[0] != '-' && s[len - 1] != '.' && s[len - 1] != '-';
}

static bool
is_ip(const char *s)
{
    uint8_t bytes[16];

    return inet_pton(AF_INET, s, bytes) == 1 || inet_pton(AF_INET6, s, bytes) == 1;
}

/* "a.example,b.example,192.0.2.1", without white space. */
static int
fill_server_names(GENERAL_NAMES *names, const char *list, struct error *err)
{
    char copy[X509_NAME_MAX], *save = NULL;
    size_t n = 0;

    if ((size_t)snprintf(copy, sizeof copy, "%s", list) >= sizeof copy)
        return error_set(err, ERROR_INPUT, "server names of %zu bytes", strlen(list));
    for (char *at = strtok_r(copy, ",", &save); at; at = strtok_r(NULL, ",", &save)) {
        GENERAL_NAME *name;

        if ((!is_ip(at) && !is_dns(at)) || n++ == SAN_PARTS_MAX)
            return error_set(err, ERROR_INPUT, "server name \"%.60s\"", at);
        name = is_ip(at) ? name_of_ip(at) : name_of_text(GEN_DNS, at, strlen(at));
        if (!name || !sk_GENERAL_NAME_push(names, name)) {
            GENERAL_NAME_free(name);
            return error_sys(err, ENOMEM, "server name");
        }
    }
    return n ? 0 : error_set(err, ERROR_INPUT, "no server name");
}

static bool
is_name_part(const char *s, size_t len)
{
    static const char inside[] = "abcdefghijklmnopqrstuvwxyz0123456789.-";

    return len > 0 && len <= 63 && strspn(s, inside) >= len && s[0] != '.' &&
           s[0] != '-' && s[len - 1] != '.' && s[len - 1] != '-';
}

/* spiffe://TD/host/NAME; the last part is where *ret_last points. */
static bool
is_spiffe(const char *uri, const char *middle, const char **ret_last)
{
    static const char scheme[] = "spiffe://";
    const char *td = uri + sizeof scheme - 1, *slash;

    if (strncmp(uri, scheme, sizeof scheme - 1) != 0 || !(slash = strchr(td, '/')) ||
        !is_name_part(td, (size_t)(slash - td)) ||
        strncmp(slash, middle, strlen(middle)) != 0)
        return false;
    *ret_last = slash + strlen(middle);
    return is_name_part(*ret_last, strlen(*ret_last));
}

static int
fill_uri(GENERAL_NAMES *names, const char *uri, const char *middle, struct error *err)
{
    const char *last;
    GENERAL_NAME *name;

    if (!is_spiffe(uri, middle, &last))
        return error_set(err, ERROR_INPUT, "\"%.100s\" is no spiffe://DOMAIN%sNAME",
                         uri, middle);
    name = name_of_text(GEN_URI, uri, strlen(uri));
    if (!name || !sk_GENERAL_NAME_push(names, name)) {
        GENERAL_NAME_free(name);
        return error_sys(err, ENOMEM, "URI");
    }
    return 0;
}

static int
fill_tpm(GENERAL_NAMES *names, struct error *err)
{
    GENERAL_NAME *name = GENERAL_NAME_new();
    X509_NAME *directory = X509_NAME_new();
    bool good = name && directory;

    for (size_t i = 0; good && i < sizeof tpm_attributes / sizeof tpm_attributes[0];
         i++) {
        CLEANUP(ASN1_OBJECT_free)
        ASN1_OBJECT *type = OBJ_txt2obj(tpm_attributes[i][0], 1);

        good = type && X509_NAME_add_entry_by_OBJ(
                           directory, type, MBSTRING_ASC,
                           (const unsigned char *)tpm_attributes[i][1], -1, -1, 0);
    }
    if (!good) {
        GENERAL_NAME_free(name);
        X509_NAME_free(directory);
        return crypto_error(err, ERROR_SYSTEM, "TPM's name");
    }
    GENERAL_NAME_set0_value(name, GEN_DIRNAME, directory);
    if (!sk_GENERAL_NAME_push(names, name)) {
        GENERAL_NAME_free(name);
        return error_sys(err, ENOMEM, "TPM's name");
    }
    return 0;
}

static int
add_names(X509 *cert, const struct x509_request *request, struct error *err)
{
    CLEANUP(GENERAL_NAMES_free) GENERAL_NAMES *names = GENERAL_NAMES_new();
    const char *middle = shapes[request->kind].uri_middle;
    int failed;

    if (!names)
        return error_sys(err, ENOMEM, "certificate");
    if (request->kind == X509_SERVER)
        failed = fill_server_names(names, request->name, err);
    else if (request->kind == X509_EK)
        failed = fill_tpm(names, err);
    else
        failed = fill_uri(names, request->name, middle, err);
    if (failed)
        return -1;
    if (add_extension(cert, NID_subject_alt_name, names, 0) < 0)
        return crypto_error(err, ERROR_SYSTEM, "certificate: names");
    return 0;
}

/* CN: the CA's name, the EK's VM, the host's or administrator's last part, the first
 * server name. */
static int
set_subject(X509 *cert, const struct x509_request *request, struct error *err)
{
    const char *cn = request->name;
    char text[CN_MAX + 1];
    size_t len;

    if (shapes[request->kind].uri_middle &&
        !is_spiffe(request->name, shapes[request->kind].uri_middle, &cn))
        return error_set(err, ERROR_INPUT, "\"%.100s\" is no name of this kind",
                         request->name);
    len = request->kind == X509_SERVER ? strcspn(cn, ",") : strlen(cn);
    if (request->kind == X509_SERVER && len > CN_MAX)
        return 0; /* the SAN is what counts */
    if (len == 0 || len > CN_MAX)
        return error_set(err, ERROR_INPUT, "a name of %zu bytes", len);
    memcpy(text, cn, len);
    text[len] = '\0';
    for (size_t i = 0; i < len; i++) {
        if (text[i] < 0x20 || text[i] > 0x7e)
            return error_set(err, ERROR_INPUT, "a name that is not printable ASCII");
    }
    if (!X509_NAME_add_entry_by_NID(X509_get_subject_name(cert), NID_commonName,
                                    MBSTRING_ASC, (const unsigned char *)text, -1, -1,
                                    0))
        return crypto_error(err, ERROR_SYSTEM, "certificate: subject");
    return 0;
}

static int
set_times(X509 *cert, const struct x509_request *request)
{
    int64_t life = shapes[request->kind].life_seconds;

    if (!ASN1_TIME_adj(X509_getm_notBefore(cert), request->now - X509_BACKDATE, 0, 0))
        return -1;
    if (life == 0)
        return ASN1_TIME_set_string(X509_getm_notAfter(cert), "99991231235959Z") ? 0
                                                                                 : -1;
    return ASN1_TIME_adj(X509_getm_notAfter(cert), request->now + life, 0, 0) ? 0 : -1;
}

static int
set_key_and_serial(X509 *cert, const struct x509_request *request, struct error *err)
{
    const unsigned char *at = request->spki;
    CLEANUP(EVP_PKEY_free)
    EVP_PKEY *key = d2i_PUBKEY(NULL, &at, (long)request->spki_len);
    CLEANUP(BN_clear_free) BIGNUM *serial = BN_bin2bn(request->serial, 16, NULL);

    if (!key || at != request->spki + request->spki_len || !X509_set_pubkey(cert, key))
        return crypto_error(err, ERROR_INPUT, "public key");
    if (!serial || (request->serial[0] & 0x80) || BN_is_zero(serial))
        return error_set(err, ERROR_INPUT, "a serial number is positive");
    if (!BN_to_ASN1_INTEGER(serial, X509_get_serialNumber(cert)))
        return crypto_error(err, ERROR_SYSTEM, "serial number");
    return 0;
}

int
x509_shape(const struct x509_request *request, X509 *ca, X509 **ret, struct error *err)
{
    CLEANUP(X509_free) X509 *cert = X509_new();
    const struct shape *shape;
    uint16_t usage;

    if (!cert)
        return error_sys(err, ENOMEM, "certificate");
    if ((unsigned)request->kind >= sizeof shapes / sizeof shapes[0])
        return error_set(err, ERROR_INPUT, "certificate of an unknown kind");
    shape = &shapes[request->kind];
    usage = shape->key_usage;
    if (set_key_and_serial(cert, request, err) < 0 ||
        check_key(X509_get0_pubkey(cert), request->kind, &usage, err) < 0 ||
        set_subject(cert, request, err) < 0)
        return -1;
    if (!X509_set_version(cert, X509_VERSION_3) || set_times(cert, request) < 0 ||
        !X509_set_issuer_name(cert, X509_get_subject_name(ca ? ca : cert)) ||
        add_constraints(cert, x509_is_ca(request->kind)) < 0 ||
        add_usage(cert, usage) < 0 ||
        (shape->eku && add_extended_usage(cert, shape->eku) < 0) ||
        add_identifiers(cert, ca) < 0)
        return crypto_error(err, ERROR_SYSTEM, "certificate");
    if (!x509_is_ca(request->kind) && add_names(cert, request, err) < 0)
        return -1;
    *ret = STEAL(cert);
    return 0;
}

static bool
equal_text(const ASN1_STRING *s, char *ret, size_t size)
{
    size_t len = (size_t)ASN1_STRING_length(s);

    if (len == 0 || len >= size || memchr(ASN1_STRING_get0_data(s), 0, len))
        return false;
    memcpy(ret, ASN1_STRING_get0_data(s), len);
    ret[len] = '\0';
    return true;
}

void
x509_shape_uri(X509 *cert, char *ret, size_t size)
{
    CLEANUP(GENERAL_NAMES_free)
    GENERAL_NAMES *names = X509_get_ext_d2i(cert, NID_subject_alt_name, NULL, NULL);
    const GENERAL_NAME *found = NULL;

    ret[0] = '\0';
    for (int i = 0; i < sk_GENERAL_NAME_num(names); i++) {
        const GENERAL_NAME *name = sk_GENERAL_NAME_value(names, i);

        if (name->type != GEN_URI)
            continue;
        if (found)
            return;
        found = name;
    }
    if (found && !equal_text(found->d.uniformResourceIdentifier, ret, size))
        ret[0] = '\0';
}

void
x509_shape_cn(X509 *cert, char *ret, size_t size)
{
    const X509_NAME *subject = X509_get_subject_name(cert);
    int at = X509_NAME_get_index_by_NID(subject, NID_commonName, -1);

    ret[0] = '\0';
    if (at >= 0 &&
        !equal_text(X509_NAME_ENTRY_get_data(X509_NAME_get_entry(subject, at)), ret,
                    size))
        ret[0] = '\0';
}

static int
append_name(const GENERAL_NAME *name, char *ret, size_t size)
{
    size_t used = strlen(ret);
    char text[300];

    if (name->type == GEN_DNS) {
        if (!equal_text(name->d.dNSName, text, sizeof text))
            return -1;
    } else if (name->type == GEN_IPADD) {
        int len = ASN1_STRING_length(name->d.iPAddress);

        if ((len != 4 && len != 16) ||
            !inet_ntop(len == 4 ? AF_INET : AF_INET6,
                       ASN1_STRING_get0_data(name->d.iPAddress), text, sizeof text))
            return -1;
    } else {
        return -1;
    }
    return (size_t)snprintf(ret + used, size - used, "%s%s", used ? "," : "", text) <
                   size - used
               ? 0
               : -1;
}

int
x509_shape_name(X509 *cert, enum x509_kind kind, char *ret, size_t size)
{
    CLEANUP(GENERAL_NAMES_free) GENERAL_NAMES *names = NULL;

    ret[0] = '\0';
    if (x509_is_ca(kind) || kind == X509_EK) {
        x509_shape_cn(cert, ret, size);
    } else if (shapes[kind].uri_middle) {
        x509_shape_uri(cert, ret, size);
    } else {
        names = X509_get_ext_d2i(cert, NID_subject_alt_name, NULL, NULL);
        for (int i = 0; i < sk_GENERAL_NAME_num(names); i++) {
            if (append_name(sk_GENERAL_NAME_value(names, i), ret, size) < 0)
                return -1;
        }
    }
    return ret[0] ? 0 : -1;
}

static bool
equal_extensions(X509 *a, X509 *b)
{
    int n = X509_get_ext_count(a);

    if (n != X509_get_ext_count(b))
        return false;
    for (int i = 0; i < n; i++) {
        X509_EXTENSION *x = X509_get_ext(a, i), *y = X509_get_ext(b, i);

        if (OBJ_cmp(X509_EXTENSION_get_object(x), X509_EXTENSION_get_object(y)) != 0 ||
            X509_EXTENSION_get_critical(x) != X509_EXTENSION_get_critical(y) ||
            ASN1_OCTET_STRING_cmp(X509_EXTENSION_get_data(x),
                                  X509_EXTENSION_get_data(y)) != 0)
            return false;
    }
    return true;
}

bool
x509_shape_equal(X509 *a, X509 *b)
{
    return X509_get_version(a) == X509_get_version(b) &&
           ASN1_INTEGER_cmp(X509_get0_serialNumber(a), X509_get0_serialNumber(b)) ==
               0 &&
           X509_NAME_cmp(X509_get_issuer_name(a), X509_get_issuer_name(b)) == 0 &&
           X509_NAME_cmp(X509_get_subject_name(a), X509_get_subject_name(b)) == 0 &&
           ASN1_TIME_compare(X509_get0_notBefore(a), X509_get0_notBefore(b)) == 0 &&
           ASN1_TIME_compare(X509_get0_notAfter(a), X509_get0_notAfter(b)) == 0 &&
           EVP_PKEY_eq(X509_get0_pubkey(a), X509_get0_pubkey(b)) == 1 &&
           equal_extensions(a, b);
}
