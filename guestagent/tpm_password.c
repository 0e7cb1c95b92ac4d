#include "config.h"

#include "guestagent/tpm_password.h"

#include <errno.h>
#include <fcntl.h>
#include <sys/stat.h>
#include <unistd.h>

#include "lib/common/fdio.h"
#include "lib/tpm/tpm_device.h"

static int
refuse(const char *path, const char *why, struct error *err)
{
    return error_problem(err, ERROR_DENIED, "tpm-endorsement-auth",
                         "the password file %.100s %s", path, why);
}

int
tpm_password_read(const char *path, struct secret **ret, struct error *err)
{
    CLEANUP(fd_close) int fd = open(path, O_RDONLY | O_CLOEXEC | O_NOFOLLOW | O_NONBLOCK);
    CLEANUP(secret_free) struct secret *bytes = NULL;
    struct stat st;

    if (fd < 0 && errno == ENOENT)
        return error_set(err, ERROR_MISSING, "there is no password file %s", path);
    if (fd < 0 && errno == ELOOP)
        return refuse(path, "is a symbolic link", err);
    if (fd < 0 || fstat(fd, &st) < 0)
        return error_sys(err, errno, "password file %s", path);
    if (!S_ISREG(st.st_mode) || st.st_uid != geteuid() || (st.st_mode & 0077))
        return refuse(path, "must be a file of root that nobody else may read (chown root, chmod 600)", err);
    if (st.st_size < 1 || st.st_size > TPM_PASSWORD_MAX + 1)
        return refuse(path, "must hold 1 to 64 bytes", err);
    if (secret_new((size_t)st.st_size, &bytes, err) < 0 ||
        fd_read_all(fd, bytes->bytes, bytes->len, err) < 0)
        return -1;
    if (bytes->bytes[bytes->len - 1] == '\n')
        bytes->len--;
    if (bytes->len < 1 || bytes->len > TPM_PASSWORD_MAX)
        return refuse(path, "must hold 1 to 64 bytes", err);
    *ret = STEAL(bytes);
    return 0;
}
