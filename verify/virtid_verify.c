#include "config.h"

#include "verify/virtid-verify.h"

#include <errno.h>
#include <stdio.h>
#include <string.h>

#include "lib/common/clock.h"
#include "lib/common/fdio.h"
#include "lib/wire/pop.h"
#include "lib/wire/problem.h"
#include "lib/wire/token.h"
#include "verify/issuer_keys.h"

enum { JWKS_FILE_MAX = 65536, CLAIMS_TEXT_MAX = 8192 };

struct virtid_verifier {
    char issuer[NAME_ISSUER_MAX + 1];     /* as in the tokens: of bound ones ISSUER/bound and pop:NAME */
    char audience[NAME_AUDIENCE_MAX + sizeof TOKEN_BOUND_AUDIENCE];
    char name[NAME_AUDIENCE_MAX + 1];     /* our own, which proofs are made for */
    bool bound;
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
    [VIRTID_PROOF] = "token-proof",
    [VIRTID_BOUND] = "token-bound",
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
    for (enum virtid_result r = VIRTID_MALFORMED; r <= VIRTID_BOUND; r++) {
        if (err->code == ERROR_DENIED && strcmp(err->problem, result_names[r]) == 0)
            return r;
    }
    return VIRTID_SYSTEM;
}

static bool
ends_bound(const char *issuer)
{
    size_t len = strlen(issuer), end = strlen(TOKEN_BOUND_PATH);

    return len >= end && strcmp(issuer + len - end, TOKEN_BOUND_PATH) == 0;
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
    if (options->bound && strlen(options->audience) > NAME_BOUND_MAX)
        return error_set(err, ERROR_INPUT, "an audience of bound tokens is 1 to %d printable characters", NAME_BOUND_MAX);
    if (options->bound && (strlen(options->issuer) + strlen(TOKEN_BOUND_PATH) > NAME_ISSUER_MAX ||
                           ends_bound(options->issuer)))
        return error_set(err, ERROR_INPUT, "the issuer is given without " TOKEN_BOUND_PATH ", which is added here");
    return 0;
}

/* As they stand in the tokens. */
static void
take_names(struct virtid_verifier *v, const struct virtid_options *options)
{
    v->bound = options->bound != 0;
    snprintf(v->name, sizeof v->name, "%s", options->audience);
    snprintf(v->issuer, sizeof v->issuer, "%s%s", options->issuer, v->bound ? TOKEN_BOUND_PATH : "");
    snprintf(v->audience, sizeof v->audience, "%s%s", v->bound ? TOKEN_BOUND_AUDIENCE : "", v->name);
}

static int
load_keys(const struct virtid_options *options, const char *issuer, struct issuer_keys **ret,
          struct error *err)
{
    CLEANUP(buf_clear) struct buf text = BUF(JWKS_FILE_MAX);

    if (options->jwks_text)
        return issuer_keys_given(options->jwks_text, strlen(options->jwks_text), ret,
                                 err);
    if (!options->jwks_file)
        return issuer_keys_fetched(issuer, options->ca_file,
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
    take_names(verifier, options);
    verifier->min_generation = options->min_generation;
    if (load_keys(options, verifier->issuer, &verifier->keys, &err) < 0)
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

/*
 * A key that is not published: if the token says of itself that it is of the other kind, that is the better word.  It
 * is refused in any case.
 */
static void
name_the_kind(const struct virtid_verifier *v, const char *token, size_t len, struct error *err)
{
    char iss[NAME_ISSUER_MAX + 1], aud[NAME_AUDIENCE_MAX + 1];
    size_t base = strlen(v->issuer) - (v->bound ? strlen(TOKEN_BOUND_PATH) : 0);
    struct error ignored;

    if (strcmp(err->problem, "token-key") != 0 || token_peek(token, len, iss, aud, &ignored) < 0 ||
        strncmp(iss, v->issuer, base) != 0)
        return;
    if (!v->bound && strcmp(iss + base, TOKEN_BOUND_PATH) == 0)
        error_problem(err, ERROR_DENIED, "token-bound", "a bound token, and this takes bearer tokens");
    else if (v->bound && iss[base] == '\0')
        error_problem(err, ERROR_DENIED, "token-issuer", "a bearer token, and this takes bound tokens");
}

static enum virtid_result
verify(struct virtid_verifier *verifier, const char *token, size_t len, struct virtid_identity **ret_identity,
       struct virtid_error *error)
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
    if (failed)
        name_the_kind(verifier, token, len, &err);
    if (failed || complete(verifier, vm, &err) < 0)
        return tell(error, result_of(&err), &err);
    *ret_identity = STEAL(vm);
    return VIRTID_VALID;
}

enum virtid_result
virtid_verify(struct virtid_verifier *verifier, const char *token, size_t len,
              struct virtid_identity **ret_identity, struct virtid_error *error)
{
    struct error err;

    if (!verifier->bound)
        return verify(verifier, token, len, ret_identity, error);
    error_set(&err, ERROR_DENIED, "a token without a proof");
    return tell(error, VIRTID_BOUND, &err);
}

enum virtid_result
virtid_verify_proof(struct virtid_verifier *verifier, const char *proof, size_t len, const uint8_t *nonce,
                    const uint8_t *exporter, struct virtid_identity **ret_identity, struct virtid_error *error)
{
    struct pop_place place = { .verifier = verifier->name, .nonce = nonce, .exporter = exporter };
    CLEANUP(virtid_identity_free) struct virtid_identity *vm = NULL;
    enum virtid_result result;
    struct error err;
    struct pop pop;

    if (!verifier->bound || !nonce || !exporter) {
        error_set(&err, ERROR_INPUT, verifier->bound ? "a proof is of a nonce and of a connection"
                                                     : "this verifier takes bearer tokens; make one with options.bound");
        return tell(error, VIRTID_USAGE, &err);
    }
    if (len == 0 || !memchr(proof, '~', len))
        return virtid_verify(verifier, proof, len, ret_identity, error);
    if (pop_parse(proof, len, &pop, &err) < 0)
        return tell(error, VIRTID_MALFORMED, &err);
    result = verify(verifier, pop.token, strlen(pop.token), &vm, error);
    if (result != VIRTID_VALID)
        return result;
    if (pop_check(&pop, virtid_identity_confirmation(vm), &place, &err) < 0)
        return tell(error, err.code == ERROR_DENIED ? VIRTID_PROOF : VIRTID_SYSTEM, &err);
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
