#include "config.h"

#include "lib/common/secret.h"

#include <assert.h>
#include <errno.h>
#include <string.h>
#include <sys/mman.h>

enum { SECRET_PAGE = 4096 };

int
secret_new(size_t len, struct secret **ret_secret, struct error *err)
{
    struct secret *secret;
    void *page;
    int saved;

    assert(len > 0 && len <= SECRET_PAGE);
    secret = calloc(1, sizeof *secret);
    if (!secret)
        return error_sys(err, ENOMEM, "secret");
    page = mmap(NULL, SECRET_PAGE, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
    if (page == MAP_FAILED) {
        free(secret);
        return error_sys(err, errno, "mmap for a secret");
    }
    saved = errno;
    (void)mlock(page, SECRET_PAGE); /* an ordinary user's limit may be small: going on */
    (void)madvise(page, SECRET_PAGE, MADV_DONTDUMP);
    (void)madvise(page, SECRET_PAGE, MADV_DONTFORK);
    errno = saved; /* ENOMEM is a lack of memory to others */
    secret->bytes = page;
    secret->len = len;
    *ret_secret = secret;
    return 0;
}

void
secret_free(struct secret *secret)
{
    if (!secret)
        return;
    explicit_bzero(secret->bytes, SECRET_PAGE);
    munmap(secret->bytes, SECRET_PAGE);
    free(secret);
}

bool
secret_equal(const void *a, const void *b, size_t len)
{
    const volatile uint8_t *x = a, *y = b;
    uint8_t differ = 0;

    for (size_t i = 0; i < len; i++)
        differ |= x[i] ^ y[i];
    return differ == 0;
}
