#include "config.h"

#include "tpmsim/sim_record.h"

#include <errno.h>
#include <stdio.h>

#include "lib/common/fdio.h"
#include "lib/common/json.h"

enum { TEXT_MAX = 4096 };

static int
take(const json_t *o, struct sim_record *ret, struct error *err)
{
    const char *uuid, *name;
    size_t x0_len = 0, secret_len = 0;

    if (json_only(o, "uuid name ek x0 secret renewed enrolled", err) < 0 ||
        json_get_string(o, "uuid", false, VM_UUID_TEXT, &uuid, err) < 0 ||
        vm_uuid_parse(uuid, &ret->uuid, err) < 0 ||
        json_get_string(o, "name", false, NAME_DOMAIN_MAX, &name, err) < 0 ||
        json_get_bytes(o, "ek", true, ret->ek, sizeof ret->ek, &ret->ek_len, err) < 0 ||
        json_get_bytes(o, "x0", true, ret->x0, sizeof ret->x0, &x0_len, err) < 0 ||
        json_get_bytes(o, "secret", true, ret->secret, sizeof ret->secret, &secret_len,
                       err) < 0 ||
        json_get_bool(o, "renewed", true, &ret->renewed, err) < 0 ||
        json_get_bool(o, "enrolled", false, &ret->enrolled, err) < 0)
        return -1;
    if ((x0_len == sizeof ret->x0) != (ret->ek_len > 0) ||
        (secret_len != 0 && secret_len != sizeof ret->secret))
        return error_set(err, ERROR_INPUT, "ek, x0 and secret do not fit together");
    ret->has_secret = secret_len > 0;
    snprintf(ret->name, sizeof ret->name, "%s", name);
    return 0;
}

int
sim_record_read(const char *path, struct sim_record *ret, struct error *err)
{
    CLEANUP(buf_clear) struct buf text = BUF(TEXT_MAX);
    CLEANUP(json_decref) json_t *o = NULL;
    struct sim_record record = { 0 };

    if (file_read(path, &text, err) < 0)
        return -1;
    if (json_parse((const char *)text.data, text.len, &o, err) < 0 ||
        take(o, &record, err) < 0)
        return error_wrap(err, "%s", path);
    *ret = record;
    return 0;
}

int
sim_record_write(const char *path, const struct sim_record *record, struct error *err)
{
    CLEANUP(buf_clear) struct buf text = BUF(TEXT_MAX);
    CLEANUP(json_decref) json_t *o = NULL;
    char uuid[VM_UUID_TEXT];

    vm_uuid_print(&record->uuid, uuid);
    o = json_pack("{s:s,s:s,s:b}", "uuid", uuid, "name", record->name, "enrolled",
                  record->enrolled);
    if (!o || (record->renewed && json_object_set_new(o, "renewed", json_true()) < 0) ||
        (record->ek_len &&
         (json_set_bytes(o, "ek", record->ek, record->ek_len) < 0 ||
          json_set_bytes(o, "x0", record->x0, sizeof record->x0) < 0)) ||
        (record->has_secret &&
         json_set_bytes(o, "secret", record->secret, sizeof record->secret) < 0))
        return error_sys(err, ENOMEM, "%s", path);
    if (json_print(o, &text, err) < 0)
        return -1;
    buf_add_text(&text, "\n");
    return file_replace(path, text.data, text.len, 0600, err);
}
