#include "config.h"

#include "plugin/journal.h"

#include <string.h>

#include "lib/common/json.h"

static const char *const step_names[STEP_COUNT] = {
    [STEP_LEASE] = "lease",   [STEP_VTPM] = "vtpm",       [STEP_PLACE] = "place",
    [STEP_INJECT] = "inject", [STEP_ACCOUNT] = "account",
};
static const char *const state_names[] = {
    [STEP_OPEN] = "open",       [STEP_BEGUN] = "begun",   [STEP_DONE] = "done",
    [STEP_SKIPPED] = "skipped", [STEP_FAILED] = "failed",
};

const char *
vm_step_name(enum vm_step step)
{
    return step_names[step];
}

const char *
step_state_name(enum step_state state)
{
    return state_names[state];
}

/* ---- writing: NULL if there is no memory, for a record without a part says something else ---- */

static json_t *
encode_steps(const struct vm_record *r)
{
    CLEANUP(json_decref) json_t *steps = json_object();

    for (int i = 0; i < STEP_COUNT; i++) {
        const struct step_record *s = &r->steps[i];

        if (s->state != STEP_OPEN &&
            json_object_set_new(steps, step_names[i],
                                json_pack("{s:s,s:s,s:s}", "state", state_names[s->state],
                                          "problem", s->problem, "text", s->text)) < 0)
            return NULL;
    }
    return STEAL(steps);
}

static json_t *
encode_ends(const struct vm_record *r)
{
    CLEANUP(json_decref) json_t *ends = json_array();

    for (size_t i = 0; i < r->n_ends; i++) {
        if (json_array_append_new(ends, json_pack("{s:s,s:I,s:I}", "view", lease_view_name(r->ends[i].view),
                                                  "e", (json_int_t)r->ends[i].e, "seq",
                                                  (json_int_t)r->ends[i].seq)) < 0)
            return NULL;
    }
    return STEAL(ends);
}

static json_t *
encode_run(const struct vm_record *r)
{
    return json_pack("{s:s,s:I,s:b,s:b,s:b,s:b}", "id", r->run, "e", (json_int_t)r->run_e, "k", r->run_k,
                     "resumed", r->run_resumed, "switched", r->run_switched, "left", r->run_left);
}

static int
encode_saw(json_t *o, const struct vm_record *r)
{
    char words[LEASE_SAW_MAX + 1];

    lease_saw_print(r->saw, words);
    if (r->saw && (json_object_set_new(o, "saw", json_string(words)) < 0 ||
                   json_object_set_new(o, "saw_seq", json_integer((json_int_t)r->saw_seq)) < 0))
        return -1;
    return r->genid[0] ? json_object_set_new(o, "genid", json_string(r->genid)) : 0;
}

int
vm_record_encode(const struct vm_record *r, struct buf *into, struct error *err)
{
    CLEANUP(json_decref) json_t *o = NULL;
    char uuid[VM_UUID_TEXT];

    json_begin();
    vm_uuid_print(&r->uuid, uuid);
    o = json_pack("{s:i,s:s,s:s,s:b,s:b,s:b,s:I,s:b,s:b,s:b,s:I,s:I,s:s,s:o,s:o,s:o}", "v", 1, "uuid", uuid,
                  "name", r->name, "managed", r->managed, "install_agent", r->install_agent,
                  "agent_due", r->agent_due, "account_e", (json_int_t)r->account_e, "ran",
                  r->ran, "clean", r->clean, "known", r->known, "e", (json_int_t)r->e, "kn",
                  (json_int_t)r->kn, "account", r->account, "run", encode_run(r), "ends",
                  encode_ends(r), "steps", encode_steps(r));
    if (!o || (r->mode != MODE_OF_HOST && json_object_set_new(o, "mode", json_string(lease_mode_name(r->mode))) < 0) ||
        (r->receipt_len && json_set_bytes(o, "receipt", r->receipt, r->receipt_len) < 0) ||
        (r->receipt_ver && json_object_set_new(o, "receipt_ver", json_integer((json_int_t)r->receipt_ver)) < 0) ||
        (r->receipt_row_ver && json_object_set_new(o, "receipt_row_ver", json_integer((json_int_t)r->receipt_row_ver)) < 0) ||
        (r->ek_len && json_set_bytes(o, "ek", r->ek, r->ek_len) < 0) ||
        (r->has_x0 && json_set_bytes(o, "x0", r->x0, sizeof r->x0) < 0) ||
        (r->has_point && json_set_bytes(o, "secret", r->point, sizeof r->point) < 0) ||
        (r->disk && json_object_set_new(o, "disk", json_integer((json_int_t)r->disk)) < 0) || encode_saw(o, r) < 0)
        return error_set(err, ERROR_SYSTEM, "journal of %s: no memory, or a name that is not UTF-8", uuid);
    return json_print(o, into, err);
}

/* ---- reading ---- */

static int
get_text(const json_t *o, const char *name, char *ret, size_t max, struct error *err)
{
    const char *text = "";

    if (json_get_string(o, name, true, max, &text, err) < 0)
        return -1;
    memcpy(ret, text, strlen(text) + 1);
    return 0;
}

static int
get_number(const json_t *o, const char *name, uint64_t *ret, struct error *err)
{
    int64_t value = 0;

    if (json_get_int(o, name, true, 0, INT64_MAX, &value, err) < 0)
        return -1;
    *ret = (uint64_t)value;
    return 0;
}

static int
get_mode(const json_t *o, enum lease_mode *ret, struct error *err)
{
    const char *word = "host";

    if (json_get_string(o, "mode", true, RECORD_WORD_MAX, &word, err) < 0)
        return -1;
    return lease_mode_find(word, ret, err);
}

static int
decode_step(const json_t *steps, int i, struct step_record *ret, struct error *err)
{
    const json_t *s = NULL;
    const char *state;

    if (json_get_object(steps, step_names[i], true, &s, err) < 0)
        return -1;
    if (!s)
        return 0;
    if (json_get_string(s, "state", false, RECORD_WORD_MAX, &state, err) < 0 ||
        get_text(s, "problem", ret->problem, sizeof ret->problem - 1, err) < 0 ||
        get_text(s, "text", ret->text, sizeof ret->text - 1, err) < 0)
        return -1;
    for (size_t k = 0; k < sizeof state_names / sizeof state_names[0]; k++) {
        if (strcmp(state, state_names[k]) == 0) {
            ret->state = (enum step_state)k;
            return 0;
        }
    }
    return error_set(err, ERROR_INPUT, "step in state \"%s\"", state);
}

static int
decode_steps(const json_t *o, struct vm_record *r, struct error *err)
{
    const json_t *steps;

    if (json_get_object(o, "steps", false, &steps, err) < 0)
        return -1;
    for (int i = 0; i < STEP_COUNT; i++) {
        if (decode_step(steps, i, &r->steps[i], err) < 0)
            return -1;
    }
    return 0;
}

static int
decode_ends(const json_t *o, struct vm_record *r, struct error *err)
{
    const json_t *ends;

    if (json_get_array(o, "ends", false, LEASE_ENDS_MAX, &ends, err) < 0)
        return -1;
    for (size_t i = 0; i < json_array_size(ends); i++) {
        const json_t *end = json_array_get(ends, i);
        const char *view;

        if (json_get_string(end, "view", false, 8, &view, err) < 0 ||
            lease_view_find(view, &r->ends[i].view, err) < 0 ||
            get_number(end, "e", &r->ends[i].e, err) < 0 ||
            get_number(end, "seq", &r->ends[i].seq, err) < 0)
            return -1;
        r->n_ends++;
    }
    return 0;
}

static int
decode_run(const json_t *o, struct vm_record *r, struct error *err)
{
    const json_t *run;

    if (json_get_object(o, "run", false, &run, err) < 0)
        return -1;
    if (get_text(run, "id", r->run, RUN_ID_MAX, err) < 0 || get_number(run, "e", &r->run_e, err) < 0 ||
        json_get_bool(run, "k", true, &r->run_k, err) < 0 ||
        json_get_bool(run, "resumed", true, &r->run_resumed, err) < 0 ||
        json_get_bool(run, "switched", true, &r->run_switched, err) < 0 ||
        json_get_bool(run, "left", true, &r->run_left, err) < 0)
        return -1;
    return 0;
}

static int
decode_saw(const json_t *o, struct vm_record *r, struct error *err)
{
    char words[LEASE_SAW_MAX + 1] = "";

    if (get_text(o, "saw", words, LEASE_SAW_MAX, err) < 0 || lease_saw_find(words, &r->saw, err) < 0 ||
        get_number(o, "saw_seq", &r->saw_seq, err) < 0 || get_text(o, "genid", r->genid, sizeof r->genid - 1, err) < 0)
        return -1;
    return 0;
}

static int
decode_public(const json_t *o, struct vm_record *r, struct error *err)
{
    size_t x0 = 0, point = 0;

    if (json_get_bytes(o, "receipt", true, r->receipt, sizeof r->receipt, &r->receipt_len, err) < 0 ||
        json_get_bytes(o, "ek", true, r->ek, sizeof r->ek, &r->ek_len, err) < 0 ||
        json_get_bytes(o, "x0", true, r->x0, sizeof r->x0, &x0, err) < 0 ||
        json_get_bytes(o, "secret", true, r->point, sizeof r->point, &point, err) < 0 ||
        get_number(o, "receipt_ver", &r->receipt_ver, err) < 0 ||
        get_number(o, "receipt_row_ver", &r->receipt_row_ver, err) < 0 || get_number(o, "disk", &r->disk, err) < 0)
        return -1;
    if ((x0 && x0 != sizeof r->x0) || (point && point != sizeof r->point))
        return error_set(err, ERROR_INPUT, "\"x0\" or \"secret\" has a wrong length");
    r->has_x0 = x0 > 0;
    r->has_point = point > 0;
    return 0;
}

int
vm_record_decode(const char *text, size_t len, struct vm_record *ret, struct error *err)
{
    CLEANUP(json_decref) json_t *o = NULL;
    struct vm_record r = { 0 };
    const char *uuid;
    int64_t version;

    if (json_parse(text, len, &o, err) < 0 || json_get_int(o, "v", false, 1, 1, &version, err) < 0 ||
        json_get_string(o, "uuid", false, VM_UUID_TEXT - 1, &uuid, err) < 0 ||
        vm_uuid_parse(uuid, &r.uuid, err) < 0 ||
        get_text(o, "name", r.name, sizeof r.name - 1, err) < 0 ||
        json_get_bool(o, "managed", true, &r.managed, err) < 0 ||
        json_get_bool(o, "install_agent", true, &r.install_agent, err) < 0 ||
        json_get_bool(o, "agent_due", true, &r.agent_due, err) < 0 ||
        get_number(o, "account_e", &r.account_e, err) < 0 ||
        json_get_bool(o, "ran", true, &r.ran, err) < 0 ||
        json_get_bool(o, "clean", true, &r.clean, err) < 0 ||
        get_mode(o, &r.mode, err) < 0 || json_get_bool(o, "known", true, &r.known, err) < 0 || get_number(o, "e", &r.e, err) < 0 ||
        get_number(o, "kn", &r.kn, err) < 0 ||
        get_text(o, "account", r.account, RECORD_WORD_MAX, err) < 0 || decode_run(o, &r, err) < 0 ||
        decode_ends(o, &r, err) < 0 || decode_steps(o, &r, err) < 0 || decode_public(o, &r, err) < 0 || decode_saw(o, &r, err) < 0)
        return -1;
    *ret = r;
    return 0;
}
