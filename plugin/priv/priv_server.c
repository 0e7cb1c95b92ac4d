#include "config.h"

#include "plugin/priv/priv_server.h"

#include <errno.h>
#include <fcntl.h>
#include <poll.h>
#include <signal.h>
#include <stdbool.h>
#include <stdlib.h>
#include <string.h>
#include <sys/signalfd.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <unistd.h>

#include "lib/common/clock.h"
#include "lib/common/fdio.h"
#include "lib/common/log.h"
#include "plugin/priv/priv_table.h"

enum { CLIENTS_MAX = 128 };

struct client {
    int fd; /* -1: free */
    uint64_t id;
    bool waits; /* for the end of an injection */
};

struct priv_server {
    struct priv_settings *settings;
    int listener;
    uint64_t last_id;
    struct client clients[CLIENTS_MAX];
    struct priv_inject *injections;
    struct priv_table table;
    bool ending;
};

static void
drop(struct priv_server *s, struct client *c)
{
    uint64_t id = c->id;

    fd_close(c->fd);
    *c = (struct client){ .fd = -1 };
    priv_inject_gone(s->injections, id);
}

/* Never blocks: a client that does not read its answers is dropped. */
static void
reply(struct priv_server *s, struct client *c, const struct priv_answer *answer, const int *fds,
      size_t n)
{
    CLEANUP(buf_clear) struct buf out = BUF(PRIV_PACKET_MAX);
    struct error err;

    if (priv_answer_encode(answer, &out, &err) < 0 ||
        fd_send(c->fd, out.data, out.len, fds, n, &err) < 0) {
        log_error(&err, "answer to the host daemon");
        drop(s, c);
    }
}

static void
injection_ended(void *context, uint64_t who, const struct priv_answer *answer)
{
    struct priv_server *s = context;

    for (size_t i = 0; i < CLIENTS_MAX; i++) {
        if (s->clients[i].fd >= 0 && s->clients[i].id == who) {
            s->clients[i].waits = false;
            reply(s, &s->clients[i], answer, NULL, 0);
            return;
        }
    }
}

static int
listen_for(const struct priv_settings *s, int *ret_fd, struct error *err)
{
    CLEANUP(fd_close) int fd = -1;

    if (unix_listen(s->socket, SOCK_SEQPACKET, 0600, &fd, err) < 0)
        return -1;
    if (geteuid() == 0 && lchown(s->socket, s->host_uid, s->host_gid) < 0)
        return error_sys(err, errno, "%s", s->socket);
    if (fcntl(fd, F_SETFL, O_NONBLOCK) < 0)
        return error_sys(err, errno, "%s", s->socket);
    *ret_fd = fd_steal(&fd);
    return 0;
}

int
priv_server_new(struct priv_settings *s, struct priv_server **ret, struct error *err)
{
    CLEANUP(priv_server_free) struct priv_server *server = calloc(1, sizeof *server);

    if (!server)
        return error_set(err, ERROR_SYSTEM, "out of memory");
    server->settings = s;
    server->listener = -1;
    for (size_t i = 0; i < CLIENTS_MAX; i++)
        server->clients[i].fd = -1;
    if (priv_inject_new(s, injection_ended, server, &server->injections, err) < 0 ||
        listen_for(s, &server->listener, err) < 0)
        return -1;
    priv_table_init(&server->table, s, server->injections, clock_monotonic_ms());
    *ret = STEAL(server);
    return 0;
}

void
priv_server_free(struct priv_server *server)
{
    if (!server)
        return;
    fd_close(server->listener);
    for (size_t i = 0; i < CLIENTS_MAX; i++)
        fd_close(server->clients[i].fd);
    priv_inject_free(server->injections);
    free(server);
}

/* As root only host_user may ask; without root (tests) only we ourselves. */
static bool
may_ask(const struct priv_settings *s, int fd)
{
    uid_t uid, wanted = geteuid() == 0 ? s->host_uid : geteuid();
    struct error err;
    pid_t pid;
    gid_t gid;

    if (unix_peer(fd, &pid, &uid, &gid, &err) < 0)
        return false;
    if (uid == wanted)
        return true;
    if (uid == 0) /* `virtid host check` looks whether somebody is here; root needs no way round */
        return false;
    log_warning("event=refused a client of user %u (pid %d), who is not the host daemon; going on",
                (unsigned)uid, (int)pid);
    return false;
}

static void
take_client(struct priv_server *s)
{
    CLEANUP(fd_close) int fd = accept4(s->listener, NULL, NULL, SOCK_CLOEXEC | SOCK_NONBLOCK);

    if (fd < 0 || !may_ask(s->settings, fd))
        return;
    for (size_t i = 0; i < CLIENTS_MAX; i++) {
        if (s->clients[i].fd < 0) {
            s->clients[i] = (struct client){ .fd = fd_steal(&fd), .id = ++s->last_id };
            return;
        }
    }
    log_warning("more than %d connections of the host daemon; one is refused, going on", CLIENTS_MAX);
}

static void
take_request(struct priv_server *s, struct client *c)
{
    uint8_t bytes[PRIV_PACKET_MAX];
    struct priv_reply r;
    int fd = -1;
    size_t len, n = 0;
    struct error err;

    if (fd_receive(c->fd, bytes, sizeof bytes, &len, &fd, 1, &n, &err) < 0) {
        if (err.code != ERROR_MISSING)
            log_error(&err, "event=refused request");
        drop(s, c);
        return;
    }
    priv_table_do(&s->table, bytes, len, n ? fd : -1, c->id, clock_monotonic_ms(), &r);
    if (r.hang_up)
        drop(s, c);
    else if (r.later)
        c->waits = true;
    else
        reply(s, c, &r.answer, r.fds, r.n_fds);
    for (size_t i = 0; i < r.n_fds; i++)
        fd_close(r.fds[i]);
}

enum { AT_SIGNAL, AT_LISTENER, AT_INJECT, AT_CLIENTS = AT_INJECT + PRIV_INJECT_POLLFDS };

/* A client that waits is only watched for its end. */
static int
fill(struct priv_server *s, int signal_fd, struct pollfd *fds)
{
    int timeout;

    fds[AT_SIGNAL] = (struct pollfd){ .fd = s->ending ? -1 : signal_fd, .events = POLLIN };
    fds[AT_LISTENER] = (struct pollfd){ .fd = s->ending ? -1 : s->listener, .events = POLLIN };
    priv_inject_poll(s->injections, fds + AT_INJECT, clock_monotonic_ms(), &timeout);
    for (size_t i = 0; i < CLIENTS_MAX; i++) {
        const struct client *c = &s->clients[i];

        fds[AT_CLIENTS + i] = (struct pollfd){ .fd = c->fd,
                                               .events = c->waits ? POLLRDHUP : POLLIN | POLLRDHUP };
    }
    return timeout;
}

static void
serve_clients(struct priv_server *s, const struct pollfd *fds)
{
    for (size_t i = 0; i < CLIENTS_MAX; i++) {
        struct client *c = &s->clients[i];

        if (c->fd < 0 || fds[i].fd != c->fd || !fds[i].revents)
            continue;
        if (fds[i].revents & POLLIN && !c->waits)
            take_request(s, c);
        else if (fds[i].revents & (POLLHUP | POLLRDHUP | POLLERR))
            drop(s, c);
    }
}

static void
take_signal(struct priv_server *s, int signal_fd)
{
    struct signalfd_siginfo info;

    if (read(signal_fd, &info, sizeof info) == (ssize_t)sizeof info && info.ssi_signo == SIGHUP) {
        priv_settings_reload(s->settings);
        return;
    }
    s->ending = true;
    priv_inject_give_up(s->injections);
}

int
priv_server_run(struct priv_server *s, int signal_fd, struct error *err)
{
    struct pollfd fds[AT_CLIENTS + CLIENTS_MAX];

    while (!s->ending || !priv_inject_idle(s->injections)) {
        int timeout = fill(s, signal_fd, fds);

        if (poll(fds, sizeof fds / sizeof *fds, timeout) < 0) {
            if (errno == EINTR)
                continue;
            return error_sys(err, errno, "poll");
        }
        serve_clients(s, fds + AT_CLIENTS);
        if (fds[AT_LISTENER].revents)
            take_client(s);
        if (fds[AT_SIGNAL].revents)
            take_signal(s, signal_fd);
        priv_inject_step(s->injections, fds + AT_INJECT, clock_monotonic_ms());
    }
    return 0;
}
