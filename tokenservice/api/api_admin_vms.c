/*
 * Operators: identities, where they may run, and their settings.
 */
#include "config.h"

#include "tokenservice/api/api.h"

#include <stdlib.h>
#include <string.h>

#include "lib/common/log.h"
#include "tokenservice/api/api_body.h"
#include "tokenservice/api/decision.h"
#include "tokenservice/api/lock.h"
#include "tokenservice/api/placing.h"
#include "tokenservice/api/recovery.h"
#include "tokenservice/api/renewing.h"
#include "tokenservice/api/retire.h"
#include "tokenservice/api/vm_settings.h"
#include "tokenservice/api/vm_trail.h"

enum { VMS_PAGE = 64 };

struct page {
    struct service *service;
    int64_t now_ms;
    json_t *vms;
    char last[VM_UUID_TEXT];
};

static int
add_vm(void *context, const struct store_vm *stored, struct error *err)
{
    struct page *p = context;

    vm_uuid_print(&stored->uuid, p->last);
    return vm_account_list(p->service, stored, p->now_ms, p->vms, err);
}

static int
read_after(const struct api_call *call, struct vm_uuid *ret, bool *ret_has,
           struct error *err)
{
    struct error why = { 0 };
    char text[VM_UUID_TEXT];

    *ret_has = false;
    if (http_query(call->request->message, "after", text, VM_UUID_TEXT - 1, &why) < 0) {
        if (why.code == ERROR_MISSING)
            return 0;
        *err = why;
        return api_body_refuse(err);
    }
    *ret_has = true;
    return vm_uuid_parse(text, ret, err) < 0 ? api_body_refuse(err) : 0;
}

int
api_admin_vms(struct service *s, struct api_call *call, struct error *err)
{
    CLEANUP(json_decref) json_t *o = json_object();
    CLEANUP(mem_free) struct page *p = calloc(1, sizeof *p);
    CLEANUP(store_abandon) struct store *txn = NULL;
    struct vm_uuid after;
    bool has_after;

    if (!o || !p)
        return error_set(err, ERROR_SYSTEM, "no memory");
    p->service = s;
    p->now_ms = call->now_ms;
    p->vms = json_array();
    if (json_object_set_new(o, "vms", p->vms) < 0)
        return error_set(err, ERROR_SYSTEM, "no memory");
    if (read_after(call, &after, &has_after, err) < 0 ||
        store_begin(s->store, &txn, err) < 0 ||
        store_vm_list(s->store, has_after ? &after : NULL, VMS_PAGE, add_vm, p, err) <
            0)
        return -1;
    if (json_array_size(p->vms) == VMS_PAGE)
        json_object_set_new(o, "next", json_string(p->last));
    return api_body_answer(call, 200, STEAL(o), err);
}

int
api_admin_vm(struct service *s, struct api_call *call, struct error *err)
{
    CLEANUP(store_abandon) struct store *txn = NULL;
    CLEANUP(json_decref) json_t *answer = NULL;
    json_t *trail = NULL;
    struct vm_account a;
    bool more = false;

    if (store_begin(s->store, &txn, err) < 0 ||
        vm_account_find(s, call->arg, &a, err) < 0 ||
        vm_account_show_all(s, &a, call->now_ms, &answer, err) < 0 || lock_show(s, &a, answer, err) < 0 ||
        vm_trail(s, &a.id.uuid, &trail, &more, err) < 0)
        return -1;
    if (json_object_set_new(answer, "trail", trail) < 0 ||
        json_object_set_new(answer, "trail_more", json_boolean(more)) < 0)
        return error_set(err, ERROR_SYSTEM, "no memory");
    return api_body_answer(call, 200, STEAL(answer), err);
}

/* ---- place ---- */

/* A UUID that was never seen can be placed before its first claim. */
static int
find_or_make(struct service *s, struct api_call *call, struct vm_account *ret,
             struct error *err)
{
    struct vm_uuid uuid;
    struct error ignored;

    if (vm_account_find(s, call->arg, ret, err) == 0)
        return 0;
    if (err->code != ERROR_MISSING || vm_uuid_parse(call->arg, &uuid, &ignored) < 0)
        return -1;
    vm_account_new(&uuid, call->now_ms, ret);
    return 0;
}

struct place_wish {
    const char *host;
    bool force, reincarnate, new_vtpm;
};

static int
read_place(struct api_call *call, json_t **ret_body, struct place_wish *ret, struct error *err)
{
    memset(ret, 0, sizeof *ret);
    if (api_body_read(call, "host force reincarnate new_vtpm", ret_body, err) < 0 ||
        json_get_string(*ret_body, "host", false, NAME_HOST_MAX, &ret->host, err) < 0 ||
        json_get_bool(*ret_body, "force", true, &ret->force, err) < 0 ||
        json_get_bool(*ret_body, "reincarnate", true, &ret->reincarnate, err) < 0 ||
        json_get_bool(*ret_body, "new_vtpm", true, &ret->new_vtpm, err) < 0)
        return api_body_refuse(err);
    if (ret->reincarnate && ret->new_vtpm)
        return error_problem(err, ERROR_INPUT, "bad-request", "a new identity takes any TPM: say one of both");
    return 0;
}

/* It runs on that very host, and only a word for its TPM is said: its lease goes on. */
static bool
stays(const struct place_wish *wish, const struct vm_account *a, const struct lease_now *now)
{
    const struct lease_record *lease = &a->stored.lease;

    return wish->new_vtpm && !now->grace && lease->st == LEASE_RUNS && strcmp(lease->hol, wish->host) == 0 &&
           lease_seconds_left(lease, now) > 0;
}

/* May it be placed there, and has that host said what it has to say?  *ret_parked: not yet. */
static int
prepare_place(struct service *s, struct api_call *call, const struct place_wish *wish, struct vm_account *a,
              bool *ret_parked, struct error *err)
{
    struct lease_now now = vm_account_now(s, a, call->now_ms);
    enum placing_state asked = PLACING_READY;
    struct store_host host;

    *ret_parked = false;
    if (placing_check_host(s, wish->host, &host, err) < 0 || retire_check(a, wish->reincarnate, err) < 0 ||
        (wish->new_vtpm && renewing_check(a, err) < 0))
        return -1;
    /* What is refused anyway needs no question. */
    if (!now.grace && !stays(wish, a, &now) && (wish->force || lease_seconds_left(&a->stored.lease, &now) == 0) &&
        placing_ask(s, call, a, wish->host, &asked, err) < 0)
        return -1;
    *ret_parked = asked == PLACING_ASKED;
    if (asked == PLACING_SILENT && !wish->force)
        return error_problem(err, ERROR_BUSY, "host-silent",
                             "%s does not answer, and may have to tell of an earlier run; --force does not wait",
                             wish->host);
    return 0;
}

/* A right to a new TPM is for the host that is named last. */
static int
place_vtpm(struct service *s, struct api_call *call, const struct place_wish *wish, struct vm_account *a,
           struct error *err)
{
    if (wish->new_vtpm)
        return renewing_give(s, call, a, wish->host, err);
    if (strcmp(a->id.renewal.host, wish->host) != 0)
        renewing_end(a);
    return 0;
}

int
api_admin_vm_place(struct service *s, struct api_call *call, struct error *err)
{
    CLEANUP(json_decref) json_t *body = NULL;
    CLEANUP(store_abandon) struct store *txn = NULL;
    struct decision d = { .what = "placed" };
    struct place_wish wish;
    struct vm_account a;
    struct lease_now now;
    bool parked;

    if (read_place(call, &body, &wish, err) < 0 || service_check_clock(s, call->now_ms, err) < 0 ||
        recovery_check(s, err) < 0 || store_begin(s->store, &txn, err) < 0 || find_or_make(s, call, &a, err) < 0 ||
        prepare_place(s, call, &wish, &a, &parked, err) < 0)
        return -1;
    if (parked)
        return 0;
    now = vm_account_now(s, &a, call->now_ms);
    d.uuid = &a.id.uuid;
    d.seen = a.stored.lease.hol[0] ? "reserved before" : "free before";
    d.expected = wish.host;
    d.why = wish.force ? "forced" : NULL;
    if ((!stays(&wish, &a, &now) && lease_place(&a.stored.lease, wish.host, wish.force, &now, err) < 0) ||
        (wish.reincarnate && retire_undo(s, call, &a, err) < 0) || place_vtpm(s, call, &wish, &a, err) < 0 ||
        vm_account_save(s, &a, err) < 0 ||
        decision_add(s, call, &d, err) < 0 || store_commit(txn, err) < 0)
        return -1;
    log_notice("event=placed uuid=%s host=%s force=%d", call->arg, wish.host, wish.force);
    return api_body_answer(call, 200, vm_account_show(s, &a, call->now_ms), err);
}

/* ---- settings ---- */

/* A mode may be set before the first claim; all else is of an account. */
static int
find_for_mode(struct service *s, struct api_call *call, const json_t *body,
              struct vm_account *ret, struct error *err)
{
    struct error ignored;
    struct vm_uuid uuid;

    if (vm_account_find(s, call->arg, ret, err) == 0)
        return 0;
    if (err->code != ERROR_MISSING || json_object_size(body) != 1 ||
        !json_object_get(body, "mode") || vm_uuid_parse(call->arg, &uuid, &ignored) < 0)
        return -1;
    vm_account_new(&uuid, call->now_ms, ret);
    return 0;
}

static int
change_settings(struct service *s, const json_t *body, struct vm_account *a,
                struct error *err)
{
    enum lease_mode mode = MODE_OF_HOST;
    const char *word = NULL;

    if (json_get_string(body, "mode", true, 16, &word, err) < 0 ||
        (word && lease_mode_find(word, &mode, err) < 0))
        return error_problem(err, ERROR_INPUT, "bad-request",
                             "\"mode\" is loose, strict, observe or host");
    if (word && store_mode_put(s->store, &a->id.uuid, mode, err) < 0)
        return -1;
    if (!a->stored_already)
        return 0;
    if (retire_check(a, false, err) < 0)
        return -1;
    if (vm_settings_change(body, &a->id, err) < 0)
        return -1;
    return vm_account_save(s, a, err);
}

int
api_admin_vm_set(struct service *s, struct api_call *call, struct error *err)
{
    CLEANUP(json_decref) json_t *body = NULL;
    CLEANUP(store_abandon) struct store *txn = NULL;
    struct decision d = { .what = "settings" };
    struct vm_account a;

    if (api_body_read(call, "owner labels floor audiences mode restore", &body, err) < 0 ||
        store_begin(s->store, &txn, err) < 0 ||
        find_for_mode(s, call, body, &a, err) < 0 ||
        change_settings(s, body, &a, err) < 0)
        return -1;
    d.uuid = &a.id.uuid;
    d.seen = json_string_value(json_object_get(body, "mode"));
    if (decision_add(s, call, &d, err) < 0 ||
        store_commit(txn, err) < 0)
        return -1;
    log_notice("event=settings uuid=%s", call->arg);
    return api_body_answer(call, 200, vm_account_show(s, &a, call->now_ms), err);
}
