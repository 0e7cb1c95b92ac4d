/*
 * A host shows what it kept for us: receipts that are newer than the database.
 */
#include "config.h"

#include "tokenservice/api/api.h"

#include <stdlib.h>
#include <string.h>

#include "tokenservice/api/api_body.h"
#include "tokenservice/api/recovery.h"

enum { RECEIPTS_MAX = 32 };

static const char *const WORDS[] = {
    [RECOVERY_KNOWN] = "known",
    [RECOVERY_TAKEN] = "taken",
    [RECOVERY_REFUSED] = "refused",
};

/* One that is not ours is no reason to refuse the others: its host is told, and drops it. */
static int
take_one(struct service *s, struct api_call *call, const json_t *text, json_t *answers, struct error *err)
{
    CLEANUP(mem_free) struct receipt *r = calloc(1, sizeof *r);
    CLEANUP(json_decref) json_t *o = json_pack("{s:O}", "receipt", text);
    enum recovery_taken taken = RECOVERY_REFUSED;
    uint8_t bytes[RECEIPT_MAX];
    struct error why = { 0 };
    size_t len;

    if (!r || !o)
        return error_set(err, ERROR_SYSTEM, "no memory");
    if (json_get_bytes(o, "receipt", false, bytes, sizeof bytes, &len, err) < 0)
        return api_body_refuse(err);
    if (receipt_open(s, bytes, len, r, &why) == 0) {
        if (recovery_take(s, call, r, &taken, err) < 0)
            return -1;
    } else if (why.code != ERROR_DENIED) {
        *err = why;
        return -1;
    }
    return json_array_append_new(answers, json_string(WORDS[taken])) < 0 ? error_set(err, ERROR_SYSTEM, "no memory") : 0;
}

int
api_receipts(struct service *s, struct api_call *call, struct error *err)
{
    CLEANUP(json_decref) json_t *body = NULL;
    CLEANUP(json_decref) json_t *answer = json_object();
    CLEANUP(store_abandon) struct store *txn = NULL;
    json_t *answers = json_array();
    const json_t *receipts;

    if (json_object_set_new(answer, "receipts", answers) < 0)
        return error_set(err, ERROR_SYSTEM, "no memory");
    if (api_body_read(call, "receipts", &body, err) < 0 ||
        json_get_array(body, "receipts", false, RECEIPTS_MAX, &receipts, err) < 0)
        return api_body_refuse(err);
    if (service_check_clock(s, call->now_ms, err) < 0 || store_begin(s->store, &txn, err) < 0)
        return -1;
    for (size_t i = 0; i < json_array_size(receipts); i++) {
        if (take_one(s, call, json_array_get(receipts, i), answers, err) < 0)
            return -1;
    }
    if (store_commit(txn, err) < 0)
        return -1;
    return api_body_answer(call, 200, STEAL(answer), err);
}
