#include "config.h"

#include "tests/unit/sim_stepper.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stdio.h>
#include <string.h>

#include <cmocka.h>

#include "lib/common/clock.h"
#include "lib/crypto/hash.h"
#include "lib/wire/token.h"

struct answer the_answer;

void
sim_stepper_clear(struct sim_stepper *s)
{
    key_free(s->next);
    sim_vm_clear(&s->vm);
}

static void
sign_next(struct sim_stepper *s)
{
    CLEANUP(buf_clear) struct buf message = BUF(256);
    struct transcript t;
    struct error err;
    uint8_t hash[32];

    assert_int_equal(prove_transcript(&s->vm.p, the_mint.info.issuer, the_api.exporter, &t, &err), 0);
    assert_int_equal(transcript_hash(&t, hash, &err), 0);
    assert_int_equal(transcript_secret_message(hash, &message, &err), 0);
    assert_int_equal(key_sign(s->next, message.data, message.len, s->vm.p.new_sig, &err), 0);
}

/* A proof with the next key, which is made where there is none. */
int
sim_stepper_prove(struct sim_stepper *s, const struct sim_host *h)
{
    struct error err;

    if (!s->next)
        assert_int_equal(key_generate(&s->next, &err), 0);
    sim_vm_prove(&s->vm, h);
    s->vm.p.has_new = s->vm.p.fresh = true;
    key_point(s->next, s->vm.p.new_);
    sim_vm_sign(&s->vm, h);
    sign_next(s);
    return sim_vm_send(&s->vm, &the_answer);
}

/* What the agent and its TPM do with EXTEND. */
void
sim_stepper_extend(struct sim_stepper *s)
{
    uint8_t both[64];
    struct error err;

    assert_int_equal(the_answer.type, ANSWER_EXTEND);
    assert_memory_equal(the_answer.from, s->vm.tpm.x, 32);
    memcpy(both, the_answer.from, 32);
    memcpy(both + 32, the_answer.v, 32);
    assert_int_equal(hash_sha256(both, sizeof both, s->vm.tpm.x, &err), 0);
    assert_memory_equal(the_answer.to, s->vm.tpm.x, 32);
}

/* TOKEN: the next key is the current one. */
void
sim_stepper_take(struct sim_stepper *s)
{
    assert_int_equal(the_answer.type, ANSWER_TOKEN);
    key_free(s->vm.secret);
    s->vm.secret = s->next;
    s->next = NULL;
}

void
sim_stepper_step(struct sim_stepper *s, const struct sim_host *h)
{
    assert_int_equal(sim_stepper_prove(s, h), 200);
    sim_stepper_extend(s);
    assert_int_equal(sim_stepper_prove(s, h), 200);
    sim_stepper_take(s);
}

bool
sim_says_fresh(const char *factor)
{
    CLEANUP(jwks_free) struct jwks *jwks = NULL;
    CLEANUP(token_clear) struct token token;
    struct error err = { 0 };

    memset(&token, 0, sizeof token);
    assert_int_equal(the_answer.type, ANSWER_TOKEN);
    assert_int_equal(jwks_parse(the_mint.info.jwks, strlen(the_mint.info.jwks), &jwks, &err), 0);
    if (token_verify(the_answer.token, strlen(the_answer.token), jwks, the_mint.info.issuer, "virtid-connect",
                     clock_realtime_ms() / 1000, &token, &err) < 0)
        fail_msg("%s", err.text);
    return json_is_true(json_object_get(
        json_object_get(json_object_get(token.claims, "virtid"), factor), "fresh"));
}

/* As `virtid info` has it. */
void
sim_assert_shown(const struct sim_vm *vm, const char *member, const char *expected)
{
    CLEANUP(json_decref) json_t *o = NULL;
    char target[80];

    snprintf(target, sizeof target, "/v1/admin/vms/%s", vm->text);
    assert_int_equal(api_admin("GET", target, NULL), 200);
    o = api_answer();
    assert_string_equal(json_string_value(json_object_get(o, member)), expected);
}

/* What `virtid why` says of the newest proof. */
bool
sim_why_says(const struct sim_vm *vm, const char *words)
{
    CLEANUP(json_decref) json_t *o = NULL;
    json_t *step;
    size_t i;
    char target[80];

    snprintf(target, sizeof target, "/v1/admin/vms/%s", vm->text);
    assert_int_equal(api_admin("GET", target, NULL), 200);
    o = api_answer();
    json_array_foreach(json_object_get(o, "steps"), i, step) {
        if (strcmp(json_string_value(json_object_get(step, "step")), "proof") == 0 &&
            strstr(json_string_value(json_object_get(step, "seen")), words))
            return true;
    }
    return false;
}
