#include "config.h"

#include "tests/unit/sim_lost_tpm.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stdio.h>
#include <string.h>

#include <cmocka.h>
#include <openssl/core_names.h>
#include <openssl/ec.h>
#include <openssl/evp.h>

/* An EK of nobody else. */
void
sim_lost_ek(struct soft_tpm *tpm)
{
    EVP_PKEY *key = EVP_EC_gen("P-384");
    uint8_t point[97];
    size_t len = 0;

    assert_int_equal(EVP_PKEY_get_octet_string_param(key, OSSL_PKEY_PARAM_PUB_KEY, point, sizeof point, &len), 1);
    assert_int_equal(len, sizeof point);
    memcpy(tpm->ek + SOFT_EK_LEN - 98, point + 1, 48);
    memcpy(tpm->ek + SOFT_EK_LEN - 48, point + 49, 48);
    EVP_PKEY_free(key);
}

static void
new_tpm(struct soft_tpm *tpm, uint8_t number)
{
    soft_tpm_new(tpm);
    sim_lost_ek(tpm);
    memset(tpm->x, number, sizeof tpm->x);
}

void
sim_lost_begin(struct sim_stepper *s, struct sim_host *h)
{
    struct lease_result result = sim_host_say(h, &s->vm.uuid, VIEW_RUN, 0, true);

    assert_int_equal(result.answer, LEASE_OK);
    s->vm.epoch = result.e;
}

void
sim_lost_new(struct sim_lost *g)
{
    memset(g, 0, sizeof *g);
    sim_host_new(&g->a, "a.example");
    sim_host_new(&g->b, "b.example");
    sim_host_new(&g->c, "c.example");
    sim_vm_enrolled(&g->s.vm, 1, SIM_SECRET | SIM_TPM, &g->a);
    sim_lost_begin(&g->s, &g->a);
    sim_stepper_step(&g->s, &g->a);
}

void
sim_lost_clear(struct sim_lost *g)
{
    key_free(g->old_key);
    soft_tpm_clear(&g->old_tpm);
    sim_stepper_clear(&g->s);
    sim_host_clear(&g->a);
    sim_host_clear(&g->b);
    sim_host_clear(&g->c);
}

/* It is off, and its TPM is gone: what would be there after a start of the next one. */
void
sim_lost_happens(struct sim_lost *g)
{
    struct error err;

    sim_host_say(&g->a, &g->s.vm.uuid, VIEW_GO, g->s.vm.epoch, false);
    g->old_tpm = g->s.vm.tpm;
    g->old_key = g->s.vm.secret;
    new_tpm(&g->s.vm.tpm, 0x77);
    assert_int_equal(key_generate(&g->s.vm.secret, &err), 0);
}

/* Its old TPM, with the key that was in it, is there again. */
void
sim_lost_is_back(struct sim_lost *g)
{
    struct soft_tpm tpm = g->s.vm.tpm;
    struct key *key = g->s.vm.secret;

    g->s.vm.tpm = g->old_tpm;
    g->s.vm.secret = g->old_key;
    g->old_tpm = tpm;
    g->old_key = key;
    key_free(g->s.next);
    g->s.next = NULL;
}

int
sim_lost_place(struct sim_lost *g, struct sim_host *h)
{
    return sim_host_placed(h, &g->s.vm.uuid, json_pack("{s:b}", "new_vtpm", 1));
}

int
sim_lost_post_place(const struct sim_vm *vm, const struct sim_host *h, json_t *take_body)
{
    char path[80];

    snprintf(path, sizeof path, "/v1/admin/vms/%s/place", vm->text);
    json_object_set_new(take_body, "host", json_string(h->name));
    return api_admin("POST", path, take_body);
}

/* What its host's daemon says: the TPM that it made; no secret of this VM's is its to make. */
int
sim_lost_tell(struct sim_vm *vm, struct sim_host *h)
{
    int status, has = vm->has;

    vm->has = SIM_TPM;
    status = sim_vm_account(vm, h);
    vm->has = has;
    return status;
}

void
sim_lost_placed(struct sim_lost *g, struct sim_host *h)
{
    assert_int_equal(sim_lost_place(g, h), 200);
    sim_lost_begin(&g->s, h);
}

int64_t
sim_lost_gen(const struct sim_vm *vm)
{
    CLEANUP(json_decref) json_t *o = NULL;
    char path[80];

    snprintf(path, sizeof path, "/v1/admin/vms/%s", vm->text);
    assert_int_equal(api_admin("GET", path, NULL), 200);
    o = api_answer();
    return json_integer_value(json_object_get(o, "gen"));
}

bool
sim_lost_answer_has(const char *text)
{
    buf_add_u8(&the_api.body, 0);
    return strstr((const char *)the_api.body.data, text) != NULL;
}

bool
sim_lost_audit_has(const char *text)
{
    assert_int_equal(api_admin("GET", "/v1/admin/audit?limit=50", NULL), 200);
    return sim_lost_answer_has(text);
}

/* ACTIVATE, RESOLVE, then a step as in each run. */
void
sim_lost_proves(struct sim_lost *g, struct sim_host *h)
{
    assert_int_equal(sim_vm_token(&g->s.vm, h, &the_answer), 200);
    assert_int_equal(the_answer.type, ANSWER_RESOLVE);
    sim_stepper_step(&g->s, h);
    sim_vm_check_token(&g->s.vm, &the_answer, "virtid-connect", 3);
    assert_true(sim_says_fresh("vtpm") && sim_says_fresh("secret"));
}
