#include "config.h"

#include "tests/unit/sim_recovery.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stdio.h>
#include <string.h>

#include <cmocka.h>

#include "lib/common/fdio.h"

/* Closed, it is all in one file. */
static void
copy_database(const char *from_tail, const char *to_tail)
{
    CLEANUP(buf_clear) struct buf bytes = BUF(1 << 22);
    char from[128], to[128];
    struct error err;

    snprintf(from, sizeof from, "%s/tokend.db%s", the_api.folder, from_tail);
    snprintf(to, sizeof to, "%s/tokend.db%s", the_api.folder, to_tail);
    if (file_read(from, &bytes, &err) < 0 || file_replace(to, bytes.data, bytes.len, 0600, &err) < 0)
        fail_msg("%s", err.text);
}

void
sim_back_up(void)
{
    api_fixture_close();
    copy_database("", ".backup");
    api_restart();
}

void
sim_restore(void)
{
    api_fixture_close();
    copy_database(".backup", "");
    api_restart();
}

void
sim_keep(struct sim_kept *k, const struct lease_result *r)
{
    if (r->receipt_len == 0)
        return;
    memcpy(k->bytes, r->receipt, r->receipt_len);
    k->len = r->receipt_len;
    k->ver = r->ver;
    k->row_ver = r->row_ver;
}

struct lease_result
sim_says(struct sim_host *h, const struct sim_vm *vm, enum lease_view view, struct sim_kept *k)
{
    struct sim_word word = { .view = view, .e = view == VIEW_RUN ? vm->epoch : 0, .ver = k->ver, .row_ver = k->row_ver };
    struct lease_result r = sim_host_say_all(h, &vm->uuid, &word);

    sim_keep(k, &r);
    return r;
}

/* *ret_word: what became of it. */
static int
sim_shows(struct sim_host *h, const struct sim_kept *k, char ret_word[static 16])
{
    CLEANUP(json_decref) json_t *one = json_object();
    CLEANUP(json_decref) json_t *answer = NULL;
    const char *word;

    assert_int_equal(json_set_bytes(one, "bytes", k->bytes, k->len), 0);
    sim_host_ask(h, "POST", "/v1/host/receipts", json_pack("{s:[O]}", "receipts", json_object_get(one, "bytes")));
    if (the_api.status != 200)
        return the_api.status;
    answer = api_answer();
    word = json_string_value(json_array_get(json_object_get(answer, "receipts"), 0));
    snprintf(ret_word, 16, "%s", word ? word : "");
    return 200;
}

void
sim_must_show(struct sim_host *h, const struct sim_kept *k, const char *expected)
{
    char word[16];

    assert_int_equal(sim_shows(h, k, word), 200);
    assert_string_equal(word, expected);
}

json_t *
sim_recovery_state(void)
{
    assert_int_equal(api_admin("GET", "/v1/admin/recovery", NULL), 200);
    return api_answer();
}

bool
sim_in_recovery(void)
{
    CLEANUP(json_decref) json_t *o = sim_recovery_state();

    return json_is_true(json_object_get(o, "recovery"));
}

int
sim_recovery_finish(void)
{
    return api_admin("POST", "/v1/admin/recovery/finish", json_object());
}

void
sim_next_run(struct sim_stage *st)
{
    struct lease_result r = sim_host_say(&st->a, &st->s.vm.uuid, VIEW_RUN, 0, true);

    assert_int_equal(r.answer, LEASE_OK);
    st->s.vm.epoch = r.e;
    sim_stepper_step(&st->s, &st->a);
    sim_says(&st->a, &st->s.vm, VIEW_RUN, &st->at_a);
}

void
sim_stage_new(struct sim_stage *st)
{
    memset(st, 0, sizeof *st);
    sim_host_new(&st->a, "a.example");
    sim_host_new(&st->b, "b.example");
    sim_vm_enrolled(&st->s.vm, 1, SIM_TPM | SIM_SECRET, &st->a);
    sim_stepper_step(&st->s, &st->a);
    sim_says(&st->a, &st->s.vm, VIEW_RUN, &st->at_a);
    assert_true(st->at_a.len > 64 && st->at_a.row_ver > 0);
}

void
sim_stage_clear(struct sim_stage *st)
{
    sim_stepper_clear(&st->s);
    sim_host_clear(&st->a);
    sim_host_clear(&st->b);
}
