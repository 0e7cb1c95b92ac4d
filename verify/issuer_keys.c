#include "config.h"

#include "verify/issuer_keys.h"

#include <assert.h>
#include <errno.h>
#include <pthread.h>
#include <stdatomic.h>
#include <stdio.h>
#include <string.h>

#include "lib/common/clock.h"
#include "lib/common/fdio.h"
#include "lib/common/json.h"
#include "lib/http/http_client.h"

enum { CA_FILE_MAX = 65536, CAS_MAX = 8, URI_MAX = NAME_ISSUER_MAX + 64 };

struct key_set {
    atomic_uint holders;
    struct jwks *jwks;
};

struct issuer_keys {
    char issuer[NAME_ISSUER_MAX + 1]; /* "" : given, never fetched */
    struct buf ca_der[CAS_MAX];
    struct x509_der cas[CAS_MAX];
    size_t n_cas;
    long timeout_ms;

    pthread_mutex_t lock;
    pthread_cond_t fetched;
    bool fetching;
    struct key_set *set;     /* NULL before the first one */
    int64_t expires_ms;      /* of the set */
    int64_t last_try_ms;     /* INT64_MIN: never */
    struct error last_error; /* of the last failed try */
};

static int
key_set_new(struct jwks *take_jwks, struct key_set **ret, struct error *err)
{
    struct key_set *set = calloc(1, sizeof *set);

    if (!set) {
        jwks_free(take_jwks);
        return error_sys(err, ENOMEM, "key set");
    }
    atomic_init(&set->holders, 1);
    set->jwks = take_jwks;
    *ret = set;
    return 0;
}

static struct key_set *
key_set_hold(struct key_set *set)
{
    atomic_fetch_add(&set->holders, 1);
    return set;
}

void
key_set_release(struct key_set *set)
{
    if (!set || atomic_fetch_sub(&set->holders, 1) != 1)
        return;
    jwks_free(set->jwks);
    free(set);
}

const struct jwks *
key_set_jwks(const struct key_set *set)
{
    return set->jwks;
}

static int
keys_new(struct issuer_keys **ret, struct error *err)
{
    struct issuer_keys *keys = calloc(1, sizeof *keys);

    if (!keys)
        return error_sys(err, ENOMEM, "issuer's keys");
    pthread_mutex_init(&keys->lock, NULL);
    pthread_cond_init(&keys->fetched, NULL);
    keys->last_try_ms = INT64_MIN;
    *ret = keys;
    return 0;
}

void
issuer_keys_free(struct issuer_keys *keys)
{
    if (!keys)
        return;
    for (size_t i = 0; i < CAS_MAX; i++)
        buf_clear(&keys->ca_der[i]);
    key_set_release(keys->set);
    pthread_cond_destroy(&keys->fetched);
    pthread_mutex_destroy(&keys->lock);
    free(keys);
}

int
issuer_keys_given(const char *text, size_t len, struct issuer_keys **ret,
                  struct error *err)
{
    CLEANUP(issuer_keys_free) struct issuer_keys *keys = NULL;
    struct jwks *jwks = NULL;

    if (keys_new(&keys, err) < 0 || jwks_parse(text, len, &jwks, err) < 0 ||
        key_set_new(jwks, &keys->set, err) < 0)
        return -1;
    *ret = STEAL(keys);
    return 0;
}

/* Every certificate of a PEM file. */
static int
read_cas(struct issuer_keys *keys, const char *path, struct error *err)
{
    static const char end[] = "-----END CERTIFICATE-----";
    CLEANUP(buf_clear) struct buf pem = BUF(CA_FILE_MAX);
    const char *at, *next;

    if (file_read(path, &pem, err) < 0)
        return -1;
    at = buf_text(&pem);
    for (; at && (next = strstr(at, end)); at = next) {
        struct buf *der = &keys->ca_der[keys->n_cas];

        if (keys->n_cas == CAS_MAX)
            return error_set(err, ERROR_INPUT, "%s: more than %d certificates", path,
                             CAS_MAX);
        next += sizeof end - 1;
        *der = BUF(X509_DER_MAX);
        if (x509_from_pem(at, (size_t)(next - at), der, err) < 0)
            return error_wrap(err, "%s", path);
        keys->cas[keys->n_cas++] = (struct x509_der){ der->data, der->len };
    }
    if (keys->n_cas == 0)
        return error_set(err, ERROR_INPUT, "%s: no certificate in PEM", path);
    return 0;
}

int
issuer_keys_fetched(const char *issuer, const char *ca_file, long timeout_ms,
                    struct issuer_keys **ret, struct error *err)
{
    CLEANUP(issuer_keys_free) struct issuer_keys *keys = NULL;

    if (keys_new(&keys, err) < 0)
        return -1;
    assert(keys);
    snprintf(keys->issuer, sizeof keys->issuer, "%s", issuer);
    keys->timeout_ms = timeout_ms;
    if (ca_file && read_cas(keys, ca_file, err) < 0)
        return -1;
    *ret = STEAL(keys);
    return 0;
}

bool
issuer_has_origin_of(const char *issuer, const char *uri)
{
    static const char scheme[] = "https://";
    size_t origin = sizeof scheme - 1 + strcspn(issuer + sizeof scheme - 1, "/");

    return name_is_issuer(issuer) && name_is_issuer(uri) &&
           strncmp(issuer, uri, origin) == 0 && uri[origin] == '/';
}

static int
get_json_text(struct http_client *client, const char *uri, struct buf *into,
              struct error *err)
{
    int status = 0;

    if (http_client_send(client, "GET", uri, "Accept: application/json", NULL, 0,
                         &status, into, err) < 0)
        return -1;
    if (status != 200)
        return error_set(err, ERROR_BUSY, "%s answered %d", uri, status);
    return 0;
}

/* The key set's address, as the issuer's discovery document says (OIDC Discovery, 4).
 */
static int
discover(const struct issuer_keys *keys, struct http_client *client,
         char ret_uri[static URI_MAX], struct error *err)
{
    CLEANUP(buf_clear) struct buf text = BUF(JSON_TEXT_MAX);
    CLEANUP(json_decref) json_t *document = NULL;
    const char *issuer, *uri;
    char from[URI_MAX];

    snprintf(from, sizeof from, "%s/.well-known/openid-configuration", keys->issuer);
    if (get_json_text(client, from, &text, err) < 0)
        return -1;
    if (json_parse((const char *)text.data, text.len, &document, err) < 0 ||
        json_get_string(document, "issuer", false, NAME_ISSUER_MAX, &issuer, err) < 0 ||
        json_get_string(document, "jwks_uri", false, NAME_ISSUER_MAX, &uri, err) < 0)
        return error_wrap(err, "%s", from);
    if (strcmp(issuer, keys->issuer) != 0)
        return error_set(err, ERROR_INPUT, "%s names another issuer: %.100s", from,
                         issuer);
    if (!issuer_has_origin_of(keys->issuer, uri))
        return error_set(err, ERROR_INPUT,
                         "%s: jwks_uri is not of the same origin: %.100s", from, uri);
    snprintf(ret_uri, URI_MAX, "%s", uri);
    return 0;
}

static int
fetch(const struct issuer_keys *keys, struct key_set **ret, int64_t *ret_age_s,
      struct error *err)
{
    CLEANUP(http_client_free) struct http_client *client = NULL;
    CLEANUP(buf_clear) struct buf text = BUF(JSON_TEXT_MAX);
    struct http_client_options options = { .cas = keys->cas,
                                           .n_cas = keys->n_cas,
                                           .timeout_ms = keys->timeout_ms };
    struct jwks *jwks = NULL;
    char uri[URI_MAX];
    long age;

    if (http_client_new(&options, &client, err) < 0 ||
        discover(keys, client, uri, err) < 0 ||
        get_json_text(client, uri, &text, err) < 0)
        return -1;
    if (jwks_parse((const char *)text.data, text.len, &jwks, err) < 0)
        return error_wrap(err, "%s", uri);
    age = http_client_max_age(client);
    if (age < 0)
        age = ISSUER_KEYS_AGE_DEFAULT_S;
    else if (age < ISSUER_KEYS_AGE_MIN_S)
        age = ISSUER_KEYS_AGE_MIN_S;
    else if (age > ISSUER_KEYS_AGE_MAX_S)
        age = ISSUER_KEYS_AGE_MAX_S;
    *ret_age_s = age;
    return key_set_new(jwks, ret, err);
}

/* Called with the lock held, which is given up for the time of the fetch. */
static void
refresh(struct issuer_keys *keys, int64_t now_ms)
{
    struct key_set *set = NULL, *old = NULL;
    struct error err;
    int64_t age_s = 0;
    bool failed;

    keys->fetching = true;
    keys->last_try_ms = now_ms;
    pthread_mutex_unlock(&keys->lock);
    failed = fetch(keys, &set, &age_s, &err) < 0;
    pthread_mutex_lock(&keys->lock);
    if (failed) {
        keys->last_error = err;
    } else {
        old = keys->set;
        keys->set = set;
        keys->expires_ms = now_ms + age_s * 1000;
    }
    keys->fetching = false;
    pthread_cond_broadcast(&keys->fetched);
    key_set_release(old);
}

/* Fetched keys outlive their age while the issuer is away, but not for ever: one of them may
 * have been withdrawn. */
static bool
is_usable(const struct issuer_keys *keys, int64_t now_ms)
{
    return keys->set && (keys->issuer[0] == '\0' ||
                         now_ms < keys->expires_ms + ISSUER_KEYS_STALE_S * INT64_C(1000));
}

static bool
wants_refresh(const struct issuer_keys *keys, int64_t now_ms,
              const struct key_set *unknown)
{
    /* Without any keys a caller waits for nothing else: then a second between two tries
     * is enough. */
    int64_t pause_ms = is_usable(keys, now_ms) ? ISSUER_KEYS_AGAIN_S * 1000 : 1000;

    if (keys->issuer[0] == '\0')
        return false;
    if (keys->last_try_ms != INT64_MIN && now_ms < keys->last_try_ms + pause_ms)
        return false;
    return !keys->set || unknown == keys->set || now_ms >= keys->expires_ms;
}

int
issuer_keys_get(struct issuer_keys *keys, int64_t now_ms, const struct key_set *unknown,
                struct key_set **ret, struct error *err)
{
    pthread_mutex_lock(&keys->lock);
    /* Someone fetches: wait only if there is nothing to go on with. */
    while (keys->fetching && (!is_usable(keys, now_ms) || unknown == keys->set))
        pthread_cond_wait(&keys->fetched, &keys->lock);
    if (!keys->fetching && wants_refresh(keys, now_ms, unknown))
        refresh(keys, now_ms);
    if (!is_usable(keys, now_ms)) {
        *err = keys->last_error;
        err->code = ERROR_BUSY;
        pthread_mutex_unlock(&keys->lock);
        return -1;
    }
    *ret = key_set_hold(keys->set);
    pthread_mutex_unlock(&keys->lock);
    return 0;
}
