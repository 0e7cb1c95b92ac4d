/*
 * The trust bundle, for the agents in the guests.
 */
#include "config.h"

#include "tokenservice/api/api.h"
#include "tokenservice/api/api_body.h"

int
api_bundle(struct service *s, struct api_call *call, struct error *err)
{
    json_t *answer = json_pack("{s:I}", "serial", (json_int_t)s->info.bundle_serial);

    if (answer &&
        json_set_bytes(answer, "bundle", s->info.bundle, s->info.bundle_len) < 0) {
        json_decref(answer);
        answer = NULL;
    }
    return api_body_answer(call, 200, answer, err);
}
