#include "config.h"

#include "tests/faults/starved.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <unistd.h>

#include <cmocka.h>

#include "lib/common/clock.h"
#include "tests/faults/durable.h"

struct sim_host holder;
struct sim_vm vm;
unsigned starved_wrong;
static bool is_broken;

void
starved_answer(void *context, const struct http_request *request, struct http_reply *reply)
{
    alloc_fault_on();
    route_answer(context, request, reply);
    alloc_fault_off();
    json_begin();
}

/* Where tokend ends, and is started again with a signer of its own. */
static void
note_broken(const struct error *err)
{
    (void)err;
    is_broken = true;
}

void
starved_begin(void)
{
    struct error err;

    rates_free(the_api.service.rates);
    the_api.service.rates = NULL;
    assert_int_equal(rates_new(&the_api.service.rates, &err), 0);
}

int
starved_verdict(int wanted)
{
    the_api.answer = NULL;
    if (the_api.status != wanted && the_api.status < 500) {
        starved_wrong++;
        printf("# blamed: %d %s: %.*s\n", the_api.status, the_api.problem, (int)the_api.body.len,
               the_api.body.data ? (const char *)the_api.body.data : "");
    }
    return the_api.status == wanted ? 0 : -1;
}

void
starved_goes_on(bool done)
{
    int64_t newest;
    struct error err = { 0 };

    (void)done;
    if (!is_broken && store_failed(the_api.service.store))
        fail_msg("the database failed, and nobody was told (%d)", the_api.status);
    if (is_broken) {
        api_fixture_close();
        mint_fixture_disconnect();
        if (mint_fixture_connect() < 0 || api_fixture_open(&err) < 0)
            fail_msg("%s %s", the_mint.err.text, err.text);
        (void)sim_host_say(&holder, &vm.uuid, VIEW_RUN, vm.epoch, false); /* which is waited for */
    }
    is_broken = false;
    if (store_audit_check(the_api.service.store, &newest, &err) < 0)
        fail_msg("%s", err.text);
}

int
starved_ask(enum route_listener on, const char *method, const char *target, json_t *take_body, int wanted)
{
    starved_begin();
    the_api.answer = starved_answer;
    (void)api_ask_json(on, method, target, take_body, on == ON_HOSTS ? holder.cert : NULL,
                       on == ON_HOSTS ? holder.cert_len : 0);
    return starved_verdict(wanted);
}

void
starved_run(const struct alloc_case *cases, size_t n)
{
    unsigned violations = 0;

    starved_wrong = 0;
    for (size_t i = 0; i < n; i++)
        violations += alloc_fault_run(&cases[i]).violations;
    assert_int_equal(violations, 0);
    assert_int_equal(starved_wrong, 0);
}

int
starved_set_up(void **state)
{
    struct error err = { 0 };

    json_watch_memory();
    if (mint_fixture_start(state) < 0)
        return -1;
    strcpy(the_api.folder, "/dev/shm/virtid-alloc-XXXXXX");
    if (!mkdtemp(the_api.folder)) {
        strcpy(the_api.folder, "/tmp/virtid-alloc-XXXXXX");
        if (!mkdtemp(the_api.folder))
            return -1;
    }
    the_api.broken = note_broken;
    if (api_fixture_open(&err) < 0)
        return -1;
    sim_host_new(&holder, "a.example");
    sim_vm_new(&vm, 1, SIM_TPM | SIM_SECRET);
    vm.epoch = sim_host_say(&holder, &vm.uuid, VIEW_RUN, 0, true).e;
    assert_int_equal(sim_vm_account(&vm, &holder), 200);
    /* Stands still: leases do not end while thousands of tries are made. */
    the_api.frozen_ms = clock_realtime_ms();
    return 0;
}

int
starved_tear_down(void **state)
{
    api_fixture_close();
    tree_remove(the_api.folder);
    sim_host_clear(&holder);
    sim_vm_clear(&vm);
    buf_clear(&the_api.body);
    return mint_fixture_stop(state);
}
