#include "config.h"

#include "lib/wire/lease_msg.h"

#include <stdio.h>
#include <string.h>

#include "lib/common/encode.h"

struct word {
    int value;
    const char *name;
};

static const struct word VIEWS[] = {
    { VIEW_RUN, "run" }, { VIEW_JOB, "job" }, { VIEW_INC, "inc" }, { VIEW_OUT, "out" },
    { VIEW_OFF, "off" }, { VIEW_GO, "go" },   { VIEW_GM, "gm" },   { VIEW_GU, "gu" },
    { VIEW_GI, "gi" },   { VIEW_GR, "gr" },   { VIEW_GV, "gv" },   { 0, NULL },
};

static const struct word ANSWERS[] = {
    { LEASE_ACK, "ack" },
    { LEASE_OK, "ok" },
    { LEASE_CANDIDATE, "candidate" },
    { LEASE_FOREIGN, "foreign" },
    { LEASE_MOVING, "moving" },
    { LEASE_GRACE, "grace" },
    { LEASE_UNKNOWN, "unknown" },
    { LEASE_NOT_MIGRATING, "not-migrating" },
    { LEASE_RETIRED, "retired" }, /* an operator ended the identity: not of the model */
    { 0, NULL },
};

static const struct word OPS[] = {
    { LEASE_OP_REPORT, "report" }, { LEASE_OP_ACQUIRE, "acquire" }, { LEASE_OP_HANDOVER, "handover" },
    { LEASE_OP_ASK, "ask" },       { 0, NULL },
};

static const struct word MODES[] = {
    { MODE_OF_HOST, "host" }, { MODE_LOOSE, "loose" }, { MODE_STRICT, "strict" },
    { MODE_OBSERVE, "observe" }, { 0, NULL },
};

static const struct word SAW[] = {
    { SAW_SNAPSHOT, "snapshot" }, { SAW_RESTORE, "restore" }, { SAW_GENID, "genid" }, { 0, NULL },
};

static const char *
word_name(const struct word *table, int value)
{
    for (; table->name; table++) {
        if (table->value == value)
            return table->name;
    }
    return NULL;
}

static int
word_value(const struct word *table, const char *name, struct error *err)
{
    for (; table->name; table++) {
        if (strcmp(table->name, name) == 0)
            return table->value;
    }
    return error_set(err, ERROR_INPUT, "unknown word \"%.20s\"", name);
}

const char *
lease_view_name(enum lease_view v)
{
    return word_name(VIEWS, (int)v);
}

int
lease_view_find(const char *name, enum lease_view *ret, struct error *err)
{
    int value = word_value(VIEWS, name, err);

    if (value < 0)
        return -1;
    *ret = (enum lease_view)value;
    return 0;
}

const char *
lease_answer_name(enum lease_answer a)
{
    return word_name(ANSWERS, (int)a);
}

int
lease_answer_find(const char *name, enum lease_answer *ret, struct error *err)
{
    int value = word_value(ANSWERS, name, err);

    if (value < 0)
        return -1;
    *ret = (enum lease_answer)value;
    return 0;
}

const char *
lease_op_name(enum lease_op op)
{
    return word_name(OPS, (int)op);
}

const char *
lease_mode_name(enum lease_mode m)
{
    return word_name(MODES, (int)m);
}

int
lease_mode_find(const char *name, enum lease_mode *ret, struct error *err)
{
    int value = word_value(MODES, name, err);

    if (value < 0)
        return -1;
    *ret = (enum lease_mode)value;
    return 0;
}

void
lease_saw_print(unsigned saw, char ret[static LEASE_SAW_MAX + 1])
{
    size_t len = 0;

    ret[0] = '\0';
    for (const struct word *w = SAW; w->name; w++) {
        if (saw & (unsigned)w->value)
            len += (size_t)snprintf(ret + len, LEASE_SAW_MAX + 1 - len, "%s%s", len ? " " : "", w->name);
    }
}

int
lease_saw_find(const char *words, unsigned *ret, struct error *err)
{
    unsigned saw = 0;

    if (strlen(words) > LEASE_SAW_MAX || words[strspn(words, "abcdefghijklmnopqrstuvwxyz ")])
        return error_set(err, ERROR_INPUT, "\"saw\" is no list of words");
    while (*words) {
        size_t len = strcspn(words, " ");

        for (const struct word *w = SAW; w->name; w++) {
            if (strlen(w->name) == len && strncmp(w->name, words, len) == 0)
                saw |= (unsigned)w->value;
        }
        words += len + (words[len] == ' ');
    }
    *ret = saw;
    return 0;
}

/* A number that fits JSON's exact integers: 0 .. 2^63 - 1. */
static int
get_u64(const json_t *object, const char *name, bool optional, uint64_t *ret,
        struct error *err)
{
    int64_t value = (int64_t)*ret;

    if (json_get_int(object, name, optional, 0, INT64_MAX, &value, err) < 0)
        return -1;
    *ret = (uint64_t)value;
    return 0;
}

static int
set_u64(json_t *object, const char *name, uint64_t value)
{
    return json_object_set_new(object, name, json_integer((json_int_t)value));
}

static int
get_uuid(const json_t *object, struct vm_uuid *ret, struct error *err)
{
    const char *text;

    if (json_get_string(object, "uuid", false, VM_UUID_TEXT - 1, &text, err) < 0)
        return -1;
    return vm_uuid_parse(text, ret, err);
}

static int
set_uuid(json_t *object, const struct vm_uuid *uuid)
{
    char text[VM_UUID_TEXT];

    vm_uuid_print(uuid, text);
    return json_object_set_new(object, "uuid", json_string(text));
}

static int
get_view(const json_t *object, enum lease_view *ret, struct error *err)
{
    const char *text;

    if (json_get_string(object, "view", false, 8, &text, err) < 0)
        return -1;
    return lease_view_find(text, ret, err);
}

static bool
is_end(enum lease_view v)
{
    return v == VIEW_OUT || v >= VIEW_GO;
}

/* ---- report ---- */

static int
encode_end(json_t *array, const struct lease_end *end, struct error *err)
{
    CLEANUP(json_decref) json_t *o = json_object();
    const char *view = lease_view_name(end->view);

    if (!view || !is_end(end->view))
        return error_set(err, ERROR_INPUT, "view %d is no end", (int)end->view);
    if (!o || json_object_set_new(o, "view", json_string(view)) < 0 ||
        set_u64(o, "e", end->e) < 0 || set_u64(o, "seq", end->seq) < 0 ||
        json_array_append(array, o) < 0)
        return error_set(err, ERROR_SYSTEM, "no memory");
    return 0;
}

static int
encode_saw(json_t *o, const struct lease_report_vm *vm)
{
    char words[LEASE_SAW_MAX + 1];

    if (vm->saw == 0)
        return 0;
    lease_saw_print(vm->saw, words);
    return json_object_set_new(o, "saw", json_pack("{s:s,s:I}", "what", words, "seq", (json_int_t)vm->saw_seq));
}

static int
encode_vm(json_t *array, const struct lease_report_vm *vm, struct error *err)
{
    CLEANUP(json_decref) json_t *o = json_object();
    json_t *ends = json_array();
    const char *view = lease_view_name(vm->view);

    if (!o || json_object_set_new(o, "ends", ends) < 0)
        return error_set(err, ERROR_SYSTEM, "no memory");
    if (!view || vm->n_ends > LEASE_ENDS_MAX)
        return error_set(err, ERROR_INPUT, "view %d with %zu ends", (int)vm->view,
                         vm->n_ends);
    for (size_t i = 0; i < vm->n_ends; i++) {
        if (encode_end(ends, &vm->ends[i], err) < 0)
            return -1;
    }
    if (set_uuid(o, &vm->uuid) < 0 ||
        json_object_set_new(o, "view", json_string(view)) < 0 ||
        json_object_set_new(o, "k", json_boolean(vm->k)) < 0 ||
        set_u64(o, "e", vm->e) < 0 || set_u64(o, "kk", vm->kk) < 0 ||
        (vm->ver && set_u64(o, "ver", vm->ver) < 0) || (vm->row_ver && set_u64(o, "row_ver", vm->row_ver) < 0) || encode_saw(o, vm) < 0 ||
        json_array_append(array, o) < 0)
        return error_set(err, ERROR_SYSTEM, "no memory");
    return 0;
}

int
lease_report_encode(const struct lease_report *r, struct buf *into, struct error *err)
{
    CLEANUP(json_decref) json_t *o = json_object();
    json_t *vms = json_array();

    if (!o || json_object_set_new(o, "vms", vms) < 0)
        return error_set(err, ERROR_SYSTEM, "no memory");
    if (r->n_vms > LEASE_VMS_MAX)
        return error_set(err, ERROR_INPUT, "report of %zu VMs", r->n_vms);
    for (size_t i = 0; i < r->n_vms; i++) {
        if (encode_vm(vms, &r->vms[i], err) < 0)
            return -1;
    }
    if (json_object_set_new(o, "host", json_string(r->host)) < 0 ||
        json_object_set_new(o, "boot", json_string(r->boot)) < 0 ||
        set_u64(o, "seq", r->seq) < 0 ||
        (r->hook[0] && json_object_set_new(o, "hook", json_string(r->hook)) < 0) ||
        (r->pull && set_u64(o, "pull", r->pull) < 0) ||
        (r->op != LEASE_OP_REPORT && json_object_set_new(o, "op", json_string(lease_op_name(r->op))) < 0))
        return error_set(err, ERROR_SYSTEM, "no memory");
    return json_print(o, into, err);
}

static int
decode_end(const json_t *o, uint64_t after, struct lease_end *ret, struct error *err)
{
    if (json_only(o, "view e seq", err) < 0 || get_view(o, &ret->view, err) < 0 ||
        get_u64(o, "e", false, &ret->e, err) < 0 ||
        get_u64(o, "seq", false, &ret->seq, err) < 0)
        return -1;
    if (!is_end(ret->view))
        return error_set(err, ERROR_INPUT, "view \"%s\" is no end",
                         lease_view_name(ret->view));
    if (ret->seq <= after)
        return error_set(err, ERROR_INPUT, "ends are not in the order of their seq");
    return 0;
}

static int
decode_saw(const json_t *vm, struct lease_report_vm *ret, struct error *err)
{
    const json_t *o = NULL;
    const char *words;

    if (json_get_object(vm, "saw", true, &o, err) < 0)
        return -1;
    if (!o)
        return 0;
    if (json_only(o, "what seq", err) < 0 || json_get_string(o, "what", false, LEASE_SAW_MAX, &words, err) < 0 ||
        lease_saw_find(words, &ret->saw, err) < 0 || get_u64(o, "seq", false, &ret->saw_seq, err) < 0)
        return -1;
    return 0;
}

static int
decode_vm(const json_t *o, struct lease_report_vm *ret, struct error *err)
{
    const json_t *ends;
    uint64_t after = 0;

    if (json_only(o, "uuid ends view k e kk ver row_ver saw", err) < 0 ||
        get_uuid(o, &ret->uuid, err) < 0 ||
        json_get_array(o, "ends", false, LEASE_ENDS_MAX, &ends, err) < 0 ||
        get_view(o, &ret->view, err) < 0 ||
        json_get_bool(o, "k", false, &ret->k, err) < 0 ||
        get_u64(o, "e", false, &ret->e, err) < 0 ||
        get_u64(o, "kk", false, &ret->kk, err) < 0 || get_u64(o, "ver", true, &ret->ver, err) < 0 ||
        get_u64(o, "row_ver", true, &ret->row_ver, err) < 0 || decode_saw(o, ret, err) < 0)
        return -1;
    ret->n_ends = json_array_size(ends);
    for (size_t i = 0; i < ret->n_ends; i++) {
        if (decode_end(json_array_get(ends, i), after, &ret->ends[i], err) < 0)
            return -1;
        after = ret->ends[i].seq;
    }
    return 0;
}

/* `boot` comes back in answers, receipts and logs: the grammar of a kernel's boot id.
 */
static int
get_boot(const json_t *o, char *ret, struct error *err)
{
    struct vm_uuid boot;
    const char *text;

    if (json_get_string(o, "boot", false, VM_UUID_TEXT - 1, &text, err) < 0 ||
        vm_uuid_parse(text, &boot, err) < 0)
        return error_wrap(err, "member \"boot\"");
    memcpy(ret, text, VM_UUID_TEXT);
    return 0;
}

/* It is shown to operators. */
static int
get_hook(const json_t *o, char *ret, struct error *err)
{
    const char *text = "";

    if (json_get_string(o, "hook", true, LEASE_HOOK_MAX, &text, err) < 0)
        return -1;
    if (text[strspn(text, "abcdefghijklmnopqrstuvwxyz-")])
        return error_set(err, ERROR_INPUT, "\"hook\" is no word");
    memcpy(ret, text, strlen(text) + 1);
    return 0;
}

static int
decode_head(const json_t *o, struct lease_report *ret, struct error *err)
{
    const char *host, *op = NULL;
    int value = LEASE_OP_REPORT;

    if (json_only(o, "host boot seq hook op pull vms", err) < 0 ||
        json_get_string(o, "host", false, NAME_HOST_MAX, &host, err) < 0 ||
        json_get_string(o, "op", true, 16, &op, err) < 0 ||
        get_u64(o, "seq", false, &ret->seq, err) < 0 || get_u64(o, "pull", true, &ret->pull, err) < 0 ||
        get_boot(o, ret->boot, err) < 0 ||
        get_hook(o, ret->hook, err) < 0)
        return -1;
    if (!name_is_host(host))
        return error_set(err, ERROR_INPUT, "\"host\" is no host name");
    if (op && (value = word_value(OPS, op, err)) <= LEASE_OP_REPORT)
        return error_set(err, ERROR_INPUT, "unknown op \"%.16s\"", op);
    memcpy(ret->host, host, strlen(host) + 1);
    ret->op = (enum lease_op)value;
    return 0;
}

int
lease_report_decode(const char *text, size_t len, struct lease_report *ret,
                    struct error *err)
{
    CLEANUP(json_decref) json_t *o = NULL;
    const json_t *vms;

    memset(ret, 0, sizeof *ret);
    if (json_parse(text, len, &o, err) < 0 || decode_head(o, ret, err) < 0 ||
        json_get_array(o, "vms", false, LEASE_VMS_MAX, &vms, err) < 0)
        return -1;
    ret->n_vms = json_array_size(vms);
    for (size_t i = 0; i < ret->n_vms; i++) {
        if (decode_vm(json_array_get(vms, i), &ret->vms[i], err) < 0)
            return -1;
        for (size_t j = 0; j < i; j++) {
            if (vm_uuid_equal(&ret->vms[i].uuid, &ret->vms[j].uuid))
                return error_set(err, ERROR_INPUT, "one VM twice in a report");
        }
    }
    if (ret->op != LEASE_OP_REPORT && ret->n_vms != 1)
        return error_set(err, ERROR_INPUT, "%s is for one VM", lease_op_name(ret->op));
    if (ret->op == LEASE_OP_ASK && ret->vms[0].n_ends > 0)
        return error_set(err, ERROR_INPUT, "a question tells of no ends");
    return 0;
}

/* ---- answer ---- */

static int
encode_result(json_t *array, const struct lease_result *r, struct error *err)
{
    CLEANUP(json_decref) json_t *o = json_object();
    const char *answer = lease_answer_name(r->answer);

    if (!answer || r->receipt_len > RECEIPT_MAX)
        return error_set(err, ERROR_INPUT, "answer %d with a receipt of %zu bytes",
                         (int)r->answer, r->receipt_len);
    if (!o || set_uuid(o, &r->uuid) < 0 ||
        json_object_set_new(o, "answer", json_string(answer)) < 0 ||
        (r->mode != MODE_OF_HOST &&
         json_object_set_new(o, "mode", json_string(lease_mode_name(r->mode))) < 0) ||
        (r->e && set_u64(o, "e", r->e) < 0) || (r->nx && set_u64(o, "nx", r->nx) < 0) ||
        (r->holder[0] &&
         json_object_set_new(o, "holder", json_string(r->holder)) < 0) ||
        (r->seconds_left > 0 &&
         set_u64(o, "seconds_left", (uint64_t)r->seconds_left) < 0) ||
        (r->receipt_len &&
         json_set_bytes(o, "receipt", r->receipt, r->receipt_len) < 0) ||
        (r->ver && set_u64(o, "ver", r->ver) < 0) || (r->row_ver && set_u64(o, "row_ver", r->row_ver) < 0) ||
        (r->show && json_object_set_new(o, "show", json_true()) < 0) ||
        set_u64(o, "acked_seq", r->acked_seq) < 0 || json_array_append(array, o) < 0)
        return error_set(err, ERROR_SYSTEM, "no memory");
    return 0;
}

int
lease_results_encode(const struct lease_result *r, size_t n, struct buf *into,
                     struct error *err)
{
    CLEANUP(json_decref) json_t *o = json_object();
    json_t *vms = json_array();

    if (!o || json_object_set_new(o, "vms", vms) < 0)
        return error_set(err, ERROR_SYSTEM, "no memory");
    for (size_t i = 0; i < n; i++) {
        if (encode_result(vms, &r[i], err) < 0)
            return -1;
    }
    return json_print(o, into, err);
}

static int
decode_result(const json_t *o, struct lease_result *ret, struct error *err)
{
    const char *answer, *holder = "", *mode = "host";

    memset(ret, 0, sizeof *ret);
    if (json_only(o, "uuid answer mode e nx holder seconds_left receipt ver row_ver show acked_seq", err) <
            0 ||
        get_uuid(o, &ret->uuid, err) < 0 ||
        json_get_string(o, "answer", false, 16, &answer, err) < 0 ||
        lease_answer_find(answer, &ret->answer, err) < 0 ||
        json_get_string(o, "mode", true, 16, &mode, err) < 0 ||
        lease_mode_find(mode, &ret->mode, err) < 0 ||
        get_u64(o, "e", true, &ret->e, err) < 0 ||
        get_u64(o, "nx", true, &ret->nx, err) < 0 ||
        json_get_string(o, "holder", true, NAME_HOST_MAX, &holder, err) < 0 ||
        json_get_int(o, "seconds_left", true, 0, INT32_MAX, &ret->seconds_left, err) <
            0 ||
        json_get_bytes(o, "receipt", true, ret->receipt, RECEIPT_MAX, &ret->receipt_len,
                       err) < 0 ||
        get_u64(o, "ver", true, &ret->ver, err) < 0 || get_u64(o, "row_ver", true, &ret->row_ver, err) < 0 ||
        json_get_bool(o, "show", true, &ret->show, err) < 0 ||
        get_u64(o, "acked_seq", false, &ret->acked_seq, err) < 0)
        return -1;
    if (holder[0] && !name_is_host(holder))
        return error_set(err, ERROR_INPUT, "\"holder\" is no host name");
    memcpy(ret->holder, holder, strlen(holder) + 1);
    return 0;
}

int
lease_results_decode(const char *text, size_t len, struct lease_result *ret, size_t max,
                     size_t *ret_n, struct error *err)
{
    CLEANUP(json_decref) json_t *o = NULL;
    const json_t *vms;

    if (json_parse(text, len, &o, err) < 0 || json_only(o, "vms", err) < 0 ||
        json_get_array(o, "vms", false, max, &vms, err) < 0)
        return -1;
    for (size_t i = 0; i < json_array_size(vms); i++) {
        if (decode_result(json_array_get(vms, i), &ret[i], err) < 0)
            return -1;
    }
    *ret_n = json_array_size(vms);
    return 0;
}

/* ---- pull ---- */

int
lease_pull_encode(const struct lease_pull *p, struct buf *into, struct error *err)
{
    CLEANUP(json_decref) json_t *o = json_object();
    json_t *uuids = json_array();
    char text[VM_UUID_TEXT];

    if (!o || json_object_set_new(o, "uuids", uuids) < 0 || set_u64(o, "pull", p->pull) < 0)
        return error_set(err, ERROR_SYSTEM, "no memory");
    for (size_t i = 0; i < p->n; i++) {
        vm_uuid_print(&p->uuids[i], text);
        if (json_array_append_new(uuids, json_string(text)) < 0)
            return error_set(err, ERROR_SYSTEM, "no memory");
    }
    return json_print(o, into, err);
}

int
lease_pull_decode(const char *text, size_t len, struct lease_pull *ret, struct error *err)
{
    CLEANUP(json_decref) json_t *o = NULL;
    const json_t *uuids;

    memset(ret, 0, sizeof *ret);
    if (json_parse(text, len, &o, err) < 0 || json_only(o, "pull uuids", err) < 0 ||
        get_u64(o, "pull", false, &ret->pull, err) < 0 ||
        json_get_array(o, "uuids", false, LEASE_VMS_MAX, &uuids, err) < 0)
        return -1;
    for (size_t i = 0; i < json_array_size(uuids); i++) {
        const char *uuid = json_string_value(json_array_get(uuids, i));

        if (!uuid)
            return error_set(err, ERROR_INPUT, "a UUID is no text");
        if (vm_uuid_parse(uuid, &ret->uuids[i], err) < 0)
            return -1;
        ret->n++;
    }
    return 0;
}
