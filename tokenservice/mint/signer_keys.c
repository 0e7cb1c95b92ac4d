#include "config.h"

#include "tokenservice/mint/signer_keys.h"

#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include "lib/common/clock.h"
#include "lib/common/conf.h"
#include "lib/common/encode.h"
#include "lib/common/fdio.h"
#include "lib/common/log.h"
#include "lib/crypto/x509.h"
#include "lib/wire/token.h"

enum { PATH_ROOM = 4096 };

void
signer_keys_free(struct signer_keys *keys)
{
    if (!keys)
        return;
    for (size_t k = 0; k < KEY_RINGS; k++)
        key_free(keys->signs[k]);
    key_free(keys->host_ca);
    key_free(keys->ek_ca);
    key_free(keys->receipt);
    key_free(keys->audit);
    secret_free(keys->nonce);
    secret_free(keys->activate);
    secret_free(keys->row);
    fd_close(keys->file.fd);
    fd_close(keys->cas_file.fd);
    fd_close(keys->head.fd);
    explicit_bzero(&keys->rings, sizeof keys->rings);
    explicit_bzero(&keys->cas, sizeof keys->cas);
    free(keys);
}

/* A private file that others can read is no longer private: say so instead of using it.
 */
static int
check_mode(int fd, const char *name, struct error *err)
{
    struct stat st;

    if (fstat(fd, &st) < 0)
        return error_sys(err, errno, "%s", name);
    if ((st.st_mode & 077) != 0)
        return error_set(
            err, ERROR_DENIED,
            "%s is open to other users (mode %04o): chmod go= and consider "
            "its keys known",
            name, (unsigned)(st.st_mode & 07777));
    if (st.st_uid != geteuid())
        return error_set(err, ERROR_DENIED, "%s belongs to uid %u, not to us (%u)",
                         name, (unsigned)st.st_uid, (unsigned)geteuid());
    return 0;
}

static int
read_file(int dir, const char *name, struct buf *into, struct error *err)
{
    CLEANUP(fd_close) int fd = openat(dir, name, O_RDONLY | O_CLOEXEC | O_NOFOLLOW);

    if (fd < 0)
        return error_sys(err, errno, "key folder: %s", name);
    if (check_mode(fd, name, err) < 0)
        return -1;
    if (fd_read_to_end(fd, into, err) < 0)
        return error_wrap(err, "%s", name);
    return 0;
}

static int
read_key(int dir, const char *name, struct key **ret, struct error *err)
{
    CLEANUP(buf_clear) struct buf pem = BUF(SIGNER_PEM_MAX);

    if (read_file(dir, name, &pem, err) < 0)
        return -1;
    if (key_from_pem(pem.data, pem.len, ret, err) < 0)
        return error_wrap(err, "%s", name);
    return 0;
}

int
signer_key_make(int dir, const char *name, struct key **ret, struct error *err)
{
    CLEANUP(buf_clear) struct buf pem = BUF(SIGNER_PEM_MAX);

    if (key_generate(ret, err) < 0 || key_to_pem(*ret, &pem, err) < 0)
        return -1;
    return file_replace_at(dir, name, pem.data, pem.len, 0600, err);
}

static int
read_secret(int dir, const char *name, struct secret **ret, struct error *err)
{
    CLEANUP(fd_close) int fd = openat(dir, name, O_RDONLY | O_CLOEXEC | O_NOFOLLOW);
    CLEANUP(secret_free) struct secret *secret = NULL;
    struct stat st;

    if (fd < 0)
        return error_sys(err, errno, "key folder: %s", name);
    if (check_mode(fd, name, err) < 0)
        return -1;
    if (fstat(fd, &st) < 0 || st.st_size != SIGNER_MASTER_LEN)
        return error_set(err, ERROR_INPUT, "%s is not %d bytes long", name,
                         SIGNER_MASTER_LEN);
    if (secret_new(SIGNER_MASTER_LEN, &secret, err) < 0 ||
        fd_read_all(fd, secret->bytes, secret->len, err) < 0)
        return error_wrap(err, "%s", name);
    *ret = STEAL(secret);
    return 0;
}

static int
read_cert(int dir, const char *name, struct mint_ca *ret, struct error *err)
{
    CLEANUP(buf_clear) struct buf pem = BUF(SIGNER_PEM_MAX), der = BUF(sizeof ret->der);

    if (read_file(dir, name, &pem, err) < 0)
        return -1;
    if (x509_from_pem((const char *)pem.data, pem.len, &der, err) < 0)
        return error_wrap(err, "%s", name);
    memcpy(ret->der, der.data, der.len);
    ret->len = der.len;
    return 0;
}

static int
copy_name(const char *what, const char *value, char *ret, size_t room,
          struct error *err)
{
    if (strlen(value) == 0 || strlen(value) >= room)
        return error_set(err, ERROR_INPUT, "%s: %s is empty or too long",
                         SIGNER_FILE_CONF, what);
    strcpy(ret, value);
    return 0;
}

static int
join_names(const struct conf *conf, char *ret, size_t room, struct error *err)
{
    const char *name;
    size_t at = 0;

    for (size_t i = 0; (name = conf_item(conf, "signer.names", i)) != NULL; i++) {
        int n = snprintf(ret + at, room - at, "%s%s", i > 0 ? "," : "", name);

        if (n < 0 || (size_t)n >= room - at)
            return error_set(err, ERROR_INPUT, "%s: too many names", SIGNER_FILE_CONF);
        at += (size_t)n;
    }
    return at > 0 ? 0 : error_set(err, ERROR_INPUT, "%s: no names", SIGNER_FILE_CONF);
}

static int
read_conf(const char *key_dir, struct mint_info *info, struct error *err)
{
    static const struct conf_key keys[] = {
        { "signer.trust_domain", CONF_TEXT, NULL },
        { "signer.issuer", CONF_TEXT, NULL },
        { "signer.names", CONF_LIST, NULL },
        { "signer.guests", CONF_TEXT, NULL },
        { "signer.test", CONF_BOOL, "no" },
        { NULL, CONF_TEXT, NULL },
    };
    CLEANUP(conf_free) struct conf *conf = NULL;
    char path[PATH_ROOM];

    if (snprintf(path, sizeof path, "%s/%s", key_dir, SIGNER_FILE_CONF) >=
        (int)sizeof path)
        return error_set(err, ERROR_INPUT, "the key folder's path is too long");
    if (access(path, F_OK) < 0 && errno == ENOENT)
        return error_set(err, ERROR_MISSING,
                         "%s holds no trust domain; make one by: virtid init", key_dir);
    if (conf_read(path, keys, false, &conf, err) < 0)
        return -1;
    if (copy_name("trust_domain", conf_text(conf, "signer.trust_domain"),
                  info->trust_domain, sizeof info->trust_domain, err) < 0 ||
        copy_name("issuer", conf_text(conf, "signer.issuer"), info->issuer,
                  sizeof info->issuer, err) < 0 ||
        copy_name("guests", conf_text(conf, "signer.guests"), info->guests,
                  sizeof info->guests, err) < 0 ||
        join_names(conf, info->names, sizeof info->names, err) < 0)
        return -1;
    if (!name_is_trust_domain(info->trust_domain) || !name_is_issuer(info->issuer))
        return error_set(err, ERROR_INPUT, "%s: trust_domain or issuer is no such name",
                         path);
    info->test = conf_bool(conf, "signer.test");
    return 0;
}

/* Each key for one purpose only: a copied file would quietly join two. */
static int
check_distinct(const struct signer_keys *keys, struct error *err)
{
    uint8_t scalars[2 + 2 * MINT_CAS_MAX + KEY_RINGS * KEY_RING_MAX][KEY_PRIVATE_LEN];
    const struct secret *masters[] = { keys->nonce, keys->activate, keys->row };
    bool same = false;
    size_t n = 0;

    key_private(keys->receipt, scalars[n++]);
    key_private(keys->audit, scalars[n++]);
    for (size_t i = 0; i < keys->cas.n; i++) {
        const struct ca_pair *pair = &keys->cas.of[i];

        if (pair->state == MINT_KEY_RETIRING)
            continue;
        memcpy(scalars[n++], pair->host_scalar, KEY_PRIVATE_LEN);
        memcpy(scalars[n++], pair->ek_scalar, KEY_PRIVATE_LEN);
    }
    for (size_t k = 0; k < KEY_RINGS; k++) {
        for (size_t i = 0; i < keys->rings.of[k].n; i++)
            memcpy(scalars[n++], keys->rings.of[k].keys[i].scalar, KEY_PRIVATE_LEN);
    }
    for (size_t i = 0; i < n; i++) {
        for (size_t j = 0; j < i; j++)
            same |= secret_equal(scalars[i], scalars[j], KEY_PRIVATE_LEN);
    }
    for (size_t i = 0; i < 3; i++) {
        for (size_t j = 0; j < i; j++)
            same |= secret_equal(masters[i]->bytes, masters[j]->bytes, SIGNER_MASTER_LEN);
    }
    explicit_bzero(scalars, sizeof scalars);
    return same ? error_set(err, ERROR_DENIED, "two of the signer's keys are the same") : 0;
}

/* An earlier version had one key for tokens, in a file of its own: it goes on, as old as that file. */
static int
take_over(int dir, struct error *err)
{
    CLEANUP(key_free) struct key *key = NULL;
    struct key_rings rings = { 0 };
    struct stat st;
    int rc;

    if (faccessat(dir, SIGNER_FILE_TOKENS, F_OK, AT_SYMLINK_NOFOLLOW) < 0) {
        if (errno != ENOENT)
            return error_sys(err, errno, "key folder: %s", SIGNER_FILE_TOKENS);
        if (read_key(dir, SIGNER_FILE_TOKEN, &key, err) < 0)
            return -1;
        if (fstatat(dir, SIGNER_FILE_TOKEN, &st, AT_SYMLINK_NOFOLLOW) < 0)
            return error_sys(err, errno, "key folder: %s", SIGNER_FILE_TOKEN);
        rc = key_ring_begin(key, st.st_mtime > 0 ? st.st_mtime : 0, &rings.of[RING_TOKEN], err);
        if (rc == 0)
            rc = key_file_make(dir, SIGNER_FILE_TOKENS, &rings, err);
        explicit_bzero(&rings, sizeof rings);
        if (rc < 0)
            return -1;
    }
    /* It would outlive its time there. */
    if (unlinkat(dir, SIGNER_FILE_TOKEN, 0) < 0)
        return errno == ENOENT ? 0 : error_sys(err, errno, "remove %s", SIGNER_FILE_TOKEN);
    return fsync(dir) < 0 ? error_sys(err, errno, "key folder") : 0;
}

static int
read_rings(int dir, struct signer_keys *keys, struct error *err)
{
    struct key_rings rings = { 0 };
    int rc;

    if (take_over(dir, err) < 0)
        return -1;
    keys->file.fd = openat(dir, SIGNER_FILE_TOKENS, O_RDWR | O_CLOEXEC | O_NOFOLLOW);
    if (keys->file.fd < 0)
        return error_sys(err, errno, "key folder: %s", SIGNER_FILE_TOKENS);
    if (check_mode(keys->file.fd, SIGNER_FILE_TOKENS, err) < 0)
        return -1;
    if (key_file_read(&keys->file, &rings, err) < 0)
        return error_wrap(err, "%s", SIGNER_FILE_TOKENS);
    rc = signer_keys_take(keys, &rings, err);
    explicit_bzero(&rings, sizeof rings);
    return rc;
}

/* Those of an earlier version are the first generation. */
static int
adopt_cas(int dir, struct error *err)
{
    CLEANUP(key_free) struct key *host = NULL, *ek = NULL;
    CLEANUP(buf_clear) struct buf bundle = BUF(BUNDLE_MAX);
    struct mint_ca host_cert, ek_cert;
    struct ca_set cas;
    int rc;

    if (read_key(dir, SIGNER_FILE_HOST_CA, &host, err) < 0 || read_key(dir, SIGNER_FILE_EK_CA, &ek, err) < 0 ||
        read_cert(dir, SIGNER_FILE_CA_CERT, &host_cert, err) < 0 ||
        read_cert(dir, SIGNER_FILE_EK_CA_CERT, &ek_cert, err) < 0 ||
        read_file(dir, SIGNER_FILE_BUNDLE, &bundle, err) < 0)
        return -1;
    rc = ca_set_adopt(host, ek, &host_cert, &ek_cert, &bundle, &cas, err);
    if (rc == 0)
        rc = ca_file_make(dir, SIGNER_FILE_CAS, &cas, err);
    explicit_bzero(&cas, sizeof cas);
    return rc;
}

/* They would outlive their time there. */
static int
remove_adopted(int dir, struct error *err)
{
    static const char *const old[] = { SIGNER_FILE_HOST_CA, SIGNER_FILE_EK_CA, SIGNER_FILE_EK_CA_CERT,
                                       SIGNER_FILE_BUNDLE };
    bool removed = false;

    for (size_t i = 0; i < sizeof old / sizeof old[0]; i++) {
        if (unlinkat(dir, old[i], 0) == 0)
            removed = true;
        else if (errno != ENOENT)
            return error_sys(err, errno, "remove %s", old[i]);
    }
    return removed && fsync(dir) < 0 ? error_sys(err, errno, "key folder") : 0;
}

/* For whoever is to be told whom to trust, a restore on another machine first of all. */
static int
publish_cas(int dir, const struct ca_set *cas, struct error *err)
{
    CLEANUP(buf_clear) struct buf had = BUF(2 * SIGNER_PEM_MAX), pem = BUF(2 * SIGNER_PEM_MAX);
    struct error none;

    if (ca_set_pem(cas, &pem, err) < 0)
        return -1;
    if (read_file(dir, SIGNER_FILE_CA_CERT, &had, &none) == 0 && had.len == pem.len &&
        memcmp(had.data, pem.data, pem.len) == 0)
        return 0;
    return file_replace_at(dir, SIGNER_FILE_CA_CERT, pem.data, pem.len, 0600, err);
}

static int
read_cas(int dir, struct signer_keys *keys, struct error *err)
{
    struct ca_set cas;
    struct error why;
    int rc;

    if (faccessat(dir, SIGNER_FILE_CAS, F_OK, AT_SYMLINK_NOFOLLOW) < 0) {
        if (errno != ENOENT)
            return error_sys(err, errno, "key folder: %s", SIGNER_FILE_CAS);
        if (adopt_cas(dir, err) < 0)
            return -1;
    }
    if (remove_adopted(dir, err) < 0)
        return -1;
    keys->cas_file.fd = openat(dir, SIGNER_FILE_CAS, O_RDWR | O_CLOEXEC | O_NOFOLLOW);
    if (keys->cas_file.fd < 0)
        return error_sys(err, errno, "key folder: %s", SIGNER_FILE_CAS);
    if (check_mode(keys->cas_file.fd, SIGNER_FILE_CAS, err) < 0)
        return -1;
    if (ca_file_read(&keys->cas_file, &cas, err) < 0)
        return error_wrap(err, "%s", SIGNER_FILE_CAS);
    if (publish_cas(dir, &cas, &why) < 0) /* a full disk: nothing here reads it */
        log_error(&why, SIGNER_FILE_CA_CERT " is not brought up to date; a start with a disk in order does");
    rc = signer_keys_take_cas(keys, &cas, err);
    explicit_bzero(&cas, sizeof cas);
    return rc;
}

/* An earlier version signed no heads: the key comes last, so that a cut leaves none that has no head beside it. */
static int
make_audit(int dir, struct error *err)
{
    CLEANUP(key_free) struct key *key = NULL;

    if (faccessat(dir, SIGNER_FILE_HEAD, F_OK, AT_SYMLINK_NOFOLLOW) < 0) {
        if (errno != ENOENT)
            return error_sys(err, errno, "key folder: %s", SIGNER_FILE_HEAD);
        if (head_file_make(dir, SIGNER_FILE_HEAD, clock_realtime_ms() / 1000, err) < 0)
            return -1;
    }
    if (faccessat(dir, SIGNER_FILE_AUDIT, F_OK, AT_SYMLINK_NOFOLLOW) == 0)
        return 0;
    return errno == ENOENT ? signer_key_make(dir, SIGNER_FILE_AUDIT, &key, err)
                           : error_sys(err, errno, "key folder: %s", SIGNER_FILE_AUDIT);
}

static int
read_audit(int dir, struct signer_keys *keys, struct error *err)
{
    if (make_audit(dir, err) < 0 || read_key(dir, SIGNER_FILE_AUDIT, &keys->audit, err) < 0)
        return -1;
    keys->head.fd = openat(dir, SIGNER_FILE_HEAD, O_RDWR | O_CLOEXEC | O_NOFOLLOW);
    if (keys->head.fd < 0)
        return error_sys(err, errno, "key folder: %s", SIGNER_FILE_HEAD);
    if (check_mode(keys->head.fd, SIGNER_FILE_HEAD, err) < 0)
        return -1;
    return head_file_read(&keys->head, err) < 0 ? error_wrap(err, "%s", SIGNER_FILE_HEAD) : 0;
}

static int
read_keys(int dir, struct signer_keys *keys, struct error *err)
{
    if (read_rings(dir, keys, err) < 0 || read_cas(dir, keys, err) < 0 ||
        read_key(dir, SIGNER_FILE_RECEIPT, &keys->receipt, err) < 0 || read_audit(dir, keys, err) < 0 ||
        read_secret(dir, SIGNER_FILE_NONCE, &keys->nonce, err) < 0 ||
        read_secret(dir, SIGNER_FILE_ACTIVATE, &keys->activate, err) < 0 ||
        read_secret(dir, SIGNER_FILE_ROW, &keys->row, err) < 0)
        return -1;
    return check_distinct(keys, err);
}

static int
add_jwk(json_t *set, const struct ring_key *entry, struct error *err)
{
    CLEANUP(key_free) struct key *key = NULL;
    uint8_t point[KEY_POINT_LEN];
    json_t *jwk;

    if (key_from_private(entry->scalar, &key, err) < 0)
        return -1;
    key_point(key, point);
    jwk = jwk_of_point(point, err);
    if (!jwk)
        return -1;
    return json_array_append_new(set, jwk) < 0 ? error_set(err, ERROR_SYSTEM, "JWKS") : 0;
}

static int
make_jwks(const struct key_ring *ring, char ret[static MINT_JWKS_MAX + 1], struct error *err)
{
    CLEANUP(json_decref) json_t *set = NULL, *keys = NULL;
    CLEANUP(buf_clear) struct buf text = BUF(MINT_JWKS_MAX);

    json_begin();
    keys = json_array();
    for (size_t i = 0; i < ring->n; i++) {
        if (add_jwk(keys, &ring->keys[i], err) < 0)
            return -1;
    }
    set = json_pack("{s:O}", "keys", keys);
    if (!set || json_print(set, &text, err) < 0 || !buf_text(&text))
        return error_set(err, ERROR_SYSTEM, "JWKS");
    strcpy(ret, buf_text(&text));
    return 0;
}

/* What one ring says: the key that signs, if one does, and the published set. */
struct published {
    struct key *key;
    char jwks[MINT_JWKS_MAX + 1];
    const char *kid;
};

static int
publish(const struct key_ring *ring, struct published *ret, struct error *err)
{
    const struct ring_key *active = key_ring_find(ring, MINT_KEY_ACTIVE);

    *ret = (struct published){ .kid = active ? active->kid : "" };
    if (make_jwks(ring, ret->jwks, err) < 0)
        return -1;
    return active ? key_from_private(active->scalar, &ret->key, err) : 0;
}

int
signer_keys_take(struct signer_keys *keys, const struct key_rings *rings, struct error *err)
{
    struct published token, bound;

    if (publish(&rings->of[RING_TOKEN], &token, err) < 0)
        return -1;
    if (publish(&rings->of[RING_BOUND], &bound, err) < 0) {
        key_free(token.key);
        return -1;
    }
    key_free(keys->signs[RING_TOKEN]);
    key_free(keys->signs[RING_BOUND]);
    keys->signs[RING_TOKEN] = token.key;
    keys->signs[RING_BOUND] = bound.key;
    keys->rings = *rings;
    strcpy(keys->info.jwks, token.jwks);
    strcpy(keys->info.kid, token.kid);
    strcpy(keys->info.bound_jwks, bound.jwks);
    strcpy(keys->info.bound_kid, bound.kid);
    return 0;
}

struct ca_names
signer_keys_names(const struct signer_keys *keys)
{
    return (struct ca_names){ keys->info.trust_domain, keys->info.issuer, keys->info.guests };
}

static void
show_cas(const struct ca_set *cas, uint64_t change, struct mint_info *info)
{
    const struct ca_pair *active = ca_set_find(cas, MINT_KEY_ACTIVE);

    memcpy(info->host_ca, active->host.der, active->host.len);
    info->host_ca_len = active->host.len;
    memcpy(info->ek_ca, active->ek.der, active->ek.len);
    info->ek_ca_len = active->ek.len;
    info->n_host_before = info->n_ek_before = 0;
    for (size_t i = 0; i < cas->n; i++) {
        if (cas->of[i].state != MINT_KEY_RETIRING)
            continue;
        info->ek_before[info->n_ek_before++] = cas->of[i].ek;
        if (cas->of[i].host.len > 0)
            info->host_before[info->n_host_before++] = cas->of[i].host;
    }
    memcpy(info->bundle, cas->bundle, cas->bundle_len);
    info->bundle_len = cas->bundle_len;
    info->bundle_serial = cas->serial;
    info->ca_change = change;
}

int
signer_keys_take_cas(struct signer_keys *keys, const struct ca_set *cas, struct error *err)
{
    const struct ca_pair *active = ca_set_find(cas, MINT_KEY_ACTIVE);
    CLEANUP(key_free) struct key *host = NULL, *ek = NULL;
    struct bundle bundle;

    if (bundle_decode(cas->bundle, cas->bundle_len, &bundle, err) < 0)
        return -1;
    if (strcmp(bundle.issuer, keys->info.issuer) != 0)
        return error_set(err, ERROR_INPUT, "the trust bundle is of another trust domain");
    if (key_from_private(active->host_scalar, &host, err) < 0 || key_from_private(active->ek_scalar, &ek, err) < 0)
        return -1;
    key_free(keys->host_ca);
    key_free(keys->ek_ca);
    keys->host_ca = STEAL(host);
    keys->ek_ca = STEAL(ek);
    keys->cas = *cas;
    show_cas(cas, keys->cas_file.seq, &keys->info);
    return 0;
}

int
signer_keys_load(const char *key_dir, struct signer_keys **ret, struct error *err)
{
    CLEANUP(signer_keys_free) struct signer_keys *keys = calloc(1, sizeof *keys);
    CLEANUP(fd_close) int dir = -1;
    struct mint_info *info;

    if (!keys)
        return error_sys(err, ENOMEM, "keys");
    keys->file.fd = keys->cas_file.fd = keys->head.fd = -1;
    keys->interval = KEY_ROTATE_DAYS * INT64_C(86400);
    info = &keys->info;
    dir = open(key_dir, O_RDONLY | O_DIRECTORY | O_CLOEXEC);
    if (dir < 0)
        return error_sys(err, errno, "key folder %s", key_dir);
    if (faccessat(dir, SIGNER_FILE_UNFINISHED, F_OK, AT_SYMLINK_NOFOLLOW) == 0)
        return error_set(err, ERROR_MISSING,
                         "%s: virtid init did not finish here; run it again", key_dir);
    if (check_mode(dir, key_dir, err) < 0 || read_conf(key_dir, info, err) < 0 ||
        read_keys(dir, keys, err) < 0)
        return -1;
    key_point(keys->receipt, info->receipt_point);
    *ret = STEAL(keys);
    return 0;
}
