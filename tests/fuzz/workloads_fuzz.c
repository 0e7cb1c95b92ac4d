#include "config.h"

#include <assert.h>
#include <stdio.h>
#include <string.h>
#include <sys/mman.h>
#include <unistd.h>

#include "guestagent/token_files.h"
#include "guestagent/workloads.h"
#include "lib/common/fdio.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

/* A name that is taken is the one name of its audience. */
static void
try_as_name(const uint8_t *data, size_t size)
{
    char name[600] = "", audience[NAME_AUDIENCE_MAX + 1], again[TOKEN_FILE_NAME_MAX + 1];

    memcpy(name, data, size < sizeof name - 1 ? size : sizeof name - 1);
    if (token_file_audience(name, audience) < 0)
        return;
    assert(token_file_name(audience, again) == 0 && strcmp(again, name) == 0);
    assert(!strchr(name, '/') && name[0] != '.');
}

int
LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    CLEANUP(fd_close) int fd = memfd_create("workloads", MFD_CLOEXEC);
    CLEANUP(workloads_free) struct workloads *w = NULL;
    gid_t gid = 1000;
    struct peer stranger = { .pid = 2, .uid = 54321, .gids = &gid, .n_gids = 1 };
    const struct workload_file *file;
    struct error err;
    char path[64];

    assert(fd >= 0);
    try_as_name(data, size);
    if (fd_write_all(fd, data, size, &err) < 0)
        return 0;
    snprintf(path, sizeof path, "/proc/self/fd/%d", fd);
    if (workloads_read(path, &w, &err) < 0) {
        assert(err.code == ERROR_INPUT);
        return 0;
    }
    /* Whatever was read: who is not at home and in no cgroup is nobody that a rule means. */
    assert(workloads_of(w, &stranger) == 0);
    for (size_t i = 0; workloads_audience(w, i); i++)
        assert(name_is_audience(workloads_audience(w, i)) && i < 64);
    for (size_t i = 0; (file = workloads_file(w, i)); i++)
        assert(name_is_audience(file->audience) && (file->mode & ~0444u) == 0);
    return 0;
}
