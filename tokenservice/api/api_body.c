#include "config.h"

#include "tokenservice/api/api_body.h"

#include <string.h>

int
api_body_refuse(struct error *err)
{
    if (err->code == ERROR_INPUT && !err->problem[0])
        strcpy(err->problem, "bad-request");
    return -1;
}

int
api_body_read(const struct api_call *call, const char *members, json_t **ret,
              struct error *err)
{
    CLEANUP(json_decref) json_t *body = NULL;

    if (json_parse((const char *)call->request->body, call->request->body_len, &body,
                   err) < 0 ||
        json_only(body, members, err) < 0)
        return api_body_refuse(err);
    *ret = STEAL(body);
    return 0;
}

int
api_body_uuid(const json_t *body, struct vm_uuid *ret, struct error *err)
{
    const char *text;

    if (json_get_string(body, "uuid", false, VM_UUID_TEXT - 1, &text, err) < 0 ||
        vm_uuid_parse(text, ret, err) < 0)
        return api_body_refuse(err);
    return 0;
}

int
api_body_epoch(const json_t *body, uint64_t *ret, struct error *err)
{
    int64_t value;

    if (json_get_int(body, "epoch", false, 1, INT64_MAX, &value, err) < 0)
        return api_body_refuse(err);
    *ret = (uint64_t)value;
    return 0;
}

int
api_body_bytes(const json_t *body, const char *name, uint8_t *ret, size_t len,
               bool optional, bool *ret_has, struct error *err)
{
    size_t found = 0;

    if (json_get_bytes(body, name, optional, ret, len, &found, err) < 0)
        return api_body_refuse(err);
    *ret_has = found == len;
    if (found != len && (found != 0 || json_object_get(body, name)))
        return error_problem(err, ERROR_INPUT, "bad-request",
                             "member \"%s\" has %zu bytes", name, found);
    return 0;
}

int
api_body_answer(struct api_call *call, int status, json_t *take_answer,
                struct error *err)
{
    CLEANUP(json_decref) json_t *answer = take_answer;

    if (!answer)
        return error_set(err, ERROR_SYSTEM, "no memory for an answer");
    if (json_print(answer, &call->reply->body, err) < 0)
        return -1;
    call->reply->status = status;
    return 0;
}
