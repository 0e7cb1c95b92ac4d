#include "config.h"

#include "tests/unit/false_root_half.h"

#include <netinet/in.h>
#include <poll.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <unistd.h>

#include "lib/common/clock.h"
#include "lib/common/fdio.h"
#include "lib/crypto/tls.h"
#include "lib/crypto/x509.h"
#include "lib/http/http_server.h"
#include "lib/wire/bundle.h"
#include "lib/wire/priv_msg.h"

enum { SERVICE_MS = 5000 };

struct root_half root;

static void
answer(int fd, const struct priv_answer *a)
{
    CLEANUP(buf_clear) struct buf out = BUF(PRIV_PACKET_MAX);
    struct error why;

    if (priv_answer_encode(a, &out, &why) == 0)
        (void)fd_send(fd, out.data, out.len, NULL, 0, &why);
    fd_close(fd);
}

static void
say(int fd, const char *result)
{
    struct priv_answer a = { 0 };

    snprintf(a.result, sizeof a.result, "%s", result);
    answer(fd, &a);
}

static void
refuse(int fd)
{
    struct priv_answer a = { 0 };

    error_set(&a.error, ERROR_BUSY, "not now");
    answer(fd, &a);
}

bool
is_placed(void)
{
    return access(root.placed, F_OK) == 0;
}

/* As the real one: whole or not at all, and nothing is replaced. */
static const char *
place(int state)
{
    CLEANUP(buf_clear) struct buf bytes = BUF(PRIV_VTPM_MAX);
    struct error why;

    if (is_placed())
        return "exists";
    if (lseek(state, 0, SEEK_SET) < 0 || fd_read_to_end(state, &bytes, &why) < 0 ||
        file_replace(root.placed, bytes.data, bytes.len, 0600, &why) < 0)
        abort();
    root.n_placed++;
    return "placed";
}

static void
take_place(int fd, int state)
{
    const char *result;

    if (root.place == REFUSE) {
        refuse(fd);
        return;
    }
    result = place(state);
    if (root.place == SWALLOW)
        fd_close(fd);
    else
        say(fd, result);
}

static void
leave_alone(int fd, const char *reason)
{
    struct priv_answer a = { .result = "skipped" };

    snprintf(a.reason, sizeof a.reason, "%s", reason);
    answer(fd, &a);
}

static void
take_inject(int fd)
{
    struct priv_answer a = { .result = "injected", .point_len = sizeof root.point };

    if (!root.inject) {
        root.held = fd;
    } else if (strcmp(root.inject, "injected") != 0) {
        leave_alone(fd, root.inject);
    } else {
        root.n_injected = root.injections ? ++*root.injections : root.n_injected + 1;
        memset(root.point, (int)(4 + root.n_injected), sizeof root.point); /* a new key each time */
        memcpy(a.point, root.point, sizeof a.point);
        answer(fd, &a);
    }
}

static void
take_cancel(int fd)
{
    root.n_cancelled++;
    if (root.held >= 0)
        leave_alone(root.held, "took-too-long");
    root.held = -1;
    say(fd, "cancelled");
}

static void
serve(int fd)
{
    uint8_t packet[PRIV_PACKET_MAX];
    struct priv_request r;
    struct error why;
    size_t len, n = 0;
    int with = -1;

    if (fd_receive(fd, packet, sizeof packet, &len, &with, 1, &n, &why) < 0 ||
        priv_request_decode(packet, len, &r, &why) < 0)
        fd_close(fd);
    else if (r.op == PRIV_VTPM_STATE)
        say(fd, is_placed() ? "present" : "absent");
    else if (r.op == PRIV_SAVE_STATE)
        root.save_state == REFUSE ? refuse(fd) : say(fd, "none");
    else if (r.op == PRIV_PLACE_VTPM)
        take_place(fd, with);
    else if (r.op == PRIV_INJECT)
        take_inject(fd);
    else
        take_cancel(fd);
    if (n)
        fd_close(with);
}

static void
serve_account(int fd)
{
    CLEANUP(tls_free) struct tls *tls = NULL;
    CLEANUP(buf_clear) struct buf in = BUF(8192), out = BUF(1024);
    int64_t until = clock_monotonic_ms() + SERVICE_MS;
    uint8_t chunk[1024];
    struct error why;
    size_t len = 1;

    if (tls_accept(root.tls, fd, until, &tls, &why) < 0)
        return;
    while (len > 0 && !(buf_text(&in) && strstr(buf_text(&in), "\r\n\r\n"))) {
        if (tls_read(tls, chunk, sizeof chunk, &len, until, &why) < 0)
            return;
        buf_add(&in, chunk, len);
    }
    if (!root.account || strncmp(buf_text(&in), "GET /v1/host/vm?", 16) != 0)
        return;
    buf_printf(&out,
               "HTTP/1.1 200 OK\r\nContent-Type: application/json\r\nConnection: close\r\n"
               "Content-Length: %zu\r\n\r\n{\"state\":\"%s\"}",
               strlen(root.account) + 12, root.account);
    (void)tls_write(tls, out.data, out.len, until, &why);
}

void *
root_half(void *context)
{
    struct pollfd p[] = { { .fd = root.listener, .events = POLLIN },
                          { .fd = root.stop[0], .events = POLLIN },
                          { .fd = root.service, .events = POLLIN } };

    while (poll(p, 3, -1) > 0 && !p[1].revents) {
        if (p[0].revents)
            serve(accept4(root.listener, NULL, NULL, SOCK_CLOEXEC));
        if (p[2].revents)
            serve_account(accept4(root.service, NULL, NULL, SOCK_CLOEXEC));
    }
    return context;
}

/* ---- the service ---- */

/* The service's certificate is by the CA that this host knows. */
static int
make_service(const struct key *ca_key, const struct buf *ca, struct error *err)
{
    CLEANUP(key_free) struct key *key = NULL;
    CLEANUP(buf_clear) struct buf der = BUF(X509_DER_MAX), spki = BUF(512);
    struct x509_request request = { .kind = X509_SERVER, .name = "127.0.0.1", .serial = (const uint8_t *)"0123456789abcdef" };
    struct tls_identity identity = { 0 };
    uint8_t point[KEY_POINT_LEN];

    if (key_generate(&key, err) < 0)
        return -1;
    key_point(key, point);
    if (x509_spki_of_point(point, &spki, err) < 0)
        return -1;
    request.spki = spki.data;
    request.spki_len = spki.len;
    request.now = clock_realtime_ms() / 1000;
    if (x509_compose(&request, ca_key, ca->data, ca->len, &der, err) < 0)
        return -1;
    identity.key = key;
    identity.cert_der = der.data;
    identity.cert_len = der.len;
    return tls_server_new(&identity, NULL, 0, NULL, &root.tls, err);
}

static int
listen_service(char ret_address[static 32], struct error *err)
{
    struct sockaddr_in address;
    socklen_t len = sizeof address;

    if (http_tcp_listen("127.0.0.1:0", &root.service, err) < 0 ||
        getsockname(root.service, (struct sockaddr *)&address, &len) < 0)
        return -1;
    snprintf(ret_address, 32, "127.0.0.1:%u", ntohs(address.sin_port));
    return 0;
}

static int
write_file(const char *dir, const char *name, const void *data, size_t len, struct error *err)
{
    char path[128];

    snprintf(path, sizeof path, "%s/%s", dir, name);
    return file_replace(path, data, len, 0600, err);
}

int
false_service_make(const char *dir, struct error *err)
{
    CLEANUP(key_free) struct key *key = NULL;
    CLEANUP(buf_clear) struct buf der = BUF(X509_DER_MAX), pem = BUF(16384), spki = BUF(512);
    struct x509_request request = { .kind = X509_CA_HOST, .name = "test", .serial = (const uint8_t *)"0123456789abcdef", .now = 1760000000 };
    CLEANUP(buf_clear) struct buf bytes = BUF(BUNDLE_MAX);
    struct bundle bundle = { .issuer = "https://127.0.0.1:1", .serial = 1, .guest_listener = "127.0.0.1:1" };
    char address[32], service[300];
    uint8_t point[KEY_POINT_LEN];

    if (key_generate(&key, err) < 0)
        return -1;
    key_point(key, point);
    if (x509_spki_of_point(point, &spki, err) < 0)
        return -1;
    request.spki = spki.data;
    request.spki_len = spki.len;
    if (x509_compose(&request, key, NULL, 0, &der, err) < 0 || make_service(key, &der, err) < 0 ||
        listen_service(address, err) < 0)
        return -1;
    snprintf(service, sizeof service,
             "{\"name\":\"host-a\",\"trust_domain\":\"example.test\",\"issuer\":\"https://127.0.0.1:1\","
             "\"service\":\"%s\",\"guest_listener\":\"127.0.0.1:1\"}",
             address);
    /* One pair for both, and a bundle that nobody signed. */
    if (key_to_pem(key, &pem, err) < 0 || x509_to_pem(der.data, der.len, &pem, err) < 0 ||
        write_file(dir, "proof.pem", pem.data, pem.len, err) < 0 ||
        write_file(dir, "tls.pem", pem.data, pem.len, err) < 0 ||
        write_file(dir, "service.json", service, strlen(service), err) < 0)
        return -1;
    memcpy(bundle.ca_now, der.data, der.len);
    bundle.ca_now_len = der.len;
    if (bundle_message(&bundle, &bytes, err) < 0)
        return -1;
    buf_add(&bytes, (uint8_t[KEY_SIGNATURE_LEN]){ 0 }, KEY_SIGNATURE_LEN);
    return write_file(dir, "bundle", bytes.data, bytes.len, err);
}
