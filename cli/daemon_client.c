#include "config.h"

#include "cli/daemon_client.h"

#include <stdio.h>
#include <string.h>

#include "lib/http/http_client.h"

enum { ANSWER_MS = 15000 };

int
daemon_ask(const char *socket, const char *method, const char *path, const json_t *body,
           json_t **ret_answer, struct error *err)
{
    struct http_client_options options = { .unix_path = socket, .timeout_ms = ANSWER_MS };
    CLEANUP(http_client_free) struct http_client *client = NULL;
    char url[800];

    snprintf(url, sizeof url, "http://localhost%s", path);
    *ret_answer = NULL;
    if (http_client_new(&options, &client, err) < 0)
        return -1;
    if (http_client_json(client, method, url, (const struct json_t *)body,
                         (struct json_t **)ret_answer, err) < 0) {
        if (err->code != ERROR_BUSY || err->problem[0])
            return -1;
        return error_wrap(err, "%s does not answer on %s (is it running? are you root?)",
                          strstr(socket, "host") ? "virtid-hostd" : "virtid-tokend", socket);
    }
    return 0;
}

const char *
daemon_text(const json_t *object, const char *name, const char *fallback)
{
    static char ring[8][32];
    static unsigned turn;
    const json_t *v = json_object_get(object, name);
    char *slot;

    if (json_is_string(v))
        return json_string_value(v);
    slot = ring[turn++ % 8];
    if (json_is_integer(v))
        snprintf(slot, sizeof ring[0], "%lld", (long long)json_integer_value(v));
    else if (json_is_boolean(v))
        snprintf(slot, sizeof ring[0], "%s", json_is_true(v) ? "yes" : "no");
    else
        return fallback;
    return slot;
}
