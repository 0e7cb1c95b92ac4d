#include "config.h"

#include "lib/tpm/tpm_socket.h"

#include <errno.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/time.h>
#include <unistd.h>

#include <tss2/tss2_tpm2_types.h>

#include "lib/common/fdio.h"

enum { HEADER = 10 };

/* Marks our contexts: no TCTI of tss2 has it. */
static const uint64_t socket_magic = UINT64_C(0x7669727469643031);

struct tpm_socket {
    TSS2_TCTI_CONTEXT_COMMON_V1 common; /* first: ESAPI sees only this */
    int fd;
    bool broken;     /* an answer that comes late would be taken for the next command's */
    bool has_header; /* read, but not handed out yet */
    uint8_t header[HEADER];
};

static struct tpm_socket *
socket_of(TSS2_TCTI_CONTEXT *tcti)
{
    if (!tcti || TSS2_TCTI_MAGIC(tcti) != socket_magic)
        return NULL;
    return (struct tpm_socket *)tcti;
}

static TSS2_RC
broken(struct tpm_socket *s)
{
    s->broken = true;
    return TSS2_TCTI_RC_IO_ERROR;
}

static TSS2_RC
transmit(TSS2_TCTI_CONTEXT *tcti, size_t size, const uint8_t *command)
{
    struct tpm_socket *s = socket_of(tcti);
    size_t sent = 0;

    if (!s)
        return TSS2_TCTI_RC_BAD_CONTEXT;
    if (s->broken)
        return TSS2_TCTI_RC_IO_ERROR;
    while (sent < size) {
        /* send() and not write(): the other end may be gone, and that is no signal */
        ssize_t n = send(s->fd, command + sent, size - sent, MSG_NOSIGNAL);

        if (n < 0 && errno == EINTR)
            continue;
        if (n <= 0)
            return broken(s);
        sent += (size_t)n;
    }
    return TSS2_RC_SUCCESS;
}

/* With response NULL only the length is asked for (TCTI specification, 3.2.5.2). */
static TSS2_RC
receive(TSS2_TCTI_CONTEXT *tcti, size_t *size, uint8_t *response, int32_t timeout)
{
    struct tpm_socket *s = socket_of(tcti);
    struct error why;
    size_t len;

    (void)timeout; /* ESAPI's is "for ever"; ours is on the socket */
    if (!s)
        return TSS2_TCTI_RC_BAD_CONTEXT;
    if (!s->has_header && fd_read_all(s->fd, s->header, HEADER, &why) < 0)
        return broken(s);
    s->has_header = true;
    len = (size_t)s->header[2] << 24 | (size_t)s->header[3] << 16 | (size_t)s->header[4] << 8 |
          s->header[5];
    if (len < HEADER || len > TPM2_MAX_RESPONSE_SIZE)
        return broken(s);
    if (!response || *size < len) {
        *size = len;
        return response ? TSS2_TCTI_RC_INSUFFICIENT_BUFFER : TSS2_RC_SUCCESS;
    }
    s->has_header = false;
    memcpy(response, s->header, HEADER);
    if (fd_read_all(s->fd, response + HEADER, len - HEADER, &why) < 0)
        return broken(s);
    *size = len;
    return TSS2_RC_SUCCESS;
}

static void
finalize(TSS2_TCTI_CONTEXT *tcti)
{
    (void)tpm_socket_close(tcti);
}

int
tpm_socket_open(const char *path, int silence_seconds, TSS2_TCTI_CONTEXT **ret,
                struct error *err)
{
    struct tpm_socket *s = calloc(1, sizeof *s);

    if (!s)
        return error_sys(err, ENOMEM, "TPM");
    if (unix_connect(path, SOCK_STREAM, &s->fd, err) < 0) {
        free(s);
        err->code = ERROR_SYSTEM; /* a TPM that is not there is no TPM that is busy */
        return error_wrap(err, "TPM");
    }
    TSS2_TCTI_MAGIC(s) = socket_magic;
    TSS2_TCTI_VERSION(s) = 1;
    TSS2_TCTI_TRANSMIT(s) = transmit;
    TSS2_TCTI_RECEIVE(s) = receive;
    TSS2_TCTI_FINALIZE(s) = finalize;
    *ret = (TSS2_TCTI_CONTEXT *)s;
    (void)tpm_socket_limit(*ret, silence_seconds);
    return 0;
}

bool
tpm_socket_limit(TSS2_TCTI_CONTEXT *tcti, int silence_seconds)
{
    struct timeval limit = { .tv_sec = silence_seconds };
    struct tpm_socket *s = socket_of(tcti);

    if (s)
        (void)setsockopt(s->fd, SOL_SOCKET, SO_RCVTIMEO, &limit, sizeof limit);
    return s != NULL;
}

bool
tpm_socket_close(TSS2_TCTI_CONTEXT *tcti)
{
    struct tpm_socket *s = socket_of(tcti);

    if (!s)
        return false;
    close(s->fd);
    free(s);
    return true;
}
