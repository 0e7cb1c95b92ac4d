#include "config.h"

#include "plugin/enroll/host_identity.h"

#include <errno.h>
#include <limits.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include "lib/common/clock.h"
#include "lib/common/fdio.h"
#include "lib/crypto/hash.h"

enum { PEM_MAX = 16384, PAIR_MAX = 4096 /* what key_from_pem() reads */, SERVICE_FILE_MAX = 4096 };

static const char TLS_FILE[] = "tls.pem", PROOF_FILE[] = "proof.pem", BUNDLE_FILE[] = "bundle";
static const char JOIN_TLS_FILE[] = "join-tls.key", JOIN_PROOF_FILE[] = "join-proof.key";

static int
path_in(char ret[static PATH_MAX], const char *dir, const char *file, struct error *err)
{
    if (snprintf(ret, PATH_MAX, "%s/%s", dir, file) >= PATH_MAX)
        return error_set(err, ERROR_INPUT, "the path of %s is too long", file);
    return 0;
}

static int
read_file(const char *dir, const char *file, struct buf *into, struct error *err)
{
    char path[PATH_MAX];

    return path_in(path, dir, file, err) < 0 ? -1 : file_read(path, into, err);
}

static int
write_file(const char *dir, const char *file, const void *bytes, size_t len, struct error *err)
{
    char path[PATH_MAX];

    return path_in(path, dir, file, err) < 0 ? -1 : file_replace(path, bytes, len, 0600, err);
}

static int
remove_file(const char *dir, const char *file, struct error *err)
{
    char path[PATH_MAX];

    if (path_in(path, dir, file, err) < 0)
        return -1;
    return unlink(path) < 0 && errno != ENOENT ? error_sys(err, errno, "remove %s", path) : 0;
}

/* ---- the keys of a join ---- */

static int
load_key(const char *dir, const char *file, struct key **ret, struct error *err)
{
    CLEANUP(buf_clear) struct buf pem = BUF(PEM_MAX);

    if (read_file(dir, file, &pem, err) < 0)
        return -1;
    if (key_from_pem(pem.data, pem.len, ret, err) < 0)
        return error_wrap(err, "%s/%s", dir, file);
    return 0;
}

static int
load_or_make_key(const char *dir, const char *file, struct key **ret, struct error *err)
{
    CLEANUP(key_free) struct key *key = NULL;
    CLEANUP(buf_clear) struct buf pem = BUF(PEM_MAX);
    struct error none;

    if (load_key(dir, file, ret, &none) == 0)
        return 0;
    if (none.code != ERROR_MISSING) {
        *err = none;
        return -1;
    }
    if (key_generate(&key, err) < 0 || key_to_pem(key, &pem, err) < 0 ||
        write_file(dir, file, pem.data, pem.len, err) < 0)
        return error_wrap(err, "making %s/%s", dir, file);
    *ret = STEAL(key);
    return 0;
}

static bool
is_same_key(const struct key *a, const struct key *b)
{
    uint8_t x[KEY_POINT_LEN], y[KEY_POINT_LEN];

    key_point(a, x);
    key_point(b, y);
    return memcmp(x, y, sizeof x) == 0; /* public keys: no secret to leak */
}

/* The host has joined with these keys: another join is with others. */
static int
drop_join_keys(const char *dir, struct error *err)
{
    return remove_file(dir, JOIN_TLS_FILE, err) < 0 ? -1 : remove_file(dir, JOIN_PROOF_FILE, err);
}

/* A crash behind the last step of a join leaves keys that are in use. */
static int
drop_used_join_keys(const char *dir, struct error *err)
{
    CLEANUP(key_free) struct key *kept = NULL;
    CLEANUP(key_free) struct key *used = NULL;
    struct error none;

    if (load_key(dir, JOIN_TLS_FILE, &kept, &none) < 0 || load_key(dir, TLS_FILE, &used, &none) < 0 ||
        !is_same_key(kept, used))
        return 0;
    return drop_join_keys(dir, err);
}

int
host_identity_join_keys(const char *state_dir, struct key **ret_tls, struct key **ret_proof,
                        struct error *err)
{
    CLEANUP(key_free) struct key *tls = NULL;

    if (drop_used_join_keys(state_dir, err) < 0 ||
        load_or_make_key(state_dir, JOIN_TLS_FILE, &tls, err) < 0 ||
        load_or_make_key(state_dir, JOIN_PROOF_FILE, ret_proof, err) < 0)
        return -1;
    *ret_tls = STEAL(tls);
    return 0;
}

/* ---- what an early version left ---- */

static int
join_pair(const char *dir, const char *key, const char *cert, const char *file, struct error *err)
{
    CLEANUP(buf_clear) struct buf pem = BUF(PAIR_MAX);

    if (read_file(dir, key, &pem, err) < 0 || read_file(dir, cert, &pem, err) < 0)
        return -1;
    return write_file(dir, file, pem.data, pem.len, err);
}

static bool
is_there(const char *dir, const char *file)
{
    char path[PATH_MAX];
    struct error none;

    return path_in(path, dir, file, &none) == 0 && access(path, F_OK) == 0;
}

int
host_identity_upgrade(const char *state_dir, struct error *err)
{
    static const char *const old[] = { "proof.key", "proof.crt", "tls.key", "tls.crt",
                                       "ca.crt" /* the bundle says whom to trust */ };

    /* As in a join tls.pem is written last, since it makes the rest count. */
    if (!is_there(state_dir, TLS_FILE) && is_there(state_dir, "tls.crt") &&
        (join_pair(state_dir, "proof.key", "proof.crt", PROOF_FILE, err) < 0 ||
         join_pair(state_dir, "tls.key", "tls.crt", TLS_FILE, err) < 0))
        return error_wrap(err, "keys of an earlier version");
    if (!is_there(state_dir, TLS_FILE))
        return 0; /* has not joined */
    for (size_t i = 0; i < sizeof old / sizeof *old; i++) {
        if (remove_file(state_dir, old[i], err) < 0)
            return -1;
    }
    return 0;
}

/* ---- load ---- */

static int
load_cert(const char *dir, const char *file, struct buf *into_der, struct error *err)
{
    CLEANUP(buf_clear) struct buf pem = BUF(PEM_MAX);

    if (read_file(dir, file, &pem, err) < 0)
        return -1;
    if (x509_from_pem((const char *)pem.data, pem.len, into_der, err) < 0)
        return error_wrap(err, "%s/%s", dir, file);
    return 0;
}

static int
load_pair(const char *dir, const char *file, struct key **ret_key, struct buf *into_der,
          struct error *err)
{
    return load_key(dir, file, ret_key, err) < 0 ? -1 : load_cert(dir, file, into_der, err);
}

static int
copy_member(const json_t *object, const char *name, char *ret, size_t max, struct error *err)
{
    const char *text;

    if (json_get_string(object, name, false, max, &text, err) < 0)
        return -1;
    memcpy(ret, text, strlen(text) + 1);
    return 0;
}

static int
load_service(const char *dir, struct host_identity *id, struct error *err)
{
    CLEANUP(buf_clear) struct buf text = BUF(SERVICE_FILE_MAX);
    CLEANUP(json_decref) json_t *object = NULL;

    if (read_file(dir, "service.json", &text, err) < 0)
        return -1;
    if (json_parse((const char *)text.data, text.len, &object, err) < 0 ||
        copy_member(object, "name", id->name, sizeof id->name - 1, err) < 0 ||
        copy_member(object, "trust_domain", id->trust_domain, sizeof id->trust_domain - 1, err) < 0 ||
        copy_member(object, "issuer", id->issuer, sizeof id->issuer - 1, err) < 0 ||
        copy_member(object, "service", id->service, sizeof id->service - 1, err) < 0 ||
        copy_member(object, "guest_listener", id->guest_listener, sizeof id->guest_listener - 1, err) < 0)
        return error_wrap(err, "%s/service.json", dir);
    return 0;
}

static int
note_file(const char *dir, const char *file, struct host_identity_file *ret, struct error *err)
{
    char path[PATH_MAX];
    struct stat st;

    if (path_in(path, dir, file, err) < 0)
        return -1;
    if (stat(path, &st) < 0)
        return errno == ENOENT ? error_set(err, ERROR_MISSING, "there is no %s", path)
                               : error_sys(err, errno, "%s", path);
    *ret = (struct host_identity_file){ st.st_ino, st.st_mtim };
    return 0;
}

static int
note_files(const char *dir, struct host_identity *id, struct error *err)
{
    return note_file(dir, TLS_FILE, &id->files[0], err) < 0 ? -1 : note_file(dir, BUNDLE_FILE, &id->files[1], err);
}

bool
host_identity_is_old(const char *state_dir, const struct host_identity *identity)
{
    struct host_identity_file now[2];
    struct error none;
    bool old = false;

    if (note_file(state_dir, TLS_FILE, &now[0], &none) < 0 || note_file(state_dir, BUNDLE_FILE, &now[1], &none) < 0)
        return false;
    for (size_t i = 0; i < 2; i++)
        old |= now[i].number != identity->files[i].number || now[i].time.tv_sec != identity->files[i].time.tv_sec ||
               now[i].time.tv_nsec != identity->files[i].time.tv_nsec;
    return old;
}

int
host_identity_load(const char *state_dir, struct host_identity **ret, struct error *err)
{
    CLEANUP(host_identity_free) struct host_identity *id = calloc(1, sizeof *id);
    struct x509_info info;

    if (!id)
        return error_sys(err, ENOMEM, "host identity");
    id->tls_cert = BUF(X509_DER_MAX);
    id->proof_cert = BUF(X509_DER_MAX);
    id->bundle = BUF(BUNDLE_MAX);
    /* The files first: what replaces them while we read is seen as newer. */
    if (note_files(state_dir, id, err) < 0 || load_service(state_dir, id, err) < 0 ||
        load_pair(state_dir, PROOF_FILE, &id->proof_key, &id->proof_cert, err) < 0 ||
        read_file(state_dir, BUNDLE_FILE, &id->bundle, err) < 0 ||
        load_pair(state_dir, TLS_FILE, &id->tls_key, &id->tls_cert, err) < 0)
        return -1;
    if (bundle_decode(id->bundle.data, id->bundle.len, &id->trust, err) < 0)
        return error_wrap(err, "%s/%s", state_dir, BUNDLE_FILE);
    if (x509_read(id->tls_cert.data, id->tls_cert.len, &info, err) < 0)
        return error_wrap(err, "%s/%s", state_dir, TLS_FILE);
    id->not_before = info.not_before;
    id->not_after = info.not_after;
    *ret = STEAL(id);
    return 0;
}

bool
host_identity_has_ended(const struct host_identity *identity, int64_t utc_s, struct error *ret_why)
{
    time_t end = (time_t)identity->not_after;
    char text[32] = "";
    struct tm utc;

    if (utc_s < identity->not_after)
        return false;
    if (gmtime_r(&end, &utc))
        strftime(text, sizeof text, "%Y-%m-%d %H:%M", &utc);
    error_set(ret_why, ERROR_DENIED, "the certificate of host %s ended %s UTC", identity->name, text);
    return true;
}

void
host_identity_free(struct host_identity *identity)
{
    if (!identity)
        return;
    key_free(identity->tls_key);
    key_free(identity->proof_key);
    buf_clear(&identity->tls_cert);
    buf_clear(&identity->proof_cert);
    buf_clear(&identity->bundle);
    free(identity);
}

/* ---- store ---- */

/* A certificate of the answer must be for the key we asked with, or nobody could use it. */
static int
check_cert(const char *pem, const struct key *key, struct error *err)
{
    CLEANUP(buf_clear) struct buf der = BUF(X509_DER_MAX);
    uint8_t point[KEY_POINT_LEN];
    struct x509_info info;

    if (x509_from_pem(pem, strlen(pem), &der, err) < 0 || x509_read(der.data, der.len, &info, err) < 0)
        return -1;
    key_point(key, point);
    if (memcmp(point, info.point, sizeof point) != 0) /* public keys: no secret to leak */
        return error_set(err, ERROR_DENIED, "the certificate is for another key");
    return 0;
}

static int
store_pair(const char *dir, const char *file, const struct key *key, const char *cert,
           struct error *err)
{
    CLEANUP(buf_clear) struct buf pem = BUF(PAIR_MAX);

    if (key_to_pem(key, &pem, err) < 0)
        return -1;
    buf_add(&pem, cert, strlen(cert));
    if (!buf_ok(&pem))
        return error_set(err, buf_error_code(&pem), "a certificate of %zu bytes for %s", strlen(cert), file);
    return write_file(dir, file, pem.data, pem.len, err);
}

static int
store_service(const char *dir, const char *name, const char *service, const json_t *answer,
              struct error *err)
{
    CLEANUP(buf_clear) struct buf text = BUF(SERVICE_FILE_MAX);
    CLEANUP(json_decref) json_t *object = NULL;
    const char *issuer, *trust_domain, *guests;

    if (json_get_string(answer, "issuer", false, NAME_ISSUER_MAX, &issuer, err) < 0 ||
        json_get_string(answer, "trust_domain", false, NAME_TRUST_DOMAIN_MAX, &trust_domain, err) < 0 ||
        json_get_string(answer, "guest_listener", false, HOST_ADDRESS_MAX, &guests, err) < 0)
        return -1;
    if (!name_is_issuer(issuer) || !name_is_trust_domain(trust_domain))
        return error_set(err, ERROR_INPUT, "the service's issuer or trust domain is no good name");
    object = json_pack("{s:s,s:s,s:s,s:s,s:s}", "name", name, "service", service, "issuer", issuer,
                       "trust_domain", trust_domain, "guest_listener", guests);
    if (!object || json_print(object, &text, err) < 0)
        return error_set(err, ERROR_SYSTEM, "service.json");
    return write_file(dir, "service.json", text.data, text.len, err);
}

int
host_identity_take_bundle(const char *state_dir, const struct host_identity *identity, const uint8_t *bytes,
                          size_t len, uint64_t *ret_serial, struct error *err)
{
    struct bundle next;

    *ret_serial = identity->trust.serial;
    if (len == identity->bundle.len && memcmp(bytes, identity->bundle.data, len) == 0)
        return 0;
    if (bundle_accept(&identity->trust, bytes, len, &next, err) < 0 ||
        write_file(state_dir, BUNDLE_FILE, bytes, len, err) < 0)
        return -1;
    *ret_serial = next.serial;
    return 0;
}

/* Whom this host trusts from now on: the CA that the join code names, by its own word. */
static int
take_answer_bundle(const json_t *answer, const uint8_t ca_sha256[static SHA256_LEN], struct buf *into, struct error *err)
{
    uint8_t bytes[BUNDLE_MAX], digest[SHA256_LEN];
    struct bundle bundle;
    size_t len;

    if (json_get_bytes(answer, "bundle", false, bytes, sizeof bytes, &len, err) < 0 ||
        bundle_accept(NULL, bytes, len, &bundle, err) < 0 ||
        hash_sha256(bundle.ca_now, bundle.ca_now_len, digest, err) < 0)
        return error_wrap(err, "trust bundle");
    if (memcmp(digest, ca_sha256, sizeof digest) != 0) /* public */
        return error_problem(err, ERROR_DENIED, "bundle-refused", "the trust bundle is not of the CA that the join code names");
    buf_add(into, bytes, len);
    return buf_ok(into) ? 0 : error_sys(err, ENOMEM, "trust bundle");
}

/* A service that was taken over can not lead this host elsewhere. */
static int
check_domain(const struct host_identity *held, const json_t *answer, struct error *err)
{
    const char *issuer, *trust_domain;

    if (json_get_string(answer, "issuer", false, NAME_ISSUER_MAX, &issuer, err) < 0 ||
        json_get_string(answer, "trust_domain", false, NAME_TRUST_DOMAIN_MAX, &trust_domain, err) < 0)
        return -1;
    if (strcmp(issuer, held->issuer) != 0 || strcmp(trust_domain, held->trust_domain) != 0)
        return error_problem(err, ERROR_DENIED, "issuer-changed", "it names issuer %s of trust domain %s, this host "
                             "joined %s of %s", issuer, trust_domain, held->issuer, held->trust_domain);
    return 0;
}

/* `bundle`: NULL leaves the one that is held. */
static int
store_answer(const char *dir, const char *name, const char *service, const struct buf *bundle,
             const struct key *tls_key, const struct key *proof_key, const json_t *answer, struct error *err)
{
    const char *tls, *proof;

    if (json_get_string(answer, "tls_cert", false, PEM_MAX, &tls, err) < 0 ||
        json_get_string(answer, "proof_cert", false, PEM_MAX, &proof, err) < 0 ||
        check_cert(tls, tls_key, err) < 0 || check_cert(proof, proof_key, err) < 0)
        return error_wrap(err, "the service's answer");
    if (store_service(dir, name, service, answer, err) < 0 ||
        (bundle && write_file(dir, BUNDLE_FILE, bundle->data, bundle->len, err) < 0) ||
        store_pair(dir, PROOF_FILE, proof_key, proof, err) < 0 ||
        store_pair(dir, TLS_FILE, tls_key, tls, err) < 0 || drop_join_keys(dir, err) < 0)
        return error_wrap(err, "keeping what the service answered");
    return 0;
}

int
host_identity_store(const char *state_dir, const char *name, const char *service,
                    const uint8_t ca_sha256[static SHA256_LEN], const struct key *tls_key,
                    const struct key *proof_key, const json_t *answer, struct error *err)
{
    CLEANUP(buf_clear) struct buf bundle = BUF(BUNDLE_MAX);

    if (take_answer_bundle(answer, ca_sha256, &bundle, err) < 0)
        return error_wrap(err, "the service's answer");
    return store_answer(state_dir, name, service, &bundle, tls_key, proof_key, answer, err);
}

int
host_identity_renew(const char *state_dir, const struct host_identity *held, const struct key *tls_key,
                    const struct key *proof_key, const json_t *answer, struct error *err)
{
    if (check_domain(held, answer, err) < 0)
        return error_wrap(err, "the service's answer");
    return store_answer(state_dir, held->name, held->service, NULL, tls_key, proof_key, answer, err);
}
