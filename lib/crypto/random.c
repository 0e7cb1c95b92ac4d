#include "config.h"

#include "lib/crypto/random.h"

#include <limits.h>
#include <openssl/rand.h>

#include "lib/crypto/crypto_error.h"

int
random_bytes(void *ret, size_t len, struct error *err)
{
    if (len > INT_MAX || RAND_bytes(ret, (int)len) != 1)
        return crypto_error(err, ERROR_SYSTEM, "random bytes");
    return 0;
}
