#include "config.h"

#include "plugin/inject/image_chain.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include "lib/common/fdio.h"
#include "plugin/inject/privd_link.h"
#include "plugin/inject/qcow2_header.h"

static int
read_header(int fd, struct qcow2_header *ret, struct error *err)
{
    CLEANUP(mem_free) uint8_t *bytes = malloc(QCOW2_HEADER_READ);
    ssize_t n;

    if (!bytes)
        return error_set(err, ERROR_SYSTEM, "out of memory");
    n = pread(fd, bytes, QCOW2_HEADER_READ, 0);
    if (n < 0)
        return error_sys(err, errno, "reading the image");
    return qcow2_header_read(bytes, (size_t)n, ret, err);
}

static int
add(struct image_chain *chain, int take_fd, const char *format, struct error *err)
{
    struct stat st;

    if (chain->n > PRIV_CHAIN_MAX) {
        fd_close(take_fd);
        return error_problem(err, ERROR_DENIED, "image-chain", "more than %d backing files",
                             PRIV_CHAIN_MAX);
    }
    if (fstat(take_fd, &st) < 0) {
        fd_close(take_fd);
        return error_sys(err, errno, "image");
    }
    chain->files[chain->n].fd = take_fd;
    chain->files[chain->n].device = S_ISBLK(st.st_mode);
    memcpy(chain->files[chain->n].format, format, strlen(format) + 1);
    chain->n++;
    return 0;
}

void
image_chain_clear(struct image_chain *chain)
{
    for (size_t i = 0; i < chain->n; i++)
        fd_close(chain->files[i].fd);
    chain->n = 0;
}

int
image_chain_open(int privd, int take_top_fd, const char *format, struct image_chain *chain,
                 struct error *err)
{
    struct qcow2_header header;
    int fd;

    chain->n = 0;
    if (add(chain, take_top_fd, format, err) < 0)
        return -1;
    while (strcmp(chain->files[chain->n - 1].format, "qcow2") == 0) {
        if (read_header(chain->files[chain->n - 1].fd, &header, err) < 0)
            return error_wrap(err, "file %zu of the chain", chain->n);
        if (!header.backing[0])
            break;
        if (privd_link_next(privd, header.backing, &fd, err) < 0 ||
            add(chain, fd, header.backing_format, err) < 0)
            return -1;
    }
    return 0;
}
