#include "config.h"

#include "lib/http/http_connection.h"

#include <arpa/inet.h>
#include <netinet/in.h>
#include <netinet/tcp.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>
#include <unistd.h>

#include <event2/buffer.h>
#include <event2/bufferevent.h>
#include <event2/bufferevent_ssl.h>
#include <event2/event.h>
#include <openssl/err.h>
#include <openssl/ssl.h>

#include "lib/common/clock.h"
#include "lib/common/fdio.h"

enum {
    LINGER_MS = 1000,  /* for the peer to read our last answer before it sees a reset */
    REPLY_ROOM = 4096, /* our own part of an answer's head */
    /* While the server drains: */
    LAST_MS = 250,   /* a request that crosses the end of an open connection is still answered, */
    FIRST_MS = 1000, /* and the one for which somebody has just connected */
};

#define PROOF_EXPORTER "EXPORTER-virtid-proof"

enum state {
    STATE_HANDSHAKE,
    STATE_IDLE,
    STATE_HEAD,
    STATE_BODY,
    STATE_WORKING,
    STATE_WRITING,
    STATE_LINGERING,
};

struct http_connection {
    struct http_listening *on;
    struct http_connection *prev, *next;
    struct bufferevent *bev;
    SSL *ssl; /* belongs to bev; NULL: plain */
    struct event *timer;
    struct http_limit_place *place;
    enum state state;
    int64_t idle_since_ms;
    bool keep_alive;
    bool gone; /* broke while the worker had a request of it */
    char peer[INET6_ADDRSTRLEN];
    uint8_t exporter[TLS_EXPORTER_LEN];
    uint8_t *client_cert;
    size_t client_cert_len;
    uid_t uid;
    gid_t gid;
};

/* A request on its way through the worker. */
struct request_job {
    struct http_job job;
    struct http_connection *connection;
    http_handler *handler;
    void *context;
    bool head_only;
    struct http_message message;
    struct http_request request;
    struct http_reply reply;
    uint8_t body[HTTP_BODY_MAX + 1];
};

static void step(struct http_connection *c);

static void
arm(struct http_connection *c, unsigned ms)
{
    struct timeval after = { .tv_sec = ms / 1000, .tv_usec = (ms % 1000) * 1000 };

    event_add(c->timer, &after);
}

void
http_connection_free(struct http_connection *c)
{
    struct http_server *server;

    if (!c)
        return;
    server = c->on->server;
    if (c->prev)
        c->prev->next = c->next;
    else if (server->connections == c)
        server->connections = c->next;
    if (c->next)
        c->next->prev = c->prev;
    if (c->bev)
        bufferevent_free(c->bev); /* with SSL and descriptor */
    if (c->timer)
        event_free(c->timer);
    http_limit_leave(c->place);
    c->on->n_connections--;
    free(c->client_cert);
    free(c);
    http_server_look_drained(server);
}

static void
drain_one(struct http_connection *c)
{
    if (c->state == STATE_IDLE)
        arm(c, LAST_MS);
    else if (c->state == STATE_HANDSHAKE ||
             (c->state == STATE_HEAD && evbuffer_get_length(bufferevent_get_input(c->bev)) == 0))
        arm(c, FIRST_MS);
}

void
http_connections_drain(struct http_server *server)
{
    for (struct http_connection *c = server->connections; c; c = c->next)
        drain_one(c);
}

/* The answer is out.  Close so that the peer can read it: close_notify, FIN, then wait
 * for its own. */
static void
linger(struct http_connection *c)
{
    c->state = STATE_LINGERING;
    if (c->ssl) {
        SSL_shutdown(c->ssl);
        ERR_clear_error();
    }
    shutdown(bufferevent_getfd(c->bev), SHUT_WR);
    bufferevent_enable(c->bev, EV_READ);
    arm(c, LINGER_MS);
}

static void
http_date(char *ret, size_t room)
{
    time_t now = (time_t)(clock_realtime_ms() / 1000);
    struct tm tm;

    if (!gmtime_r(&now, &tm) ||
        strftime(ret, room, "Date: %a, %d %b %Y %H:%M:%S GMT\r\n", &tm) == 0)
        ret[0] = '\0';
}

static void
answer(struct http_connection *c, int status, const char *content_type,
       const char *headers, bool head_only, const void *body, size_t len)
{
    CLEANUP(buf_clear) struct buf out = BUF(REPLY_ROOM + len);
    char lines[640], date[64];
    const char *end;

    if (c->on->server->draining)
        c->keep_alive = false;
    http_date(date, sizeof date);
    (void)snprintf(lines, sizeof lines, "%s%s", date, headers);
    http_print_response(&out, status, content_type, lines, c->keep_alive, body, len);
    if (!buf_ok(&out)) {
        http_connection_free(c);
        return;
    }
    if (head_only && (end = memmem(out.data, out.len, "\r\n\r\n", 4)) != NULL)
        out.len = (size_t)(end - (const char *)out.data) + 4;
    c->state = STATE_WRITING;
    arm(c, c->on->server->deadline.write_ms);
    bufferevent_disable(c->bev, EV_READ);
    bufferevent_write(c->bev, out.data, out.len);
}

/* A refusal that no handler has seen; the connection ends with it. */
static void
answer_refusal(struct http_connection *c, int status, const char *headers)
{
    char body[96];
    int len =
        snprintf(body, sizeof body, "{\"type\":\"about:blank\",\"status\":%d}", status);

    c->keep_alive = false;
    answer(c, status, "application/problem+json", headers, false, body, (size_t)len);
}

static void
request_run(struct http_job *job)
{
    struct request_job *r = (struct request_job *)(void *)job;

    r->reply.park_ms = 0;
    r->request.draining = r->connection->on->server->draining;
    r->handler(r->context, &r->request, &r->reply);
    r->request.again = true;
    if (r->reply.status == 0)
        job->park_ms = r->reply.park_ms;
}

static void
request_free(struct http_job *job)
{
    struct request_job *r = (struct request_job *)(void *)job;

    buf_clear(&r->reply.body);
    explicit_bzero(r->body, sizeof r->body);
    free(r);
}

static void
request_done(struct http_job *job)
{
    struct request_job *r = (struct request_job *)(void *)job;
    struct http_reply *reply = &r->reply;

    reply->headers[sizeof reply->headers - 1] = '\0';
    if (r->connection->gone)
        http_connection_free(r->connection);
    else if (reply->status == 0 && reply->park_ms > 0) /* too many wait */
        answer_refusal(r->connection, 503, "Retry-After: 1\r\n");
    else if (reply->status == 0 || !buf_ok(&reply->body))
        answer_refusal(r->connection, 500, "");
    else
        answer(r->connection, reply->status, reply->content_type, reply->headers,
               r->head_only, reply->body.data, reply->body.len);
    request_free(job);
}

static struct request_job *
make_request(struct http_connection *c, const uint8_t *body)
{
    struct request_job *r = calloc(1, sizeof *r);
    const struct http_message *m = &c->on->server->scratch;

    if (!r)
        return NULL;
    r->job = (struct http_job){ .run = request_run,
                                .done = request_done,
                                .drop = request_free,
                               .urgent = c->on->option.urgent,
                               .park_key = r->reply.park_key };
    r->connection = c;
    r->handler = c->on->option.handler;
    r->context = c->on->option.context;
    r->message = *m;
    r->head_only = strcmp(m->method, "HEAD") == 0;
    if (r->head_only) /* as GET, the body is cut off behind the handler (RFC
                         9110, 9.3.2) */
        strcpy(r->message.method, "GET");
    if (m->body_len > 0)
        memcpy(r->body, body, m->body_len);
    r->reply.body = BUF(c->on->option.reply_max);
    r->request = (struct http_request){
        .message = &r->message,
        .body = r->body,
        .body_len = m->body_len,
        .peer = c->peer,
        .client_cert = c->client_cert,
        .client_cert_len = c->client_cert_len,
        .uid = c->uid,
        .gid = c->gid,
        .came_ms = clock_monotonic_ms(),
    };
    memcpy(r->request.exporter, c->exporter, sizeof c->exporter);
    return r;
}

/* The whole request is in scratch and at the front of the input. */
static void
dispatch(struct http_connection *c, struct evbuffer *input, const uint8_t *bytes)
{
    struct http_server *server = c->on->server;
    const struct http_message *m = &server->scratch;
    struct request_job *r;

    c->keep_alive = m->keep_alive;
    if (c->place && !http_limit_request(c->on->limit, c->place, clock_monotonic_ms())) {
        answer_refusal(c, 503, "Retry-After: 1\r\n");
        return;
    }
    r = make_request(c, bytes + m->head_len);
    evbuffer_drain(input, m->head_len + m->body_len);
    if (!r || !http_worker_add(server->worker, &r->job)) {
        if (r)
            request_free(&r->job);
        answer_refusal(c, 503, "Retry-After: 1\r\n");
        return;
    }
    c->state = STATE_WORKING;
    event_del(c->timer);
    bufferevent_disable(c->bev, EV_READ);
}

/* Look at what has come in; only while a request is being read. */
static void
step(struct http_connection *c)
{
    struct evbuffer *input = bufferevent_get_input(c->bev);
    struct http_server *server = c->on->server;
    size_t len = evbuffer_get_length(input),
           max = HTTP_HEAD_MAX + c->on->option.body_max;
    struct error err = { 0 };
    const uint8_t *bytes;
    bool done;

    if (len == 0)
        return;
    if (c->state == STATE_IDLE) {
        c->state = STATE_HEAD;
        arm(c, server->deadline.head_ms);
    }
    if (len > max)
        len = max;
    bytes = evbuffer_pullup(input, (ev_ssize_t)len);
    if (!bytes) {
        http_connection_free(c);
        return;
    }
    if (http_parse(bytes, len, true, c->on->option.body_max, &server->scratch, &done,
                   &err) < 0) {
        answer_refusal(c, err.problem[0] ? atoi(err.problem) : 400, "");
        return;
    }
    if (done) {
        dispatch(c, input, bytes);
    } else if (server->scratch.head_len > 0 && c->state == STATE_HEAD) {
        c->state = STATE_BODY;
        arm(c, server->deadline.body_ms);
    }
}

static void
on_read(struct bufferevent *bev, void *arg)
{
    struct http_connection *c = arg;
    struct evbuffer *input = bufferevent_get_input(bev);

    if (c->state == STATE_LINGERING)
        evbuffer_drain(input, evbuffer_get_length(input));
    else if (c->state == STATE_IDLE || c->state == STATE_HEAD || c->state == STATE_BODY)
        step(c);
}

static void
on_write(struct bufferevent *bev, void *arg)
{
    struct http_connection *c = arg;

    if (c->state != STATE_WRITING ||
        evbuffer_get_length(bufferevent_get_output(bev)) > 0)
        return;
    if (!c->keep_alive) {
        linger(c);
        return;
    }
    c->state = STATE_IDLE;
    c->idle_since_ms = clock_monotonic_ms();
    arm(c, c->on->server->draining ? LAST_MS : c->on->server->deadline.idle_ms);
    bufferevent_enable(bev, EV_READ);
    step(c); /* a pipelined request is here already */
}

/* What TLS has shown of the peer, taken once. */
static int
learn_tls(struct http_connection *c, struct error *err)
{
    uint8_t der[X509_DER_MAX];
    size_t len;

    if (tls_exporter(c->ssl, PROOF_EXPORTER, c->exporter, err) < 0)
        return -1;
    if (tls_peer_cert(c->ssl, der, &len, err) < 0)
        return err->code == ERROR_MISSING ? 0 : -1;
    c->client_cert = malloc(len);
    if (!c->client_cert)
        return error_set(err, ERROR_SYSTEM, "no memory");
    memcpy(c->client_cert, der, len);
    c->client_cert_len = len;
    return 0;
}

static void
on_event(struct bufferevent *bev, short what, void *arg)
{
    struct http_connection *c = arg;
    struct error err = { 0 };
    int rc;

    (void)bev;
    if (c->state == STATE_WORKING) {
        c->gone = true;
        return;
    }
    if (!(what & BEV_EVENT_CONNECTED)) {
        http_connection_free(c);
        return;
    }
    rc = learn_tls(c, &err);
    ERR_clear_error(); /* libevent reads the queue after each of its own calls */
    if (rc < 0) {
        http_connection_free(c);
        return;
    }
    c->state = STATE_HEAD;
    arm(c, c->on->server->draining ? FIRST_MS : c->on->server->deadline.head_ms);
}

static void
on_timer(evutil_socket_t fd, short what, void *arg)
{
    struct http_connection *c = arg;

    (void)fd;
    (void)what;
    if (c->state == STATE_BODY ||
        (c->state == STATE_HEAD &&
         evbuffer_get_length(bufferevent_get_input(c->bev)) > 0))
        answer_refusal(c, 408, "");
    else
        http_connection_free(c);
}

static int
start_stream(struct http_connection *c, int *take_fd)
{
    struct event_base *base = c->on->server->base;

    if (!c->on->option.tls) {
        c->bev = bufferevent_socket_new(base, *take_fd, BEV_OPT_CLOSE_ON_FREE);
        c->state = STATE_HEAD;
    } else {
        SSL *ssl = SSL_new(c->on->option.tls);

        if (!ssl)
            return -1;
        c->state = STATE_HANDSHAKE;
        c->bev = bufferevent_openssl_socket_new(
            base, *take_fd, ssl, BUFFEREVENT_SSL_ACCEPTING, BEV_OPT_CLOSE_ON_FREE);
        if (!c->bev)
            SSL_free(ssl);
        else
            c->ssl = ssl;
    }
    if (!c->bev)
        return -1;
    fd_steal(take_fd);
    if (c->ssl) /* a peer that just closes has still said all: Content-Length */
        bufferevent_openssl_set_allow_dirty_shutdown(c->bev, 1);
    return 0;
}

static void
name_peer(struct http_connection *c, int fd, const struct sockaddr *address)
{
    struct error err = { 0 };
    const void *ip = NULL;
    pid_t pid;

    c->uid = (uid_t)-1;
    c->gid = (gid_t)-1;
    if (address->sa_family == AF_INET)
        ip = &((const struct sockaddr_in *)(const void *)address)->sin_addr;
    else if (address->sa_family == AF_INET6)
        ip = &((const struct sockaddr_in6 *)(const void *)address)->sin6_addr;
    if (ip) {
        inet_ntop(address->sa_family, ip, c->peer, sizeof c->peer);
        return;
    }
    strcpy(c->peer, "unix");
    if (unix_peer(fd, &pid, &c->uid, &c->gid, &err) < 0)
        c->uid = (uid_t)-1; /* nobody: the handler refuses */
}

/* The connection of this listener that has waited longest for its next request; newest
 * come first. */
static struct http_connection *
find_idle(const struct http_listening *on)
{
    struct http_connection *oldest = NULL;

    for (struct http_connection *c = on->server->connections; c; c = c->next) {
        if (c->on == on && c->state == STATE_IDLE &&
            (!oldest || c->idle_since_ms <= oldest->idle_since_ms))
            oldest = c;
    }
    return oldest;
}

/* Whoever keeps connections open for later gives way to whoever has a request now. */
static bool
make_room(struct http_listening *on)
{
    unsigned max = on->option.connections_max;

    if (max == 0 || on->n_connections < max)
        return true;
    http_connection_free(find_idle(on));
    return on->n_connections < max;
}

void
http_connection_open(struct http_listening *on, int take_fd,
                     const struct sockaddr *address)
{
    CLEANUP(fd_close) int fd = take_fd;
    struct http_server *server = on->server;
    struct http_connection *c;
    int yes = 1;

    if (!make_room(on) || !(c = calloc(1, sizeof *c)))
        return;
    c->on = on;
    on->n_connections++;
    c->next = server->connections;
    if (c->next)
        c->next->prev = c;
    server->connections = c;
    c->timer = event_new(server->base, -1, 0, on_timer, c);
    if (address->sa_family == AF_INET || address->sa_family == AF_INET6) {
        (void)setsockopt(fd, IPPROTO_TCP, TCP_NODELAY, &yes, sizeof yes);
        c->place = http_limit_enter(on->limit, address, clock_monotonic_ms());
        if (!c->place) {
            http_connection_free(c);
            return;
        }
    }
    name_peer(c, fd, address);
    if (!c->timer || start_stream(c, &fd) < 0) {
        http_connection_free(c);
        return;
    }
    bufferevent_setcb(c->bev, on_read, on_write, on_event, c);
    bufferevent_setwatermark(c->bev, EV_READ, 0,
                             HTTP_HEAD_MAX + on->option.body_max + 1);
    arm(c, c->ssl ? server->deadline.handshake_ms : server->deadline.head_ms);
    bufferevent_enable(c->bev, EV_READ | EV_WRITE);
}
