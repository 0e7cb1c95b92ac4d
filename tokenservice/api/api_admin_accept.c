/*
 * Operators: a VM whose proof was refused as behind may go on from what it showed (docs/PROTOCOL-proof.md, 5).
 *
 * Asked twice: first what was seen, then with exactly that for the grant, so that an operator's word is never
 * about a state that came in between.
 */
#include "config.h"

#include "tokenservice/api/api.h"

#include <stdio.h>
#include <string.h>

#include "lib/common/encode.h"
#include "lib/common/log.h"
#include "tokenservice/api/accepting.h"
#include "tokenservice/api/api_body.h"
#include "tokenservice/api/behind.h"
#include "tokenservice/api/decision.h"
#include "tokenservice/api/lock.h"

enum { SHOWN_HEX = 2 * 32 };

static int
read_thumbprint(const json_t *body, const char *name, bool *ret_has, uint8_t ret[static 32], struct error *err)
{
    const char *text = NULL;
    size_t len = 0;

    if (json_get_string(body, name, false, SHOWN_HEX, &text, err) < 0)
        return -1;
    *ret_has = *text != '\0';
    if (*ret_has && (hex_decode(text, strlen(text), ret, 32, &len, err) < 0 || len != 32))
        return error_set(err, ERROR_INPUT, "\"%s\" is 64 hexadecimal digits, or empty", name);
    return 0;
}

static int
read_word(struct api_call *call, json_t **ret_body, bool *ret_dry_run, struct proof_shown *ret, struct error *err)
{
    *ret_dry_run = false;
    memset(ret, 0, sizeof *ret);
    if (api_body_read(call, "dry_run cur new x", ret_body, err) < 0 ||
        json_get_bool(*ret_body, "dry_run", true, ret_dry_run, err) < 0)
        return api_body_refuse(err);
    if (!*ret_dry_run && (read_thumbprint(*ret_body, "cur", &ret->has_cur, ret->cur, err) < 0 ||
                          read_thumbprint(*ret_body, "new", &ret->has_new, ret->new_, err) < 0 ||
                          read_thumbprint(*ret_body, "x", &ret->has_x, ret->x, err) < 0))
        return api_body_refuse(err);
    return 0;
}

/* Is there something that can be accepted? */
static int
check_account(struct service *s, const struct api_call *call, const struct vm_account *a, struct error *err)
{
    const struct lease_record *lease = &a->stored.lease;
    struct lease_now now = vm_account_now(s, a, call->now_ms);

    if (lock_check(a, err) < 0)
        return -1;
    if (now.grace)
        return error_problem(err, ERROR_BUSY, "grace", "the service waits for its hosts to report; try again");
    if (lease->st == LEASE_MOVE)
        return error_problem(err, ERROR_DENIED, "moving",
                             "it is being moved: accept it when that has ended; if it does not end, `virtid place` "
                             "names its host first");
    if (!lease_held(lease, lease->hol, lease->ep, &now))
        return error_problem(err, ERROR_DENIED, "not-running",
                             "it does not run: start it, and accept its proof when that was refused");
    if (!a->id.seen.has)
        return error_problem(err, ERROR_DENIED, "not-behind",
                             "no proof of it was refused as behind since its newest start or move%s",
                             a->id.grant.given ? "; what was seen before is accepted already, and its guest proves it"
                                               : "; `virtid why` says where it stands");
    return 0;
}

static json_t *
hex_of(bool has, const uint8_t bytes[static 32])
{
    char hex[SHOWN_HEX + 1] = "";

    if (has)
        hex_encode(bytes, 32, hex);
    return json_string(hex);
}

static json_t *
halves_of(unsigned behind)
{
    if (behind == (RATCHET_KEY | RATCHET_INDEX))
        return json_pack("[s,s]", "disk", "tpm");
    return json_pack("[s]", behind & RATCHET_KEY ? "disk" : "tpm");
}

static json_t *
show(const struct vm_account *a, bool accepted)
{
    const struct row_seen *seen = &a->id.seen;
    char uuid[VM_UUID_TEXT], ago[BEHIND_AGO_MAX];
    json_t *o;

    vm_uuid_print(&a->id.uuid, uuid);
    behind_print_ago(seen->ago, ago);
    o = json_pack("{s:s,s:s,s:s,s:I,s:o,s:s,s:I,s:o,s:o,s:o,s:b}", "uuid", uuid, "name", a->id.name, "host",
                  a->stored.lease.hol, "gen", (json_int_t)a->id.gen, "behind", halves_of(seen->behind), "step", ago, "seen",
                  (json_int_t)seen->ms, "cur", hex_of(seen->shown.has_cur, seen->shown.cur), "new",
                  hex_of(seen->shown.has_new, seen->shown.new_), "x", hex_of(seen->shown.has_x, seen->shown.x),
                  "accepted", accepted);
    if (o && accepted && json_object_set_new(o, "ends", json_integer(a->id.grant.ends_ms)) < 0) {
        json_decref(o);
        return NULL;
    }
    return o;
}

static int
give(struct service *s, struct api_call *call, struct vm_account *a, struct error *err)
{
    const struct proof_shown *shown = &a->id.seen.shown;
    char cur[17] = "-", new_[17] = "-", x[17] = "-", seen[AUDIT_TEXT_MAX];
    struct decision d = { .what = "accept", .uuid = &a->id.uuid, .seen = seen };

    if (shown->has_cur)
        hex_encode(shown->cur, 8, cur);
    if (shown->has_new)
        hex_encode(shown->new_, 8, new_);
    if (shown->has_x)
        hex_encode(shown->x, 8, x);
    snprintf(seen, sizeof seen, "key %s next %s index %s", cur, new_, x);
    accepting_give(a, call->now_ms);
    return vm_account_save(s, a, err) < 0 ? -1 : decision_add(s, call, &d, err);
}

int
api_admin_vm_accept(struct service *s, struct api_call *call, struct error *err)
{
    CLEANUP(json_decref) json_t *body = NULL;
    CLEANUP(store_abandon) struct store *txn = NULL;
    struct proof_shown word;
    struct vm_account a;
    bool dry_run;

    if (read_word(call, &body, &dry_run, &word, err) < 0 || service_check_clock(s, call->now_ms, err) < 0 ||
        store_begin(s->store, &txn, err) < 0 || vm_account_find(s, call->arg, &a, err) < 0 ||
        check_account(s, call, &a, err) < 0)
        return -1;
    if (dry_run)
        return api_body_answer(call, 200, show(&a, false), err);
    if (!grant_same(&word, &a.id.seen.shown))
        return error_problem(err, ERROR_DENIED, "conflict",
                             "it has shown another state than the one that is to be accepted; look again");
    if (give(s, call, &a, err) < 0 || store_commit(txn, err) < 0)
        return -1;
    accepting_tell(s, &a);
    log_notice("event=accept uuid=%s host=%s", call->arg, a.stored.lease.hol);
    return api_body_answer(call, 200, show(&a, true), err);
}
