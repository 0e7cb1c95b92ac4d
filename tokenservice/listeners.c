#include "config.h"

#include "tokenservice/listeners.h"

#include <arpa/inet.h>
#include <errno.h>
#include <netinet/in.h>
#include <stdio.h>
#include <string.h>
#include <sys/resource.h>
#include <sys/socket.h>
#include <unistd.h>

#include "lib/common/fdio.h"

enum {
    METRICS_MAX = 1 << 20, /* a page with 1000 hosts has 300 KiB */
    OWN_DESCRIPTORS = 64,  /* store, signer, loop, listeners, log */
};

/* Limits of a listener: guests of one host come from one address. */
static const struct {
    enum route_listener listener;
    unsigned connections_max, per_address_max, requests_per_second;
    size_t body_max, reply_max;
} LIMITS[LISTENERS] = {
    [LISTEN_PUBLIC] = { ON_PUBLIC, 1000, 100, 100, 1024, 0 },
    [LISTEN_HOSTS] = { ON_HOSTS, 4000, 200, 500, HTTP_BODY_MAX, 0 },
    [LISTEN_GUESTS] = { ON_GUESTS, 4000, 1000, 500, PROVE_BODY_MAX, 0 },
    [LISTEN_ADMIN] = { ON_ADMIN, 50, 0, 0, HTTP_BODY_MAX, 0 },
    [LISTEN_METRICS] = { ON_METRICS, 16, 8, 10, 1024, METRICS_MAX }, /* a page reads all leases */
};

void
listeners_init(struct listeners *l)
{
    *l = (struct listeners){ .fds = { 0 } };
    for (int i = 0; i < LISTENERS; i++)
        l->fds[i] = -1;
}

/* Where it really listens, after "port 0": "127.0.0.1:8443", "[::1]:8443". */
static int
address_of(int fd, char ret[static 64], struct error *err)
{
    struct sockaddr_in6 any = { .sin6_family = AF_UNSPEC };
    struct sockaddr_in four;
    socklen_t len = sizeof any;
    char text[INET6_ADDRSTRLEN];

    if (getsockname(fd, (struct sockaddr *)&any, &len) < 0)
        return error_sys(err, errno, "getsockname");
    if (any.sin6_family == AF_INET) {
        memcpy(&four, &any, sizeof four);
        inet_ntop(AF_INET, &four.sin_addr, text, sizeof text);
        snprintf(ret, 64, "%s:%u", text, ntohs(four.sin_port));
        return 0;
    }
    inet_ntop(AF_INET6, &any.sin6_addr, text, sizeof text);
    snprintf(ret, 64, "[%s]:%u", text, ntohs(any.sin6_port));
    return 0;
}

static int
listen_admin(struct listeners *l, const char *path, uid_t owner, gid_t group, struct error *err)
{
    if (unix_listen(path, SOCK_STREAM, 0660, &l->fds[LISTEN_ADMIN], err) < 0)
        return -1;
    if (chown(path, owner, group) < 0)
        return error_sys(err, errno, "%s", path);
    snprintf(l->addresses[LISTEN_ADMIN], sizeof l->addresses[LISTEN_ADMIN], "%.60s", path);
    return 0;
}

int
listeners_open(struct listeners *l, const struct tokend_conf *conf, uid_t admin_owner, gid_t admin_group,
               struct error *err)
{
    const char *const wanted[] = { conf->public_, conf->hosts, conf->guests };

    for (int i = LISTEN_PUBLIC; i <= LISTEN_GUESTS; i++) {
        if (http_tcp_listen(wanted[i], &l->fds[i], err) < 0 || address_of(l->fds[i], l->addresses[i], err) < 0)
            return -1;
    }
    if (conf->metrics[0] && (http_metrics_listen(conf->metrics, &l->fds[LISTEN_METRICS], err) < 0 ||
                             address_of(l->fds[LISTEN_METRICS], l->addresses[LISTEN_METRICS], err) < 0))
        return -1;
    return listen_admin(l, conf->admin, admin_owner, admin_group, err);
}

/*
 * How many connections a listener may have, so that all of them together leave
 * descriptors: connections to the guests' listener must not shut hosts and operators
 * out.
 */
static unsigned
connections_of(int i)
{
    unsigned long wanted = 0, room;
    struct rlimit limit;

    for (int k = 0; k < LISTENERS; k++)
        wanted += LIMITS[k].connections_max;
    if (getrlimit(RLIMIT_NOFILE, &limit) < 0)
        return LIMITS[i].connections_max / 10;
    if (limit.rlim_cur < limit.rlim_max) {
        limit.rlim_cur = limit.rlim_max;
        (void)setrlimit(RLIMIT_NOFILE, &limit);
        (void)getrlimit(RLIMIT_NOFILE, &limit);
    }
    if (limit.rlim_cur >= wanted + OWN_DESCRIPTORS)
        return LIMITS[i].connections_max;
    room = limit.rlim_cur > 2 * OWN_DESCRIPTORS ? limit.rlim_cur - OWN_DESCRIPTORS
                                                : OWN_DESCRIPTORS;
    room = LIMITS[i].connections_max * room / wanted;
    return room > 4 ? (unsigned)room : 4;
}

int
listeners_serve(struct listeners *l, struct http_server *server, struct service *service,
                const struct server_cert *cert, void (*broken)(const struct error *err), struct error *err)
{
    for (int i = 0; i < LISTENERS; i++) {
        bool plain = LIMITS[i].listener == ON_ADMIN || LIMITS[i].listener == ON_METRICS;
        struct http_listener one = {
            .fd = fd_steal(&l->fds[i]),
            .body_max = LIMITS[i].body_max,
            .reply_max = LIMITS[i].reply_max,
            .connections_max = connections_of(i),
            .per_address_max = LIMITS[i].per_address_max,
            .requests_per_second_per_address = LIMITS[i].requests_per_second,
            /* Strangers must not cost the hosts their leases. */
            .urgent = LIMITS[i].listener == ON_HOSTS || LIMITS[i].listener == ON_ADMIN,
            .handler = route_answer,
            .context = &l->contexts[i]
        };

        if (one.fd < 0)
            continue;
        l->contexts[i] = (struct route_context){ .service = service,
                                                 .listener = LIMITS[i].listener,
                                                 .broken = broken };
        if (!plain)
            one.tls = LIMITS[i].listener == ON_HOSTS ? cert->hosts : cert->plain;
        if (http_server_listen(server, &one, err) < 0)
            return -1;
    }
    return 0;
}

void
listeners_close(struct listeners *l)
{
    for (int i = 0; i < LISTENERS; i++)
        fd_close(l->fds[i]);
}
