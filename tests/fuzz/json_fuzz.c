#include "config.h"

#include <assert.h>

#include "lib/common/json.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

/* What is read prints, and what is printed reads to the same. */
int
LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    CLEANUP(json_decref) json_t *object = NULL, *again = NULL;
    CLEANUP(buf_clear) struct buf text = BUF(8 * JSON_TEXT_MAX);
    const json_t *part;
    const char *string = NULL;
    uint8_t bytes[64];
    int64_t number;
    bool flag;
    struct error err;
    size_t len;

    if (json_parse((const char *)data, size, &object, &err) < 0)
        return 0;
    (void)json_only(object, "uuid name ek", &err);
    (void)json_get_string(object, "name", true, 16, &string, &err);
    (void)json_get_int(object, "epoch", true, 0, INT64_MAX, &number, &err);
    (void)json_get_bytes(object, "ek", true, bytes, sizeof bytes, &len, &err);
    (void)json_get_bool(object, "flag", true, &flag, &err);
    (void)json_get_array(object, "list", true, 4, &part, &err);
    (void)json_get_object(object, "virtid", true, &part, &err);
    if (json_print(object, &text, &err) == 0 && text.len <= JSON_TEXT_MAX) {
        assert(json_parse((const char *)text.data, text.len, &again, &err) == 0);
        assert(json_equal(object, again));
    }
    return 0;
}
