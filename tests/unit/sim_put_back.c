#include "config.h"

#include "tests/unit/sim_put_back.h"

#include <setjmp.h>
#include <stdarg.h>
#include <string.h>

#include <cmocka.h>

#include "tokenservice/api/vm_account.h"

struct key *
sim_key_copy(const struct key *key)
{
    struct key *copy = NULL;
    uint8_t private[32];
    struct error err;

    key_private(key, private);
    assert_int_equal(key_from_private(private, &copy, &err), 0);
    return copy;
}

void
sim_put_back_clear(struct sim_put_back *c)
{
    key_free(c->old);
    key_free(c->now);
    sim_stepper_clear(&c->s);
    sim_host_clear(&c->h);
}

void
sim_put_back_begin(struct sim_put_back *c, int has)
{
    memset(c, 0, sizeof *c);
    sim_host_new(&c->h, "a.example");
    sim_vm_enrolled(&c->s.vm, 1, has, &c->h);
}

void
sim_put_back_run(struct sim_put_back *c)
{
    struct lease_result result = sim_host_say(&c->h, &c->s.vm.uuid, VIEW_RUN, 0, true);

    assert_int_equal(result.answer, LEASE_OK);
    c->s.vm.epoch = result.e;
    assert_int_equal(sim_stepper_prove(&c->s, &c->h), 200);
    if (the_answer.type == ANSWER_EXTEND) {
        sim_stepper_extend(&c->s);
        assert_int_equal(sim_stepper_prove(&c->s, &c->h), 200);
    }
    sim_stepper_take(&c->s);
}

void
sim_put_back_show(struct sim_put_back *c, bool old_key, bool old_x)
{
    key_free(c->s.vm.secret);
    c->s.vm.secret = sim_key_copy(old_key ? c->old : c->now);
    memcpy(c->s.vm.tpm.x, old_x ? c->old_x : c->now_x, 32);
}

void
sim_put_back_new(struct sim_put_back *c, bool key, bool x)
{
    sim_put_back_begin(c, SIM_SECRET | SIM_TPM);
    sim_put_back_run(c);
    c->old = sim_key_copy(c->s.vm.secret);
    memcpy(c->old_x, c->s.vm.tpm.x, 32);
    sim_put_back_run(c);
    c->now = sim_key_copy(c->s.vm.secret);
    memcpy(c->now_x, c->s.vm.tpm.x, 32);
    sim_put_back_show(c, key, x);
}

void
sim_put_back_refused(struct sim_put_back *c, const char *problem)
{
    assert_int_equal(sim_vm_token(&c->s.vm, &c->h, &the_answer), 409);
    assert_string_equal(the_api.problem, problem);
}

int64_t
sim_put_back_gen(const struct sim_put_back *c)
{
    struct vm_account a;
    struct error err;

    assert_int_equal(vm_account_load(&the_api.service, &c->s.vm.uuid, &a, &err), 0);
    return (int64_t)a.id.gen;
}
