/*
 * ask_privd.c - asks virtid-privd one thing, as the host daemon would; for tests
 *
 *   ask_privd SOCKET inject UUID FORMAT PATH MS [SECTION:0:NAME | DIR:MODE:PATH | FILE:MODE:PATH:CONTENT | LINK:PATH:TARGET]...
 *   ask_privd SOCKET place UUID FILE | channel UUID NAME PATH | vtpm UUID | save UUID NAME | cancel UUID
 *   ask_privd SOCKET stop UUID NAME
 *   ask_privd SOCKET raw HEX        a packet as it is
 *   ask_privd SOCKET connect        is the connection kept?
 * Prints "RESULT REASON TEXT" or "error CODE PROBLEM TEXT".
 */
#include "config.h"

#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/socket.h>
#include <unistd.h>

#include "lib/common/encode.h"
#include "lib/common/fdio.h"
#include "lib/wire/priv_msg.h"

static struct error err;

static int
fail(const char *what)
{
    fprintf(stderr, "ask_privd: %s: %s\n", what, err.text);
    return 1;
}

static int
add_spec(struct buf *payload, char *spec)
{
    char *kind = strtok(spec, ":"), *second = strtok(NULL, ":"), *third = strtok(NULL, ":");
    char *content = strtok(NULL, "");

    if (!kind || !second || !third)
        return -1;
    if (strcmp(kind, "LINK") == 0)
        return payload_add(payload, second, 0777, 'l', third, strlen(third), &err);
    if (strcmp(kind, "SECTION") == 0) /* SECTION:0:NAME */
        return payload_add(payload, third, 0, 's', "", 0, &err);
    if (strcmp(kind, "DIR") == 0)
        return payload_add(payload, third, (uint32_t)strtoul(second, NULL, 8), 'd', "", 0, &err);
    if (strcmp(kind, "BIG") == 0) { /* BIG:MODE:PATH:BYTES */
        size_t len = strtoul(content, NULL, 10);
        CLEANUP(mem_free) char *bytes = malloc(len);

        memset(bytes, 'x', len);
        return payload_add(payload, third, (uint32_t)strtoul(second, NULL, 8), 'f', bytes, len, &err);
    }
    return payload_add(payload, third, (uint32_t)strtoul(second, NULL, 8), 'f', content,
                       content ? strlen(content) : 0, &err);
}

static int
make_payload(char **specs, int *ret_fd)
{
    CLEANUP(buf_clear) struct buf payload = BUF(PRIV_PAYLOAD_MAX);
    int fd = memfd_create("payload", MFD_ALLOW_SEALING | MFD_CLOEXEC);

    for (; *specs; specs++)
        if (add_spec(&payload, *specs) < 0)
            return fail("payload");
    if (fd_write_all(fd, payload.data, payload.len, &err) < 0)
        return fail("payload");
    if (!getenv("UNSEALED"))
        (void)fcntl(fd, F_ADD_SEALS, F_SEAL_SEAL | F_SEAL_SHRINK | F_SEAL_GROW | F_SEAL_WRITE);
    *ret_fd = fd;
    return 0;
}

static int
print_answer(int sock)
{
    uint8_t bytes[PRIV_PACKET_MAX];
    struct priv_answer a;
    int fds[4];
    size_t len, n;

    if (fd_receive(sock, bytes, sizeof bytes, &len, fds, 4, &n, &err) < 0)
        return fail("no answer");
    if (priv_answer_decode(bytes, len, &a, &err) < 0)
        return fail("answer");
    if (a.error.code != ERROR_NONE) {
        printf("error %d %s %s\n", (int)a.error.code, a.error.problem, a.error.text);
        return 0;
    }
    printf("%s", a.result);
    if (a.reason[0])
        printf(" %s %s", a.reason, a.text);
    if (a.pid)
        printf(" %u", a.pid);
    if (n)
        printf(" fds=%zu", n);
    if (a.point_len) {
        char hex[2 * sizeof a.point + 1];

        hex_encode(a.point, a.point_len, hex);
        printf(" %s", hex);
    }
    printf("\n");
    return 0;
}

static int
fill(struct priv_request *r, int *fd, int argc, char **argv)
{
    const char *op = argv[2];

    if (argc > 3 && vm_uuid_parse(argv[3], &r->uuid, &err) < 0)
        return fail("uuid");
    if (strcmp(op, "inject") == 0 && argc > 6) {
        r->op = PRIV_INJECT;
        r->flags = getenv("RAN") ? 0 : PRIV_FLAG_NEVER_RAN;
        snprintf(r->format, sizeof r->format, "%s", argv[4]);
        snprintf(r->path, sizeof r->path, "%s", argv[5]);
        r->deadline_ms = (uint32_t)strtoul(argv[6], NULL, 10);
        return make_payload(argv + 7, fd);
    }
    if (strcmp(op, "place") == 0 && argc > 4) {
        r->op = PRIV_PLACE_VTPM;
        *fd = open(argv[4], O_RDONLY | O_NONBLOCK | O_CLOEXEC);
    } else if (strcmp(op, "channel") == 0 && argc > 5) {
        r->op = PRIV_CHANNEL;
        snprintf(r->name, sizeof r->name, "%s", argv[4]);
        snprintf(r->path, sizeof r->path, "%s", argv[5]);
    } else if ((strcmp(op, "save") == 0 || strcmp(op, "stop") == 0) && argc > 4) {
        r->op = op[1] == 'a' ? PRIV_SAVE_STATE : PRIV_STOP_GUEST;
        snprintf(r->name, sizeof r->name, "%s", argv[4]);
    } else {
        r->op = strcmp(op, "vtpm") == 0 ? PRIV_VTPM_STATE : PRIV_CANCEL;
    }
    return 0;
}

static int
send_raw(int sock, const char *hex)
{
    uint8_t bytes[PRIV_PACKET_MAX];
    size_t len;

    if (hex_decode(hex, strlen(hex), bytes, sizeof bytes, &len, &err) < 0 ||
        fd_send(sock, bytes, len, NULL, 0, &err) < 0)
        return fail("raw");
    return print_answer(sock);
}

int
main(int argc, char **argv)
{
    CLEANUP(buf_clear) struct buf out = BUF(PRIV_PACKET_MAX);
    struct priv_request r = { 0 };
    int sock, fd = -1;

    if (argc < 3)
        return 2;
    if (unix_connect(argv[1], SOCK_SEQPACKET, &sock, &err) < 0)
        return fail("connect");
    if (strcmp(argv[2], "raw") == 0 && argc == 4)
        return send_raw(sock, argv[3]);
    if (strcmp(argv[2], "connect") == 0) {
        char byte;

        puts(recv(sock, &byte, 1, 0) == 0 ? "closed" : "kept");
        return 0;
    }
    if (fill(&r, &fd, argc, argv))
        return 1;
    if (priv_request_encode(&r, &out, &err) < 0)
        return fail("request");
    if (fd_send(sock, out.data, out.len, &fd, fd >= 0, &err) < 0)
        return fail("send");
    if (getenv("LEAVE"))
        return 0;
    return print_answer(sock);
}
