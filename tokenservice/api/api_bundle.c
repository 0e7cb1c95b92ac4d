/*
 * The trust bundle, for hosts and the agents in their guests: the newest, or what comes behind the one that is held.
 */
#include "config.h"

#include "tokenservice/api/api.h"

#include <stdlib.h>
#include <string.h>

#include "tokenservice/api/api_body.h"

int
api_bundle(struct service *s, struct api_call *call, struct error *err)
{
    CLEANUP(buf_clear) struct buf bundle = BUF(BUNDLE_MAX);
    struct error none;
    json_t *answer;
    char text[24];

    if (http_query(call->request->message, "after", text, sizeof text - 1, &none) < 0) {
        if (none.code != ERROR_MISSING)
            return error_problem(err, ERROR_INPUT, "bad-request", "?after=SERIAL");
        buf_add(&bundle, s->info.bundle, s->info.bundle_len);
    } else if (text[0] == '\0' || text[strspn(text, "0123456789")] != '\0') {
        return error_problem(err, ERROR_INPUT, "bad-request", "?after=SERIAL");
    } else if (mint_bundle(s->mint, strtoull(text, NULL, 10), &bundle, err) < 0) {
        return -1;
    }
    if (!buf_ok(&bundle))
        return error_set(err, ERROR_SYSTEM, "no memory for an answer");
    answer = json_pack("{s:I}", "serial", (json_int_t)s->info.bundle_serial);
    if (answer &&
        json_set_bytes(answer, "bundle", bundle.data, bundle.len) < 0) {
        json_decref(answer);
        answer = NULL;
    }
    return api_body_answer(call, 200, answer, err);
}
