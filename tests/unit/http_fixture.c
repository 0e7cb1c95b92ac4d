#include "config.h"

#include "tests/unit/http_fixture.h"

#include <arpa/inet.h>
#include <assert.h>
#include <netinet/in.h>
#include <poll.h>
#include <pthread.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <unistd.h>

#include <event2/event.h>

#include "lib/common/clock.h"
#include "lib/common/encode.h"
#include "lib/common/fdio.h"
#include "lib/crypto/random.h"
#include "lib/http/http_server.h"

enum { READ_MS = 30000 };

struct fixture {
    struct fixture_pki pki;
    struct ssl_ctx_st *tls;
    char folder[64], path[80], small[80];
    unsigned port;
    int quit[2]; /* "q" written to: the loop ends; "d": the server drains */
    struct event_base *base;
    struct event *on_quit;
    struct http_server *server;
    pthread_t thread;
    pthread_mutex_t lock;
    pthread_cond_t change;
    bool hold, posted, drained;
    unsigned bound_ms;
    unsigned served, parked;
};

static void
must(int rc, const struct error *err)
{
    if (rc < 0) {
        fprintf(stderr, "# %s\n", err->text);
        abort();
    }
}

static void
make_cert(enum x509_kind kind, const char *name, const struct key *subject,
          const struct key *ca_key, const struct buf *ca, struct buf *into)
{
    CLEANUP(buf_clear) struct buf spki = BUF(256);
    uint8_t point[KEY_POINT_LEN], serial[16];
    struct error err = { 0 };
    struct x509_request request = {
        .kind = kind, .name = name, .serial = serial, .now = clock_realtime_ms() / 1000
    };

    must(random_bytes(serial, sizeof serial, &err), &err);
    serial[0] = (uint8_t)((serial[0] & 0x7f) | 0x40);
    key_point(subject, point);
    must(x509_spki_of_point(point, &spki, &err), &err);
    request.spki = spki.data;
    request.spki_len = spki.len;
    *into = BUF(X509_DER_MAX);
    must(x509_compose(&request, ca_key, ca ? ca->data : NULL, ca ? ca->len : 0, into,
                      &err),
         &err);
}

static void
make_pki(struct fixture_pki *p)
{
    static const char host[] = "spiffe://example.test/host/one";
    struct error err = { 0 };

    must(key_generate(&p->ca_key, &err), &err);
    must(key_generate(&p->other_ca_key, &err), &err);
    must(key_generate(&p->server_key, &err), &err);
    must(key_generate(&p->client_key, &err), &err);
    make_cert(X509_CA_HOST, "CA", p->ca_key, p->ca_key, NULL, &p->ca);
    make_cert(X509_CA_HOST, "other", p->other_ca_key, p->other_ca_key, NULL,
              &p->other_ca);
    make_cert(X509_SERVER, "localhost,127.0.0.1", p->server_key, p->ca_key, &p->ca,
              &p->server);
    make_cert(X509_HOST_TLS, host, p->client_key, p->ca_key, &p->ca, &p->client);
    make_cert(X509_HOST_TLS, host, p->client_key, p->other_ca_key, &p->other_ca,
              &p->stranger);
}

static void
free_pki(struct fixture_pki *p)
{
    key_free(p->ca_key);
    key_free(p->other_ca_key);
    key_free(p->server_key);
    key_free(p->client_key);
    buf_clear(&p->ca);
    buf_clear(&p->other_ca);
    buf_clear(&p->server);
    buf_clear(&p->client);
    buf_clear(&p->stranger);
}

static void
answer_cert(const struct http_request *request, struct http_reply *reply)
{
    struct x509_info info;
    struct error err = { 0 };

    if (!request->client_cert)
        buf_add_text(&reply->body, "none");
    else if (x509_read(request->client_cert, request->client_cert_len, &info, &err) ==
             0)
        buf_add_text(&reply->body, info.uri);
}

static void
handle(void *context, const struct http_request *request, struct http_reply *reply)
{
    struct fixture *f = context;
    const struct http_message *m = request->message;
    char hex[HEX_LEN(TLS_EXPORTER_LEN) + 1];

    pthread_mutex_lock(&f->lock);
    f->served++;
    while (f->hold)
        pthread_cond_wait(&f->change, &f->lock);
    pthread_mutex_unlock(&f->lock);
    if (strcmp(m->path, "/nothing") == 0)
        return;
    if (strncmp(m->path, "/parked", 7) == 0 && !request->again) {
        reply->park_ms = strcmp(m->path, "/parked-a") == 0 ? 300 : 60000;
        strcpy(reply->park_key, m->path);
        pthread_mutex_lock(&f->lock);
        f->parked++;
        pthread_mutex_unlock(&f->lock);
        return;
    }
    if (strcmp(m->path, "/wake") == 0)
        http_server_wake(f->server, "/parked-long");
    reply->status = 200;
    reply->content_type = "text/plain";
    if (strcmp(m->path, "/who") == 0) {
        buf_printf(&reply->body, "%s %u", request->peer, (unsigned)request->uid);
    } else if (strcmp(m->path, "/cert") == 0) {
        answer_cert(request, reply);
    } else if (strcmp(m->path, "/exporter") == 0) {
        hex_encode(request->exporter, sizeof request->exporter, hex);
        buf_add_text(&reply->body, hex);
    } else if (strcmp(m->path, "/problem") == 0) {
        reply->status = 409;
        reply->content_type = "application/problem+json";
        buf_add_text(
            &reply->body,
            "{\"type\":\"urn:virtid:problem:foreign\",\"title\":\"t\",\"status\":409}");
    } else if (strcmp(m->path, "/v1/host/report") == 0) { /* as a token service of before `saw` */
        bool known = !memmem(request->body, request->body_len, "\"saw\"", 5);

        reply->status = known ? 200 : 400;
        reply->content_type = known ? NULL : "application/problem+json";
        buf_add_text(&reply->body, known ? "{\"vms\":[]}" : "{\"type\":\"urn:virtid:problem:bad-request\",\"status\":400}");
    } else if (strcmp(m->path, "/later") == 0) {
        reply->status = 429;
        snprintf(reply->headers, sizeof reply->headers, "Retry-After: 7\r\n");
    } else if (strcmp(m->path, "/json") == 0) {
        reply->content_type = NULL;
        buf_printf(&reply->body, "{\"n\":%zu}", request->body_len);
    } else if (strcmp(m->path, "/redirect") == 0) {
        reply->status = 302;
        snprintf(reply->headers, sizeof reply->headers, "Location: /json\r\n");
    } else if (strcmp(m->path, "/big") == 0) {
        for (int i = 0; i < 60000; i++)
            buf_add_u8(&reply->body, 'x');
    } else {
        buf_printf(&reply->body, "%s %s ", m->method, m->path);
        buf_add(&reply->body, request->body, request->body_len);
    }
}

static void
note_drained(void *context)
{
    struct fixture *f = context;

    pthread_mutex_lock(&f->lock);
    f->drained = true;
    pthread_cond_broadcast(&f->change);
    pthread_mutex_unlock(&f->lock);
}

static void
quit(evutil_socket_t fd, short what, void *arg)
{
    struct fixture *f = arg;
    char word = 'q';

    (void)what;
    assert(read(fd, &word, 1) == 1);
    if (word == 'q')
        event_base_loopbreak(f->base);
    else
        http_server_drain(f->server, f->bound_ms, note_drained, f);
}

static void *
serve(void *arg)
{
    struct fixture *f = arg;

    assert(event_base_dispatch(f->base) >= 0);
    http_server_free(f->server);
    event_free(f->on_quit);
    event_base_free(f->base);
    return NULL;
}

static void
listen_both(struct fixture *f)
{
    struct tls_identity identity = { .key = f->pki.server_key,
                                     .cert_der = f->pki.server.data,
                                     .cert_len = f->pki.server.len,
                                     .ca_der = f->pki.ca.data,
                                     .ca_len = f->pki.ca.len };
    struct x509_der ca = { f->pki.ca.data, f->pki.ca.len };
    struct http_listener plain = { .body_max = HTTP_BODY_MAX,
                                   .handler = handle,
                                   .context = f };
    struct http_listener tls = plain;
    struct sockaddr_in address;
    socklen_t len = sizeof address;
    struct error err = { 0 };

    must(unix_listen(f->path, SOCK_STREAM, 0600, &plain.fd, &err), &err);
    must(http_server_listen(f->server, &plain, &err), &err);
    plain.connections_max = FIXTURE_SMALL;
    plain.urgent = true;
    must(unix_listen(f->small, SOCK_STREAM, 0600, &plain.fd, &err), &err);
    must(http_server_listen(f->server, &plain, &err), &err);
    must(http_tcp_listen("127.0.0.1:0", &tls.fd, &err), &err);
    must(getsockname(tls.fd, (struct sockaddr *)&address, &len), &err);
    f->port = ntohs(address.sin_port);
    must(tls_server_new(&identity, &ca, 1, "virtid-lease-1", &f->tls, &err), &err);
    tls_server_own_names_only(f->tls);
    tls.tls = f->tls;
    tls.per_address_max = FIXTURE_PER_ADDRESS;
    must(http_server_listen(f->server, &tls, &err), &err);
}

struct fixture *
fixture_start(void)
{
    static const struct http_deadlines deadlines = {
        .handshake_ms = FIXTURE_DEADLINE_MS,
        .head_ms = FIXTURE_DEADLINE_MS,
        .body_ms = FIXTURE_DEADLINE_MS,
        .write_ms = READ_MS,
        .idle_ms = READ_MS,
    };
    struct fixture *f = calloc(1, sizeof *f);
    struct error err = { 0 };

    assert(f);
    make_pki(&f->pki);
    strcpy(f->folder, "/tmp/virtid-http-XXXXXX");
    assert(mkdtemp(f->folder));
    snprintf(f->path, sizeof f->path, "%s/sock", f->folder);
    snprintf(f->small, sizeof f->small, "%s/small", f->folder);
    pthread_mutex_init(&f->lock, NULL);
    pthread_cond_init(&f->change, NULL);
    must(pipe(f->quit), &err);
    f->base = event_base_new();
    assert(f->base);
    f->on_quit = event_new(f->base, f->quit[0], EV_READ | EV_PERSIST, quit, f);
    assert(f->on_quit && event_add(f->on_quit, NULL) == 0);
    must(http_server_new(f->base, &f->server, &err), &err);
    http_server_deadlines(f->server, &deadlines);
    listen_both(f);
    assert(pthread_create(&f->thread, NULL, serve, f) == 0);
    return f;
}

void
fixture_stop(struct fixture *f)
{
    assert(write(f->quit[1], "q", 1) == 1);
    pthread_join(f->thread, NULL);
    tls_ctx_free(f->tls);
    close(f->quit[0]);
    close(f->quit[1]);
    unlink(f->path);
    unlink(f->small);
    rmdir(f->folder);
    free_pki(&f->pki);
    pthread_cond_destroy(&f->change);
    pthread_mutex_destroy(&f->lock);
    free(f);
}

const struct fixture_pki *
fixture_pki(const struct fixture *f)
{
    return &f->pki;
}

const char *
fixture_unix_path(const struct fixture *f)
{
    return f->path;
}

unsigned
fixture_port(const struct fixture *f)
{
    return f->port;
}

unsigned
fixture_served(struct fixture *f)
{
    unsigned n;

    pthread_mutex_lock(&f->lock);
    n = f->served;
    pthread_mutex_unlock(&f->lock);
    return n;
}

void
fixture_hold(struct fixture *f, bool hold)
{
    pthread_mutex_lock(&f->lock);
    f->hold = hold;
    pthread_cond_broadcast(&f->change);
    pthread_mutex_unlock(&f->lock);
}

static void
note_posted(void *context)
{
    struct fixture *f = context;

    pthread_mutex_lock(&f->lock);
    f->posted = true;
    pthread_cond_broadcast(&f->change);
    pthread_mutex_unlock(&f->lock);
}

void
fixture_drain(struct fixture *f, unsigned bound_ms)
{
    f->bound_ms = bound_ms;
    assert(write(f->quit[1], "d", 1) == 1);
}

void
fixture_wait_drained(struct fixture *f)
{
    pthread_mutex_lock(&f->lock);
    while (!f->drained)
        pthread_cond_wait(&f->change, &f->lock);
    pthread_mutex_unlock(&f->lock);
}

bool
fixture_post_and_wait(struct fixture *f)
{
    struct error err = { 0 };
    bool done;

    must(http_server_post(f->server, note_posted, f, &err), &err);
    pthread_mutex_lock(&f->lock);
    while (!f->posted)
        pthread_cond_wait(&f->change, &f->lock);
    done = f->posted;
    pthread_mutex_unlock(&f->lock);
    return done;
}

static int
connect_unix(const char *path)
{
    struct error err = { 0 };
    int fd;

    must(unix_connect(path, SOCK_STREAM, &fd, &err), &err);
    return fd;
}

int
fixture_connect_unix(const struct fixture *f)
{
    return connect_unix(f->path);
}

int
fixture_connect_small(const struct fixture *f)
{
    return connect_unix(f->small);
}

int
fixture_connect_tcp(const struct fixture *f)
{
    struct sockaddr_in address = { .sin_family = AF_INET,
                                   .sin_port = htons((uint16_t)f->port),
                                   .sin_addr.s_addr = htonl(INADDR_LOOPBACK) };
    int fd = socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0);

    assert(fd >= 0 && connect(fd, (struct sockaddr *)&address, sizeof address) == 0);
    return fd;
}

void
fixture_send(int fd, const char *text)
{
    while (*text) {
        ssize_t n = send(fd, text, strlen(text), MSG_NOSIGNAL);

        if (n <= 0)
            return; /* refused already; the answer tells */
        text += n;
    }
}

void
fixture_read_until(int fd, const char *text)
{
    size_t at = 0;

    while (text[at]) {
        struct pollfd p = { .fd = fd, .events = POLLIN };
        char c;

        assert(poll(&p, 1, READ_MS) == 1 && recv(fd, &c, 1, 0) == 1);
        at = c == text[at] ? at + 1 : c == text[0];
    }
}

size_t
fixture_read_end(int fd, char *ret, size_t room)
{
    size_t at = 0;

    for (;;) {
        struct pollfd p = { .fd = fd, .events = POLLIN };
        ssize_t n;

        assert(poll(&p, 1, READ_MS) == 1);
        assert(at + 1 < room);
        n = recv(fd, ret + at, room - at - 1, 0);
        if (n <= 0)
            break;
        at += (size_t)n;
    }
    ret[at] = '\0';
    return at;
}

void
fixture_wait_any(const int *fds, size_t n)
{
    struct pollfd *p = calloc(n, sizeof *p);

    assert(p);
    for (size_t i = 0; i < n; i++)
        p[i] = (struct pollfd){ .fd = fds[i], .events = POLLIN };
    assert(poll(p, n, READ_MS) >= 1);
    free(p);
}

void
fixture_wait_parked(struct fixture *f, unsigned n)
{
    unsigned parked = 0;

    while (parked < n) {
        (void)poll(NULL, 0, 5);
        pthread_mutex_lock(&f->lock);
        parked = f->parked;
        pthread_mutex_unlock(&f->lock);
    }
    pthread_mutex_lock(&f->lock);
    f->parked -= n;
    pthread_mutex_unlock(&f->lock);
}

int
fixture_read_ready(int fd)
{
    struct pollfd p = { .fd = fd, .events = POLLIN };

    return poll(&p, 1, 50);
}
