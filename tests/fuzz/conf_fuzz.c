#include "config.h"

#include <assert.h>
#include <stdio.h>
#include <sys/mman.h>
#include <unistd.h>

#include "lib/common/conf.h"
#include "lib/common/fdio.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

int
LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    static const struct conf_key keys[] = {
        { "service.trust_domain", CONF_TEXT, NULL }, { "service.names", CONF_LIST, "" },
        { "service.test", CONF_BOOL, "no" },         { "listen.limit", CONF_INT, "5" },
        { NULL, CONF_TEXT, NULL },
    };
    CLEANUP(fd_close) int fd = memfd_create("conf", MFD_CLOEXEC);
    CLEANUP(conf_free) struct conf *conf = NULL;
    struct error err;
    char path[64];

    assert(fd >= 0);
    if (fd_write_all(fd, data, size, &err) < 0)
        return 0;
    snprintf(path, sizeof path, "/proc/self/fd/%d", fd);
    if (conf_read(path, keys, false, &conf, &err) == 0) {
        assert(conf_text(conf, "service.trust_domain"));
        (void)conf_int(conf, "listen.limit");
        (void)conf_bool(conf, "service.test");
        for (size_t i = 0; conf_item(conf, "service.names", i); i++)
            assert(i < 64);
    } else {
        assert(err.code == ERROR_INPUT);
    }
    return 0;
}
