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
end_present(struct missed *m)
{
    m->over.is |= m->present.is;
    m->over.came_in |= m->present.came_in;
    m->present = (struct missed_run){ false };
}

static void
read_line(const char *line, struct missed *m)
{
    bool migrate = strncmp(line, "migrate ", 8) == 0, restore = strncmp(line, "restore ", 8) == 0;
    bool prepare = strncmp(line, "prepare ", 8) == 0;
    bool end = strncmp(line, "stopped ", 8) == 0 || strncmp(line, "release ", 8) == 0;

    m->any = true;
    if (prepare || end)
        end_present(m);
    if (prepare)
        m->present = (struct missed_run){ .is = true, .came_in = m->announced };
    m->ended = end;
    m->announced = migrate;
    m->restores = restore;
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
        m.any = m.present.is = err.code != ERROR_MISSING;
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

void
missed_drop(const char *run_dir, const struct vm_uuid *uuid)
{
    char path[PATH_MAX], name[VM_UUID_TEXT];

    vm_uuid_print(uuid, name);
    snprintf(path, sizeof path, "%s/missed/%s", run_dir, name);
    (void)unlink(path);
}
