#include "config.h"

#include "plugin/observed.h"

#include <limits.h>
#include <stdio.h>
#include <string.h>
#include <unistd.h>

#include "lib/common/fdio.h"

enum { FILE_MAX = 16 * 1024 };

static struct observed_word *
last_of(struct observed *o, const char *step)
{
    for (size_t i = o->n; i-- > 0;) {
        if (strcmp(o->words[i].step, step) == 0)
            return &o->words[i];
    }
    return NULL;
}

/* Reasons come from daemons, in UTF-8; a cut in the middle of a character would spoil the JSON. */
static void
copy_text(char *ret, size_t size, const char *text)
{
    size_t len = strnlen(text, size - 1);

    while (len > 0 && len == size - 1 && ((unsigned char)text[len] & 0xc0) == 0x80)
        len--;
    memcpy(ret, text, len);
    ret[len] = '\0';
}

void
observed_add(struct observed *o, const char *step, const char *would, const char *text, int64_t now_ms)
{
    struct observed_word word = { .ms = now_ms, .times = 1 };
    struct observed_word *last = last_of(o, step);

    copy_text(word.step, sizeof word.step, step);
    copy_text(word.would, sizeof word.would, would);
    copy_text(word.text, sizeof word.text, text);
    if (last && strcmp(last->would, word.would) == 0 && strcmp(last->text, word.text) == 0) {
        last->ms = now_ms;
        last->times++;
        return;
    }
    if (o->n == OBSERVED_MAX)
        memmove(&o->words[0], &o->words[1], --o->n * sizeof o->words[0]);
    o->words[o->n++] = word;
}

json_t *
observed_show(const struct observed *o)
{
    json_t *list = json_array();

    for (size_t i = 0; i < o->n; i++)
        json_array_append_new(list, json_pack("{s:I,s:I,s:s,s:s,s:s}", "ms", (json_int_t)o->words[i].ms, "times",
                                              (json_int_t)o->words[i].times, "step", o->words[i].step, "would",
                                              o->words[i].would, "text", o->words[i].text));
    return list;
}

static void
file_path(const char *state_dir, const struct vm_uuid *uuid, char ret[static PATH_MAX])
{
    char text[VM_UUID_TEXT];

    vm_uuid_print(uuid, text);
    snprintf(ret, PATH_MAX, "%s/observed/%s.json", state_dir, text);
}

static int
read_word(const json_t *o, struct observed_word *ret, struct error *err)
{
    const char *step, *would, *text;

    if (json_get_int(o, "ms", false, 0, INT64_MAX, &ret->ms, err) < 0 ||
        json_get_int(o, "times", false, 1, INT64_MAX, &ret->times, err) < 0 ||
        json_get_string(o, "step", false, OBSERVED_WORD_MAX, &step, err) < 0 ||
        json_get_string(o, "would", false, OBSERVED_WORD_MAX, &would, err) < 0 ||
        json_get_string(o, "text", false, OBSERVED_TEXT_MAX, &text, err) < 0)
        return -1;
    memcpy(ret->step, step, strlen(step) + 1);
    memcpy(ret->would, would, strlen(would) + 1);
    memcpy(ret->text, text, strlen(text) + 1);
    return 0;
}

int
observed_load(const char *state_dir, const struct vm_uuid *uuid, struct observed *ret, struct error *err)
{
    CLEANUP(buf_clear) struct buf text = BUF(FILE_MAX);
    CLEANUP(json_decref) json_t *o = NULL;
    const json_t *words;
    char path[PATH_MAX];

    memset(ret, 0, sizeof *ret);
    file_path(state_dir, uuid, path);
    if (file_read(path, &text, err) < 0 || json_parse((const char *)text.data, text.len, &o, err) < 0 ||
        json_get_array(o, "words", false, OBSERVED_MAX, &words, err) < 0)
        return -1;
    for (size_t i = 0; i < json_array_size(words); i++) {
        if (read_word(json_array_get(words, i), &ret->words[i], err) < 0)
            return -1;
        ret->n++;
    }
    return 0;
}

int
observed_save(const char *state_dir, const struct vm_uuid *uuid, const struct observed *o, struct error *err)
{
    CLEANUP(buf_clear) struct buf text = BUF(FILE_MAX);
    CLEANUP(json_decref) json_t *body = json_pack("{s:o}", "words", observed_show(o));
    char path[PATH_MAX];

    snprintf(path, sizeof path, "%s/observed", state_dir);
    if (!body || dir_make(path, 0700, err) < 0 || json_print(body, &text, err) < 0)
        return body ? -1 : error_set(err, ERROR_SYSTEM, "no memory, or text that is not UTF-8");
    file_path(state_dir, uuid, path);
    return file_replace(path, text.data, text.len, 0600, err);
}

void
observed_forget(const char *state_dir, const struct vm_uuid *uuid)
{
    char path[PATH_MAX];

    file_path(state_dir, uuid, path);
    (void)unlink(path);
}
