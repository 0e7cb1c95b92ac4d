#include "config.h"

#include "plugin/missed.h"

#include <limits.h>
#include <stdio.h>
#include <string.h>
#include <unistd.h>

#include "lib/common/buf.h"
#include "lib/common/fdio.h"

enum { MARK_MAX = 128 * 1024 };

int
missed_open(const char *run_dir, struct error *err)
{
    char path[PATH_MAX];

    snprintf(path, sizeof path, "%s/missed", run_dir);
    return dir_make(path, 0755, err);
}

static void
read_line(const char *line, struct missed *m)
{
    m->any = true;
    if (strncmp(line, "migrate ", 8) == 0)
        m->came_in = true;
    if (strncmp(line, "prepare ", 8) == 0 || strncmp(line, "restore ", 8) == 0 || m->came_in)
        m->began = true;
    if (strncmp(line, "stopped ", 8) == 0 || strncmp(line, "release ", 8) == 0)
        m->ended = true;
}

struct missed
missed_look(const char *run_dir, const struct vm_uuid *uuid)
{
    CLEANUP(buf_clear) struct buf text = BUF(MARK_MAX);
    char path[PATH_MAX], name[VM_UUID_TEXT];
    struct missed m = { 0 };
    struct error err;

    vm_uuid_print(uuid, name);
    snprintf(path, sizeof path, "%s/missed/%s", run_dir, name);
    if (file_read(path, &text, &err) < 0) {
        /* A mark that can not be read still says that something was missed. */
        m.any = m.began = err.code != ERROR_MISSING;
    } else {
        const char *line = buf_text(&text);

        while (line && *line) {
            read_line(line, &m);
            line = strchr(line, '\n');
            line += line != NULL;
        }
    }
    return m;
}

struct missed
missed_take(const char *run_dir, const struct vm_uuid *uuid)
{
    struct missed m = missed_look(run_dir, uuid);
    char path[PATH_MAX], name[VM_UUID_TEXT];

    vm_uuid_print(uuid, name);
    snprintf(path, sizeof path, "%s/missed/%s", run_dir, name);
    if (m.any)
        (void)unlink(path);
    return m;
}
