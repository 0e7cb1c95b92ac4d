#include "config.h"

#include "lib/crypto/crypto_error.h"

#include <errno.h>
#include <stdbool.h>

#include <openssl/err.h>

/* Empties the queue.  Not all of OpenSSL says there that malloc() failed, which says it in errno. */
static bool
ran_short(void)
{
    bool found = errno == ENOMEM;
    unsigned long e;

    while ((e = ERR_get_error()))
        found |= ERR_GET_REASON(e) == ERR_R_MALLOC_FAILURE;
    return found;
}

int
crypto_error(struct error *err, enum error_code code, const char *what)
{
    unsigned long e = ERR_peek_last_error();
    const char *reason = e ? ERR_reason_error_string(e) : NULL;

    if (ran_short())
        return error_sys(err, ENOMEM, "%s", what);
    if (!reason)
        return error_set(err, code, "%s", what);
    return error_set(err, code, "%s: %s", what, reason);
}
