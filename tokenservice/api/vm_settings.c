#include "config.h"

#include "tokenservice/api/vm_settings.h"

#include <string.h>

#include "lib/wire/transcript.h"

enum {
    LABELS_MAX = 32,
    LABEL_NAME_MAX = 63,
    LABEL_VALUE_MAX = 255,
    AUDIENCES_MAX = 64
};

static int
refuse(struct error *err, const char *what)
{
    return error_problem(err, ERROR_INPUT, "bad-request", "%s", what);
}

static bool
is_printable(const char *text)
{
    for (; *text; text++) {
        if (*text < 0x20 || *text > 0x7e)
            return false;
    }
    return true;
}

static int
change_owner(const json_t *body, struct identity_row *row, struct error *err)
{
    const char *owner = NULL;

    if (json_get_string(body, "owner", true, ROW_OWNER_MAX, &owner, err) < 0)
        return refuse(err, "\"owner\" is text of at most 255 bytes");
    if (!owner)
        return 0;
    if (!is_printable(owner))
        return refuse(err, "\"owner\" is printable ASCII");
    memset(row->owner, 0, sizeof row->owner);
    memcpy(row->owner, owner, strlen(owner));
    return 0;
}

static int
change_labels(const json_t *body, struct identity_row *row, struct error *err)
{
    CLEANUP(buf_clear) struct buf text = BUF(ROW_LABELS_MAX);
    const json_t *labels = NULL;
    const char *name;
    json_t *value;

    if (json_get_object(body, "labels", true, &labels, err) < 0)
        return refuse(err, "\"labels\" is an object");
    if (!labels)
        return 0;
    if (json_object_size(labels) > LABELS_MAX)
        return refuse(err, "at most 32 labels");
    json_object_foreach((json_t *)(uintptr_t)labels, name, value)
    {
        if (!*name || strlen(name) > LABEL_NAME_MAX || !is_printable(name) ||
            !json_is_string(value) || json_string_length(value) > LABEL_VALUE_MAX ||
            !is_printable(json_string_value(value)))
            return refuse(err, "a label is a name of 1 to 63 and text of at most 255 "
                               "printable ASCII characters");
    }
    if (json_print(labels, &text, err) < 0 || !buf_text(&text))
        return refuse(err, "the labels are more than 2048 bytes");
    memset(row->labels, 0, sizeof row->labels);
    memcpy(row->labels, text.data, text.len);
    return 0;
}

static int
add_factor(const json_t *name, uint8_t *floor, struct error *err)
{
    const char *text = json_string_value(name);

    if (text && strcmp(text, "host") == 0)
        *floor |= FACTOR_HOST;
    else if (text && strcmp(text, "vtpm") == 0)
        *floor |= FACTOR_VTPM;
    else if (text && strcmp(text, "secret") == 0)
        *floor |= FACTOR_SECRET;
    else
        return refuse(err, "a factor is host, vtpm or secret");
    return 0;
}

static int
change_floor(const json_t *body, struct identity_row *row, struct error *err)
{
    const json_t *names = NULL;
    uint8_t floor = FACTOR_HOST;

    if (json_get_array(body, "floor", true, 3, &names, err) < 0)
        return refuse(err, "\"floor\" is a list of factors");
    if (!names)
        return 0;
    for (size_t i = 0; i < json_array_size(names); i++) {
        if (add_factor(json_array_get(names, i), &floor, err) < 0)
            return -1;
    }
    if (identity_row_is_unproved(row))
        return error_problem(
            err, ERROR_DENIED, "conflict",
            "the floor of a pending account is set by its first proof");
    if ((floor & row->floor) != row->floor)
        return error_problem(err, ERROR_DENIED, "floor", "a floor is only raised");
    if (((floor & FACTOR_VTPM) && !row->has_ak) ||
        ((floor & FACTOR_SECRET) && !row->has_cur))
        return error_problem(err, ERROR_DENIED, "conflict",
                             "the VM was enrolled without that factor: it could never "
                             "show it, and a floor is not lowered again");
    if (floor != row->floor) /* what is asked for from now on has not stepped in this run */
        row->done_run = (struct proof_run){ .epoch = 0 };
    row->floor = floor;
    return 0;
}

static int
change_audiences(const json_t *body, struct identity_row *row, struct error *err)
{
    CLEANUP(buf_clear) struct buf text = BUF(ROW_AUDIENCES_MAX);
    const json_t *names = NULL;

    if (json_get_array(body, "audiences", true, AUDIENCES_MAX, &names, err) < 0)
        return refuse(err, "\"audiences\" is a list of at most 64 names");
    if (!names)
        return 0;
    for (size_t i = 0; i < json_array_size(names); i++) {
        const char *name = json_string_value(json_array_get(names, i));

        if (!name || !name_is_audience(name))
            return refuse(err,
                          "an audience is 1 to 255 printable characters without space");
        buf_printf(&text, "%s%s", i ? " " : "", name);
    }
    if (!buf_ok(&text))
        return refuse(err, "the audiences are more than 2048 bytes");
    memset(row->audiences, 0, sizeof row->audiences);
    if (text.len)
        memcpy(row->audiences, text.data, text.len);
    return 0;
}

static int
change_restore(const json_t *body, struct identity_row *row, struct error *err)
{
    const char *word = NULL;

    if (json_get_string(body, "restore", true, 8, &word, err) < 0 ||
        (word && strcmp(word, "ask") != 0 && strcmp(word, "auto") != 0))
        return refuse(err, "\"restore\" is ask or auto");
    if (word)
        row->ratchet = (uint8_t)((row->ratchet & ~ROW_RATCHET_AUTO) | (strcmp(word, "auto") == 0 ? ROW_RATCHET_AUTO : 0));
    return 0;
}

int
vm_settings_change(const json_t *body, struct identity_row *row, struct error *err)
{
    if (change_owner(body, row, err) < 0 || change_labels(body, row, err) < 0 ||
        change_floor(body, row, err) < 0 || change_audiences(body, row, err) < 0 ||
        change_restore(body, row, err) < 0)
        return -1;
    return 0;
}

bool
vm_settings_list_audience(const struct identity_row *row, const char *name)
{
    size_t len = strlen(name);

    for (const char *at = row->audiences; (at = strstr(at, name)); at += len) {
        if ((at == row->audiences || at[-1] == ' ') && (at[len] == '\0' || at[len] == ' '))
            return true;
    }
    return false;
}
