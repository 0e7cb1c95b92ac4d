/*
 * Operators: which hosts stand in for one another (docs/DECISIONS/021).
 *
 * A pool is its list of hosts, always said as a whole.  Each host that comes in or leaves is a record of its own, so that
 * the audit says the lists again.
 */
#include "config.h"

#include "tokenservice/api/api.h"

#include <stdlib.h>
#include <string.h>

#include "lib/common/log.h"
#include "tokenservice/api/api_body.h"
#include "tokenservice/api/decision.h"
#include "tokenservice/api/placing.h"

enum { POOL_HOSTS_MAX = 256 };

/* ---- list ---- */

struct pools_listing {
    struct service *service;
    json_t *pools, *hosts; /* `hosts`: of the last one */
};

static int
add_pool(struct pools_listing *l, const char *name, struct error *err)
{
    int64_t vms = 0;
    json_t *o;

    if (store_pool_vms(l->service->store, name, &vms, err) < 0)
        return -1;
    l->hosts = json_array();
    o = json_pack("{s:s,s:o,s:I}", "name", name, "hosts", l->hosts, "waiting", (json_int_t)vms);
    return !o || json_array_append_new(l->pools, o) < 0 ? error_set(err, ERROR_SYSTEM, "no memory") : 0;
}

static int
add_member(void *context, const struct store_pool_host *one, struct error *err)
{
    struct pools_listing *l = context;
    const json_t *last = json_array_get(l->pools, json_array_size(l->pools) - 1);

    if ((!last || strcmp(json_string_value(json_object_get(last, "name")), one->pool) != 0) &&
        add_pool(l, one->pool, err) < 0)
        return -1;
    return json_array_append_new(l->hosts, json_string(one->host)) < 0 ? error_set(err, ERROR_SYSTEM, "no memory") : 0;
}

int
api_admin_pools(struct service *s, struct api_call *call, struct error *err)
{
    CLEANUP(json_decref) json_t *o = json_object();
    struct pools_listing l = { .service = s, .pools = json_array() };

    if (json_object_set_new(o, "pools", l.pools) < 0)
        return error_set(err, ERROR_SYSTEM, "no memory");
    if (store_pool_list(s->store, NULL, add_member, &l, err) < 0)
        return -1;
    return api_body_answer(call, 200, STEAL(o), err);
}

/* ---- set, remove ---- */

struct pool_change {
    struct service *service;
    struct api_call *call;
    const char *name;
    const json_t *wanted;    /* names; NULL: none */
    json_t *added, *removed; /* of the answer */
    size_t n_leaving;
    char leaving[POOL_HOSTS_MAX][NAME_HOST_MAX + 1];
};

static bool
is_wanted(const struct pool_change *c, const char *host)
{
    for (size_t i = 0; i < json_array_size(c->wanted); i++) {
        if (strcmp(json_string_value(json_array_get(c->wanted, i)), host) == 0)
            return true;
    }
    return false;
}

static int
find_leaving(void *context, const struct store_pool_host *one, struct error *err)
{
    struct pool_change *c = context;

    if (is_wanted(c, one->host))
        return 0;
    if (c->n_leaving == POOL_HOSTS_MAX)
        return error_set(err, ERROR_SYSTEM, "the pool has more than %d hosts", POOL_HOSTS_MAX);
    memcpy(c->leaving[c->n_leaving++], one->host, sizeof one->host);
    return 0;
}

static int
move_host(struct pool_change *c, const char *host, bool comes, struct error *err)
{
    struct decision d = { .what = comes ? "pool-joined" : "pool-left", .seen = host, .expected = c->name };

    if (json_array_append_new(comes ? c->added : c->removed, json_string(host)) < 0)
        return error_set(err, ERROR_SYSTEM, "no memory");
    log_notice("event=%s pool=%s host=%s", d.what, c->name, host);
    if (store_pool_put(c->service->store, host, comes ? c->name : "", err) < 0)
        return -1;
    return decision_add(c->service, c->call, &d, err);
}

/* One that is in it already is not looked at again: it may have been locked since. */
static int
take_in(struct pool_change *c, const char *host, struct error *err)
{
    char before[NAME_POOL_MAX + 1];
    struct store_host found;

    if (store_pool_of(c->service->store, host, before, err) < 0)
        return -1;
    if (strcmp(before, c->name) == 0)
        return 0;
    if (placing_check_host(c->service, host, &found, err) < 0)
        return -1;
    if (before[0])
        return error_problem(err, ERROR_DENIED, "conflict",
                             "host %s is of the pool %s; \"virtid pool set %s\" without it first", host, before, before);
    return move_host(c, host, true, err);
}

static int
change_pool(struct pool_change *c, struct error *err)
{
    if (store_pool_list(c->service->store, c->name, find_leaving, c, err) < 0)
        return -1;
    for (size_t i = 0; i < json_array_size(c->wanted); i++) {
        if (take_in(c, json_string_value(json_array_get(c->wanted, i)), err) < 0)
            return -1;
    }
    for (size_t i = 0; i < c->n_leaving; i++) {
        if (move_host(c, c->leaving[i], false, err) < 0)
            return -1;
    }
    return 0;
}

static int
check_hosts(const json_t *hosts, struct error *err)
{
    for (size_t i = 0; i < json_array_size(hosts); i++) {
        const char *host = json_string_value(json_array_get(hosts, i));

        if (!host || !name_is_host(host))
            return error_problem(err, ERROR_INPUT, "bad-request", "a host's name is [a-z0-9.-]{1,63}");
    }
    return json_array_size(hosts) == 0
               ? error_problem(err, ERROR_INPUT, "bad-request", "a pool has at least one host; \"virtid pool remove\"")
               : 0;
}

/* In one transaction: what is refused changes nothing.  `must_be`: a pool that is not there is an error. */
static int
change_and_answer(struct pool_change *c, bool must_be, struct error *err)
{
    CLEANUP(json_decref) json_t *answer = NULL;
    CLEANUP(store_abandon) struct store *txn = NULL;
    struct service *s = c->service;
    int64_t vms = 0;

    c->added = json_array();
    c->removed = json_array();
    answer = json_pack("{s:s,s:o,s:o}", "name", c->name, "added", c->added, "removed", c->removed);
    if (!answer)
        return error_set(err, ERROR_SYSTEM, "no memory");
    if (store_begin(s->store, &txn, err) < 0 || change_pool(c, err) < 0 || store_pool_vms(s->store, c->name, &vms, err) < 0)
        return -1;
    if (must_be && json_array_size(c->removed) == 0)
        return error_problem(err, ERROR_MISSING, "not-found", "no pool \"%.63s\"", c->name);
    json_object_set_new(answer, "waiting", json_integer((json_int_t)vms));
    if (store_commit(txn, err) < 0)
        return -1;
    return api_body_answer(c->call, 200, STEAL(answer), err);
}

int
api_admin_pool_set(struct service *s, struct api_call *call, struct error *err)
{
    CLEANUP(mem_free) struct pool_change *c = calloc(1, sizeof *c);
    CLEANUP(json_decref) json_t *body = NULL;

    if (!c)
        return error_set(err, ERROR_SYSTEM, "no memory");
    c->service = s;
    c->call = call;
    if (api_body_read(call, "name hosts", &body, err) < 0 ||
        json_get_string(body, "name", false, NAME_POOL_MAX, &c->name, err) < 0 ||
        json_get_array(body, "hosts", false, POOL_HOSTS_MAX, &c->wanted, err) < 0)
        return api_body_refuse(err);
    if (!name_is_pool(c->name))
        return error_problem(err, ERROR_INPUT, "bad-request", "a pool's name is [a-z0-9.-]{1,63}");
    if (check_hosts(c->wanted, err) < 0)
        return -1;
    return change_and_answer(c, false, err);
}

int
api_admin_pool_remove(struct service *s, struct api_call *call, struct error *err)
{
    CLEANUP(mem_free) struct pool_change *c = calloc(1, sizeof *c);
    CLEANUP(json_decref) json_t *body = NULL;

    if (!c)
        return error_set(err, ERROR_SYSTEM, "no memory");
    c->service = s;
    c->call = call;
    if (api_body_read(call, "name", &body, err) < 0 ||
        json_get_string(body, "name", false, NAME_POOL_MAX, &c->name, err) < 0)
        return api_body_refuse(err);
    return change_and_answer(c, true, err);
}
