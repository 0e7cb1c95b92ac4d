#include "config.h"

#include "tokenservice/api/vm_trail.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "tokenservice/store/store.h"

/* What one record of the audit says of where the VM is. */
enum step_kind { STEP_HAS /* `host` has it */, STEP_LEAVES /* it is to be at `host`, or at none */ };

struct step {
    int64_t ms;
    enum step_kind kind;
    const char *end; /* how a stay elsewhere ends by it */
    char host[NAME_HOST_MAX + 1];
};

struct steps {
    size_t n;
    struct step list[TRAIL_RECORDS_MAX];
};

static void
copy_word(char ret[static NAME_HOST_MAX + 1], const char *from)
{
    size_t len = strcspn(from, " ,");

    if (len > NAME_HOST_MAX)
        len = NAME_HOST_MAX;
    memcpy(ret, from, len);
    ret[len] = '\0';
}

/* "OP VIEW STATE epoch N" (api_report.c); who has it stands in `expected`, before that was so in `who`. */
static bool
read_lease(const struct audit_record *r, struct step *ret)
{
    char state[8] = "";

    if (sscanf(r->seen, "%*15s %*15s %7s", state) != 1 || strcmp(state, "free") == 0)
        return false;
    if (r->expected[0])
        copy_word(ret->host, r->expected);
    else if (strcmp(state, "runs") == 0 && strncmp(r->who, "host ", 5) == 0)
        copy_word(ret->host, r->who + 5);
    return ret->host[0] != '\0';
}

static bool
read_record(const struct audit_record *r, struct step *ret)
{
    const char *to;

    *ret = (struct step){ .ms = r->ms, .kind = STEP_HAS, .end = "moved" };
    if (strcmp(r->what, "lease") == 0)
        return read_lease(r, ret);
    if (strcmp(r->what, "moved") == 0) { /* "from A to B, epoch N" (api_token.c) */
        to = strstr(r->seen, " to ");
        copy_word(ret->host, to ? to + 4 : "");
        return to != NULL;
    }
    ret->kind = STEP_LEAVES;
    ret->end = r->what[0] == 'p' ? "placed" : r->what[0] == 'f' ? "fenced" : "retired";
    if (ret->end[0] == 'p')
        copy_word(ret->host, r->expected);
    return ret->end[0] != 'f' || !strstr(r->seen, " candidate,");
}

static int
take_record(void *context, const struct audit_record *record, struct error *err)
{
    struct steps *s = context;

    (void)err;
    if (s->n < TRAIL_RECORDS_MAX && read_record(record, &s->list[s->n]))
        s->n++;
    return 0;
}

static int
end_stay(json_t *stay, const struct step *step)
{
    return json_object_set_new(stay, "until", json_integer(step->ms)) < 0 ||
                   json_object_set_new(stay, "end", json_string(step->end)) < 0
               ? -1
               : 0;
}

/* 0, or -1 without memory. */
static int
add_step(json_t *trail, const struct step *step)
{
    json_t *last = json_array_get(trail, json_array_size(trail) - 1);
    bool there = last && !json_object_get(last, "until");
    bool same = there && strcmp(json_string_value(json_object_get(last, "host")), step->host) == 0;

    if (same)
        return 0;
    if (there && end_stay(last, step) < 0)
        return -1;
    if (step->kind == STEP_LEAVES)
        return 0;
    return json_array_append_new(
        trail, json_pack("{s:s,s:I}", "host", step->host, "since", (json_int_t)step->ms));
}

int
vm_trail(struct service *s, const struct vm_uuid *uuid, json_t **ret, bool *ret_more, struct error *err)
{
    CLEANUP(mem_free) struct steps *steps = calloc(1, sizeof *steps);
    CLEANUP(json_decref) json_t *trail = json_array();

    if (!steps || !trail)
        return error_set(err, ERROR_SYSTEM, "no memory");
    if (store_audit_list_places(s->store, uuid, TRAIL_RECORDS_MAX, take_record, steps, err) < 0)
        return -1;
    *ret_more = steps->n == TRAIL_RECORDS_MAX;
    for (size_t i = steps->n; i-- > 0;) { /* they came newest first */
        if (add_step(trail, &steps->list[i]) < 0)
            return error_set(err, ERROR_SYSTEM, "no memory");
        if (json_array_size(trail) > TRAIL_MAX) {
            json_array_remove(trail, 0);
            *ret_more = true;
        }
    }
    *ret = STEAL(trail);
    return 0;
}
