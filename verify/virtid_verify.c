#include "config.h"

#include "verify/virtid-verify.h"

#include <errno.h>
#include <stdio.h>
#include <string.h>

#include "lib/common/clock.h"
#include "lib/common/fdio.h"
#include "lib/wire/problem.h"
#include "lib/wire/token.h"
#include "verify/issuer_keys.h"

enum { JWKS_FILE_MAX = 65536, CLAIMS_TEXT_MAX = 8192 };

struct virtid_verifier {
    char issuer[NAME_ISSUER_MAX + 1];
    char audience[NAME_AUDIENCE_MAX + 1];
    struct issuer_keys *keys;
    int64_t min_generation;
};

struct virtid_identity {
    struct token token;
    char uuid[VM_UUID_TEXT];
    unsigned factors;
    struct buf claims;
};

DEFINE_CLEANUP(struct virtid_verifier *, virtid_verifier_free);
DEFINE_CLEANUP(struct virtid_identity *, virtid_identity_free);

static const char *const result_names[] = {
    [VIRTID_VALID] = "valid",
    [VIRTID_MALFORMED] = "token-malformed",
    [VIRTID_ALGORITHM] = "token-algorithm",
    [VIRTID_KEY] = "token-key",
    [VIRTID_SIGNATURE] = "token-signature",
    [VIRTID_EXPIRED] = "token-expired",
    [VIRTID_NOT_YET] = "token-not-yet",
    [VIRTID_ISSUER] = "token-issuer",
    [VIRTID_AUDIENCE] = "token-audience",
    [VIRTID_CLAIMS] = "token-claims",
    [VIRTID_GENERATION] = "token-generation",
    [VIRTID_UNREACHABLE] = "unreachable",
    [VIRTID_USAGE] = "usage",
    [VIRTID_SYSTEM] = "system",
};

const char *
virtid_result_name(enum virtid_result result)
{
    size_t n = sizeof result_names / sizeof result_names[0];

    return (unsigned)result < n ? result_names[result] : "unknown";
}

/* Fill what the caller sees. */
static enum virtid_result
tell(struct virtid_error *ret, enum virtid_result result, const struct error *err)
{
    const struct problem *p = problem_find(virtid_result_name(result));
    const char *repair = p && p->repair ? p->repair : "";

    if (!ret)
        return result;
    memset(ret, 0, sizeof *ret);
    ret->result = result;
    if (result == VIRTID_UNREACHABLE)
        repair = "check the issuer's URL and its CA (--ca), and that the token service "
                 "answers";
    snprintf(ret->problem, sizeof ret->problem, "%s", p ? p->name : "");
    snprintf(ret->text, sizeof ret->text, "%s", err->text);
    snprintf(ret->repair, sizeof ret->repair, "%s", repair);
    return result;
}

/* A refusal that names its problem is that; nothing else may look like a bad token. */
static enum virtid_result
result_of(const struct error *err)
{
    for (enum virtid_result r = VIRTID_MALFORMED; r <= VIRTID_GENERATION; r++) {
        if (err->code == ERROR_DENIED && strcmp(err->problem, result_names[r]) == 0)
            return r;
    }
    return VIRTID_SYSTEM;
}

static int
check_options(const struct virtid_options *options, struct error *err)
{
    if (options->size != sizeof *options)
        return error_set(err, ERROR_INPUT, "options of another version of the library");
    if (!options->issuer || !name_is_issuer(options->issuer))
        return error_set(
            err, ERROR_INPUT,
            "an issuer is https://HOST[:PORT][/PATH], without a slash at the end");
    if (!options->audience || !name_is_audience(options->audience))
        return error_set(err, ERROR_INPUT,
                         "an audience is 1 to %d printable characters",
                         NAME_AUDIENCE_MAX);
    if (options->jwks_text && options->jwks_file)
        return error_set(err, ERROR_INPUT,
                         "keys are given as text or as a file, not as both");
    if (options->min_generation < 0)
        return error_set(err, ERROR_INPUT, "a generation is not negative");
    return 0;
}

static int
load_keys(const struct virtid_options *options, struct issuer_keys **ret,
          struct error *err)
{
    CLEANUP(buf_clear) struct buf text = BUF(JWKS_FILE_MAX);

    if (options->jwks_text)
        return issuer_keys_given(options->jwks_text, strlen(options->jwks_text), ret,
                                 err);
    if (!options->jwks_file)
        return issuer_keys_fetched(options->issuer, options->ca_file,
                                   options->timeout_ms, ret, err);
    if (file_read(options->jwks_file, &text, err) < 0)
        return -1;
    if (issuer_keys_given((const char *)text.data, text.len, ret, err) < 0)
        return error_wrap(err, "%s", options->jwks_file);
    return 0;
}

enum virtid_result
virtid_verifier_new(const struct virtid_options *options,
                    struct virtid_verifier **ret_verifier, struct virtid_error *error)
{
    CLEANUP(virtid_verifier_free) struct virtid_verifier *verifier = NULL;
    struct error err;

    if (check_options(options, &err) < 0)
        return tell(error, VIRTID_USAGE, &err);
    verifier = calloc(1, sizeof *verifier);
    if (!verifier) {
        error_sys(&err, ENOMEM, "verifier");
        return tell(error, VIRTID_SYSTEM, &err);
    }
    snprintf(verifier->issuer, sizeof verifier->issuer, "%s", options->issuer);
    snprintf(verifier->audience, sizeof verifier->audience, "%s", options->audience);
    verifier->min_generation = options->min_generation;
    if (load_keys(options, &verifier->keys, &err) < 0)
        return tell(error, err.code == ERROR_SYSTEM ? VIRTID_SYSTEM : VIRTID_USAGE,
                    &err);
    *ret_verifier = STEAL(verifier);
    return VIRTID_VALID;
}

void
virtid_verifier_free(struct virtid_verifier *verifier)
{
    if (!verifier)
        return;
    issuer_keys_free(verifier->keys);
    free(verifier);
}

/* The factors named; a word that we do not know says nothing. */
static int
read_factors(const json_t *claims, unsigned *ret, struct error *err)
{
    static const char *const words[] = { "host", "vtpm", "secret" };
    const json_t *ours, *list;
    size_t i;
    json_t *word;

    if (json_get_object(claims, "virtid", false, &ours, err) < 0 ||
        json_get_array(ours, "factors", false, 8, &list, err) < 0)
        return -1;
    *ret = 0;
    json_array_foreach(list, i, word)
    {
        for (unsigned f = 0; f < 3; f++) {
            if (json_is_string(word) && strcmp(json_string_value(word), words[f]) == 0)
                *ret |= 1u << f;
        }
    }
    return 0;
}

/* What only a VM's token says. */
static int
complete(const struct virtid_verifier *v, struct virtid_identity *vm, struct error *err)
{
    struct error seen;

    if (!vm->token.has_uuid)
        return error_problem(err, ERROR_DENIED, "token-claims",
                             "sub is no spiffe://DOMAIN/vm/UUID");
    if (read_factors(vm->token.claims, &vm->factors, &seen) < 0)
        return error_problem(err, ERROR_DENIED, "token-claims", "%s", seen.text);
    if (vm->token.gen < v->min_generation)
        return error_problem(err, ERROR_DENIED, "token-generation", "generation %lld, and at least %lld is wanted",
                             (long long)vm->token.gen, (long long)v->min_generation);
    vm_uuid_print(&vm->token.uuid, vm->uuid);
    vm->claims = BUF(CLAIMS_TEXT_MAX);
    if (json_print(vm->token.claims, &vm->claims, err) < 0)
        return -1;
    return buf_text(&vm->claims) ? 0 : error_sys(err, ENOMEM, "token");
}

static int
check(struct virtid_verifier *v, struct key_set *set, const char *token, size_t len,
      struct virtid_identity *vm, struct error *err)
{
    return token_verify(token, len, key_set_jwks(set), v->issuer, v->audience,
                        clock_realtime_ms() / 1000, &vm->token, err);
}

enum virtid_result
virtid_verify(struct virtid_verifier *verifier, const char *token, size_t len,
              struct virtid_identity **ret_identity, struct virtid_error *error)
{
    CLEANUP(virtid_identity_free) struct virtid_identity *vm = calloc(1, sizeof *vm);
    CLEANUP(key_set_release) struct key_set *set = NULL, *newer = NULL;
    struct error err;
    int failed;

    if (!vm) {
        error_sys(&err, ENOMEM, "token");
        return tell(error, VIRTID_SYSTEM, &err);
    }
    if (issuer_keys_get(verifier->keys, clock_monotonic_ms(), NULL, &set, &err) < 0)
        return tell(error, VIRTID_UNREACHABLE, &err);
    failed = check(verifier, set, token, len, vm, &err);
    if (failed && strcmp(err.problem, "token-key") == 0 &&
        issuer_keys_get(verifier->keys, clock_monotonic_ms(), set, &newer, &err) == 0)
        failed = check(verifier, newer, token, len, vm, &err);
    if (failed || complete(verifier, vm, &err) < 0)
        return tell(error, result_of(&err), &err);
    *ret_identity = STEAL(vm);
    return VIRTID_VALID;
}

void
virtid_identity_free(struct virtid_identity *identity)
{
    if (!identity)
        return;
    token_clear(&identity->token);
    buf_clear(&identity->claims);
    free(identity);
}

const char *
virtid_identity_uuid(const struct virtid_identity *vm)
{
    return vm->uuid;
}

const char *
virtid_identity_name(const struct virtid_identity *vm)
{
    return vm->token.name;
}

const char *
virtid_identity_subject(const struct virtid_identity *vm)
{
    return vm->token.sub;
}

const char *
virtid_identity_claims(const struct virtid_identity *vm)
{
    return (const char *)vm->claims.data;
}

const char *
virtid_identity_key_id(const struct virtid_identity *vm)
{
    return vm->token.kid;
}

unsigned
virtid_identity_factors(const struct virtid_identity *vm)
{
    return vm->factors;
}

int64_t
virtid_identity_generation(const struct virtid_identity *vm)
{
    return vm->token.gen;
}

uint64_t
virtid_identity_epoch(const struct virtid_identity *vm)
{
    return vm->token.epoch;
}

int64_t
virtid_identity_issued(const struct virtid_identity *vm)
{
    return vm->token.iat;
}

int64_t
virtid_identity_expires(const struct virtid_identity *vm)
{
    return vm->token.exp;
}

const uint8_t *
virtid_identity_confirmation(const struct virtid_identity *vm)
{
    return vm->token.has_jkt ? vm->token.jkt : NULL;
}
