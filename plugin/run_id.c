#include "config.h"

#include "plugin/run_id.h"

#include <ctype.h>
#include <dirent.h>
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "lib/common/fdio.h"

enum { CMDLINE_MAX = 16384, STAT_MAX = 1024, START_TIME_FIELD = 22 };

static ssize_t
read_proc(const char *pid, const char *file, char *ret, size_t size)
{
    char path[300];
    CLEANUP(fd_close) int fd = -1;

    snprintf(path, sizeof path, "/proc/%s/%s", pid, file);
    fd = open(path, O_RDONLY | O_CLOEXEC);
    return fd < 0 ? -1 : read(fd, ret, size);
}

static bool
has_uuid(const char *pid, const char *uuid)
{
    char line[CMDLINE_MAX];
    char wanted[VM_UUID_TEXT + 8];
    ssize_t n = read_proc(pid, "cmdline", line, sizeof line);
    int len = snprintf(wanted, sizeof wanted, "-uuid%c%s", '\0', uuid);

    return n > 0 && memmem(line, (size_t)n, wanted, (size_t)len + 1) != NULL;
}

/* Field 22 of stat; the name in field 2 may hold anything, so count behind its ')'. */
static unsigned long long
start_time(const char *pid)
{
    char text[STAT_MAX + 1];
    ssize_t n = read_proc(pid, "stat", text, STAT_MAX);
    const char *at;

    if (n <= 0)
        return 0;
    text[n] = '\0';
    at = strrchr(text, ')');
    for (int field = 2; at && field < START_TIME_FIELD; field++)
        at = strchr(at + 1, ' ');
    return at ? strtoull(at, NULL, 10) : 0;
}

void
run_id_find(const struct vm_uuid *uuid, int domain_id, char ret[static RUN_ID_MAX + 1])
{
    unsigned long long started = 0;
    const struct dirent *entry;
    char text[VM_UUID_TEXT];
    DIR *proc = opendir("/proc");

    vm_uuid_print(uuid, text);
    while (proc && started == 0 && (entry = readdir(proc))) {
        if (isdigit((unsigned char)entry->d_name[0]) && has_uuid(entry->d_name, text))
            started = start_time(entry->d_name);
    }
    if (proc)
        closedir(proc);
    snprintf(ret, RUN_ID_MAX + 1, "%d@%llu", domain_id, started);
}
