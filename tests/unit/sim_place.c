/* An operator's word in the tests of the API: api_fixture.h. */
#include "config.h"

#include "tests/unit/api_fixture.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stdio.h>

#include <cmocka.h>

int
sim_host_placed(struct sim_host *h, const struct vm_uuid *uuid, json_t *take_body)
{
    CLEANUP(json_decref) json_t *body = take_body;
    struct sim_word off = { .view = VIEW_OFF };
    struct lease_pull pull = { .pull = 0 };
    char path[80], text[VM_UUID_TEXT];
    struct error err;

    vm_uuid_print(uuid, text);
    snprintf(path, sizeof path, "/v1/admin/vms/%s/place", text);
    json_object_set_new(body, "host", json_string(h->name));
    if (api_admin("POST", path, json_incref(body)) != 0 || the_api.park_ms == 0)
        return the_api.status;
    if (sim_host_ask(h, "GET", "/v1/host/pull?after=0", NULL) != 200)
        return the_api.status;
    assert_int_equal(lease_pull_decode((const char *)the_api.body.data, the_api.body.len, &pull, &err), 0);
    off.pull = pull.pull;
    sim_host_say_all(h, uuid, &off);
    return api_admin("POST", path, json_incref(body));
}
