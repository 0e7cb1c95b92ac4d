#include "config.h"

#include "plugin/journal.h"

#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <limits.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include "lib/common/clock.h"
#include "lib/common/fdio.h"
#include "lib/common/json.h"

enum {
    RECORD_MAX = 32768,
    SEQ_BLOCK = 1024, /* one fsync for so many reports */
    FILE_NAME_MAX = VM_UUID_TEXT + 16,
};

struct journal {
    int state_dir, vms_dir;
    char path[PATH_MAX]; /* of vms/ */
    uint64_t seq, seq_reserved;
};

static int
open_dir(const char *path, int *ret, struct error *err)
{
    *ret = open(path, O_RDONLY | O_DIRECTORY | O_CLOEXEC);
    if (*ret < 0)
        return error_sys(err, errno, "%s", path);
    return 0;
}

/* The file holds the first number that was never given out. */
static int
load_seq(struct journal *j, const char *state_dir, struct error *err)
{
    CLEANUP(buf_clear) struct buf text = BUF(64);
    char path[PATH_MAX + 8];
    struct error missing;

    snprintf(path, sizeof path, "%s/seq", state_dir);
    if (file_read(path, &text, &missing) < 0) {
        if (missing.code != ERROR_MISSING) {
            *err = missing;
            return -1;
        }
        j->seq_reserved = (uint64_t)clock_realtime_ms(); /* above any of a lost folder */
    } else {
        const char *digits = buf_text(&text);
        char *end;

        errno = 0;
        j->seq_reserved = digits ? strtoull(digits, &end, 10) : 0;
        if (errno || j->seq_reserved == 0 || j->seq_reserved > INT64_MAX)
            return error_set(err, ERROR_INPUT, "%s holds no number", path);
    }
    j->seq = j->seq_reserved;
    return 0;
}

int
journal_open(const char *state_dir, struct journal **ret, struct error *err)
{
    CLEANUP(journal_close) struct journal *j = calloc(1, sizeof *j);

    if (!j)
        return error_sys(err, ENOMEM, "journal");
    j->state_dir = j->vms_dir = -1;
    if (snprintf(j->path, sizeof j->path, "%s/vms", state_dir) >= (int)sizeof j->path - 64)
        return error_set(err, ERROR_INPUT, "state_dir is too long");
    if (dir_make(j->path, 0700, err) < 0 || open_dir(state_dir, &j->state_dir, err) < 0 ||
        open_dir(j->path, &j->vms_dir, err) < 0 || load_seq(j, state_dir, err) < 0)
        return error_wrap(err, "journal");
    (void)unlinkat(j->state_dir, ".seq.new", 0); /* left by a crash */
    /* vms/ may be new: its name must last as long as what it holds. */
    if (fsync(j->state_dir) < 0)
        return error_sys(err, errno, "journal: fsync %s", state_dir);
    *ret = STEAL(j);
    return 0;
}

void
journal_close(struct journal *j)
{
    if (!j)
        return;
    fd_close(j->state_dir);
    fd_close(j->vms_dir);
    free(j);
}

static void
file_name(const struct vm_uuid *uuid, char ret[static FILE_NAME_MAX])
{
    char text[VM_UUID_TEXT];

    vm_uuid_print(uuid, text);
    snprintf(ret, FILE_NAME_MAX, "%s.json", text);
}

/* UUID.json, and nothing else. */
static bool
is_record(const char *name, struct vm_uuid *ret)
{
    char text[VM_UUID_TEXT];
    struct error err;

    if (strlen(name) != VM_UUID_TEXT - 1 + 5 || strcmp(name + VM_UUID_TEXT - 1, ".json") != 0)
        return false;
    memcpy(text, name, VM_UUID_TEXT - 1);
    text[VM_UUID_TEXT - 1] = '\0';
    return vm_uuid_parse(text, ret, &err) == 0;
}

static int
load_one(struct journal *j, const char *name, const struct vm_uuid *uuid, struct vm_record *ret,
         struct error *err)
{
    CLEANUP(buf_clear) struct buf text = BUF(RECORD_MAX);
    char path[PATH_MAX + 64];

    snprintf(path, sizeof path, "%s/%s", j->path, name);
    if (file_read(path, &text, err) < 0 ||
        vm_record_decode((const char *)text.data, text.len, ret, err) < 0)
        return -1;
    if (!vm_uuid_equal(uuid, &ret->uuid))
        return error_set(err, ERROR_INPUT, "it names another VM");
    return 0;
}

static int
put_aside(struct journal *j, const char *name, struct error *err)
{
    char bad[FILE_NAME_MAX + 8];

    snprintf(bad, sizeof bad, "%s.bad", name);
    if (renameat(j->vms_dir, name, j->vms_dir, bad) < 0)
        return error_sys(err, errno, "put %s aside", name);
    return 0;
}

/* A record that is damaged goes aside; one that can not be read now is no reason to forget a VM. */
static int
take_entry(struct journal *j, const char *name, struct vm_record *record, journal_each *each,
           void *context, unsigned *bad, struct error *err)
{
    struct vm_uuid uuid;
    struct error why;

    if (name[0] == '.' && strlen(name) > 4 && strcmp(name + strlen(name) - 4, ".new") == 0)
        (void)unlinkat(j->vms_dir, name, 0); /* left by a crash */
    if (!is_record(name, &uuid))
        return 0;
    if (load_one(j, name, &uuid, record, &why) == 0)
        return each(context, record, err);
    if (why.code != ERROR_INPUT) {
        *err = why;
        return -1;
    }
    ++*bad;
    return put_aside(j, name, err);
}

int
journal_load(struct journal *j, journal_each *each, void *context, unsigned *ret_bad,
             struct error *err)
{
    CLEANUP(mem_free) struct vm_record *record = malloc(sizeof *record);
    DIR *dir = record ? opendir(j->path) : NULL;
    const struct dirent *entry;
    unsigned bad = 0;
    int failed = 0;

    if (!dir)
        return error_sys(err, errno, "journal %s", j->path);
    while (failed == 0 && (errno = 0, entry = readdir(dir)))
        failed = take_entry(j, entry->d_name, record, each, context, &bad, err);
    if (failed == 0 && errno)
        failed = error_sys(err, errno, "journal");
    closedir(dir);
    if (failed < 0)
        return error_wrap(err, "journal %s", j->path);
    *ret_bad = bad;
    return 0;
}

int
journal_save(struct journal *j, const struct vm_record *record, struct error *err)
{
    CLEANUP(buf_clear) struct buf text = BUF(RECORD_MAX);
    char name[FILE_NAME_MAX];

    file_name(&record->uuid, name);
    if (vm_record_encode(record, &text, err) < 0 ||
        file_replace_at(j->vms_dir, name, text.data, text.len, 0600, err) < 0)
        return error_wrap(err, "journal");
    return 0;
}

int
journal_next_seq(struct journal *j, uint64_t *ret, struct error *err)
{
    if (j->seq == j->seq_reserved) {
        char text[32];
        int len = snprintf(text, sizeof text, "%llu\n", (unsigned long long)(j->seq + SEQ_BLOCK));

        if (file_replace_at(j->state_dir, "seq", text, (size_t)len, 0600, err) < 0)
            return error_wrap(err, "journal");
        j->seq_reserved = j->seq + SEQ_BLOCK;
    }
    *ret = j->seq++;
    return 0;
}
