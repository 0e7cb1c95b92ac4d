#include "config.h"

#include "tokenservice/tokend.h"

#include <errno.h>
#include <fcntl.h>
#include <grp.h>
#include <libgen.h>
#include <limits.h>
#include <pthread.h>
#include <pwd.h>
#include <signal.h>
#include <stdatomic.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/file.h>
#include <sys/stat.h>
#include <sys/wait.h>
#include <unistd.h>

#include <event2/event.h>
#include <event2/thread.h>

#include "lib/common/clock.h"
#include "lib/common/fdio.h"
#include "lib/common/log.h"
#include "lib/common/process.h"
#include "lib/common/reload.h"
#include "lib/http/http_server.h"
#include "tokenservice/api/signing_keys.h"
#include "tokenservice/listeners.h"
#include "tokenservice/server_cert.h"
#include "tokenservice/signer_child.h"

enum {
    SIGNER_END_MS = 3000,
    DRAIN_MS = 5000, /* virtid-tokend(8) says it */
    LOOK_AT_CLOCK_SECONDS = 5, /* is the server certificate's day over, or a key's? */
    RENEW_AGAIN_MS = 60 * 1000,
};

/* What of the configuration the worker uses, and can be changed under it. */
struct live {
    bool enrol_placed;
    char hosts_advertised[ADVERTISED_MAX + 1], guests[MINT_GUESTS_MAX + 1];
};

struct tokend {
    struct tokend_conf *conf;
    char guests_of_bundle[MINT_GUESTS_MAX + 1];
    _Atomic(struct live *) next_live; /* made by the loop, taken by the worker */
    pid_t signer;
    int lock;
    struct listeners listeners;
    struct service service;
    struct event_base *base;
    struct event *on_term, *on_int, *on_hup, *on_child, *on_look, *on_renewed;
    struct http_server *server;
    struct server_cert cert, next_cert; /* next: made by the worker, put in by the loop */
    pthread_mutex_t next_lock;
    atomic_bool another_ca; /* issues now: the certificate is to be made anew at once */
    atomic_bool looking; /* service_look(): the worker is asked once at a time */
    bool renewing, draining;
    int64_t no_renewal_before_ms;
    struct error end;
    bool failed;
};

/* ---- before the privileges of root are dropped ---- */

static int
find_ids(const struct tokend_conf *conf, uid_t *ret_uid, gid_t *ret_gid,
         struct service *s, struct error *err)
{
    struct passwd *who = getpwnam(conf->service_user);
    struct group *group;

    *ret_uid = geteuid();
    *ret_gid = getegid();
    if (geteuid() == 0 && !who)
        return error_set(
            err, ERROR_MISSING,
            "there is no user \"%s\": run systemd-sysusers, or \"useradd --system "
            "%s\"",
            conf->service_user, conf->service_user);
    if (geteuid() == 0) {
        *ret_uid = who->pw_uid;
        *ret_gid = who->pw_gid;
    }
    s->own_uid = *ret_uid;
    if (!conf->admin_group[0])
        return 0;
    group = getgrnam(conf->admin_group);
    if (!group)
        return error_set(err, ERROR_MISSING,
                         "[listen] admin_group: there is no group \"%s\"",
                         conf->admin_group);
    s->has_admin_group = true;
    s->admin_group = group->gr_gid;
    return 0;
}

/* A folder that is there already stays as its owner made it. */
static int
make_folder(const char *path, mode_t mode, uid_t uid, gid_t gid, struct error *err)
{
    struct stat st;

    if (stat(path, &st) == 0)
        return S_ISDIR(st.st_mode) ? 0 : error_sys(err, ENOTDIR, "%s", path);
    if (dir_make(path, mode, err) < 0)
        return -1;
    if (chmod(path, mode) < 0 || (geteuid() == 0 && chown(path, uid, gid) < 0))
        return error_sys(err, errno, "%s", path);
    return 0;
}

static int
open_listeners(struct tokend *t, uid_t uid, gid_t gid, struct error *err)
{
    bool root = geteuid() == 0, has_group = t->service.has_admin_group;
    gid_t group = has_group ? t->service.admin_group : gid;
    char folder[PATH_MAX];

    snprintf(folder, sizeof folder, "%s", t->conf->admin);
    if (make_folder(dirname(folder), 0755, uid, gid, err) < 0)
        return -1;
    return listeners_open(&t->listeners, t->conf, root ? uid : (uid_t)-1, root || has_group ? group : (gid_t)-1, err);
}

/*
 * One service per database: a second one would give epochs of its own.  Taken before
 * anything of the first one is touched, such as its admin socket.
 */
static int
lock_state(struct tokend *t, struct error *err)
{
    char path[PATH_MAX];

    snprintf(path, sizeof path, "%s/lock", t->conf->state_dir);
    t->lock = open(path, O_RDWR | O_CREAT | O_CLOEXEC | O_NOFOLLOW, 0600);
    if (t->lock < 0)
        return error_sys(err, errno, "%s", path);
    if (flock(t->lock, LOCK_EX | LOCK_NB) < 0)
        return error_set(err, ERROR_BUSY,
                         "%s: another virtid-tokend uses this state_dir", path);
    return 0;
}

static int
prepare_process(struct tokend *t, int *ret_signer, struct error *err)
{
    uid_t uid;
    gid_t gid;

    if (find_ids(t->conf, &uid, &gid, &t->service, err) < 0 ||
        make_folder(t->conf->state_dir, 0700, uid, gid, err) < 0 ||
        lock_state(t, err) < 0 || open_listeners(t, uid, gid, err) < 0 ||
        signer_child_start(t->conf->signer_program, t->conf->key_dir,
                           t->conf->signer_user, t->conf->rotate_days, ret_signer, &t->signer, err) < 0 ||
        process_become(t->conf->service_user, err) < 0)
        return -1;
    return 0;
}

/* ---- as the service's user ---- */

static int
check_signer(const struct tokend *t, const struct tokend_conf *conf, struct error *err)
{
    const struct mint_info *info = &t->service.info;

    if (strcmp(info->issuer, conf->issuer) != 0 ||
        strcmp(info->trust_domain, conf->trust_domain) != 0)
        return error_set(
            err, ERROR_INPUT,
            "the signer's keys are of %s, %s; tokend.conf says %s, %s: give the "
            "key_dir of this trust domain",
            info->trust_domain, info->issuer, conf->trust_domain, conf->issuer);
    if (info->test != conf->test)
        return error_set(err, ERROR_INPUT,
                         "[service] test: the signer's keys were made %s --test",
                         info->test ? "with" : "without");
    return 0;
}

static struct live *
read_live(const struct tokend *t, const struct tokend_conf *c)
{
    const char *port = strrchr(t->listeners.addresses[LISTEN_HOSTS], ':');
    struct live *live = calloc(1, sizeof *live);

    if (!live)
        return NULL;
    live->enrol_placed = c->enrol_placed;
    if (c->hosts_advertised[0])
        snprintf(live->hosts_advertised, sizeof live->hosts_advertised, "%s", c->hosts_advertised);
    else
        snprintf(live->hosts_advertised, sizeof live->hosts_advertised, "%.200s%s", c->first_name, port ? port : "");
    snprintf(live->guests, sizeof live->guests, "%s",
             c->guests_advertised[0] ? c->guests_advertised : t->guests_of_bundle);
    return live;
}

/* On the worker; before there is one, at the start. */
static void
take_live(void *arg)
{
    struct tokend *t = arg;
    struct service *s = &t->service;
    struct live *live = atomic_exchange(&t->next_live, NULL);

    if (!live)
        return;
    s->enrol_placed = live->enrol_placed;
    memcpy(s->hosts_advertised, live->hosts_advertised, sizeof s->hosts_advertised);
    memcpy(s->info.guests, live->guests, sizeof s->info.guests);
    free(live);
}

static int
start_service(struct tokend *t, int signer_fd, struct error *err)
{
    struct service *s = &t->service;
    char path[PATH_MAX];

    s->clock_ms = clock_realtime_ms;
    s->process_started_ms = clock_realtime_ms();
    s->state_dir = t->conf->state_dir;
    s->reserve.size = t->conf->audit_reserve;
    s->accept_clock = t->conf->accept_clock;
    s->begin_recovery = t->conf->recovery;
    reserve_start(s);
    snprintf(path, sizeof path, "%s/" STORE_FILE, t->conf->state_dir);
    if (mint_new(signer_fd, &s->mint, err) < 0 ||
        store_open(path, &s->store, err) < 0 || service_start(s, err) < 0 ||
        check_signer(t, t->conf, err) < 0)
        return -1;
    memcpy(t->guests_of_bundle, s->info.guests, sizeof t->guests_of_bundle);
    t->next_live = read_live(t, t->conf);
    if (!t->next_live)
        return error_sys(err, ENOMEM, "configuration");
    take_live(t);
    if (server_cert_make(s->mint, &s->info, &t->cert, err) < 0)
        return -1;
    s->server_cert_ends = t->cert.ends;
    return 0;
}

/* On the worker: nothing more may be answered, so it ends here and now. */
static void
broken(const struct error *err)
{
    log_error(err, "virtid-tokend can not go on and ends");
    _exit(1);
}

static void
wake_parked(void *arg, const char *key)
{
    struct tokend *t = arg;

    http_server_wake(t->server, key);
}

static void recertify(void *arg);

static int
serve(struct tokend *t, struct error *err)
{
    if (http_server_new(t->base, &t->server, err) < 0)
        return -1;
    t->service.wake = wake_parked;
    t->service.recertify = recertify;
    t->service.wake_context = t;
    return listeners_serve(&t->listeners, t->server, &t->service, &t->cert, broken, err);
}

/* ---- events ---- */

static void
stop(evutil_socket_t fd, short what, void *arg)
{
    struct tokend *t = arg;

    (void)fd;
    (void)what;
    event_base_loopexit(t->base, NULL);
}

static void
drained(void *arg)
{
    stop(-1, 0, arg);
}

static void
on_end(evutil_socket_t number, short what, void *arg)
{
    struct tokend *t = arg;

    if (t->draining) {
        stop(number, what, arg);
        return;
    }
    t->draining = true;
    log_info("event=draining");
    http_server_drain(t->server, DRAIN_MS, drained, t);
}

/* A new configuration that a start would refuse is refused as a whole. */
static void
reload(evutil_socket_t number, short what, void *arg)
{
    CLEANUP(tokend_conf_clear) struct tokend_conf fresh = { .file = NULL };
    struct tokend *t = arg;
    struct live *live = NULL;
    struct error err = { 0 };

    (void)number;
    (void)what;
    if (tokend_conf_read(t->conf->path, &fresh, &err) < 0 ||
        (strcmp(fresh.key_dir, t->conf->key_dir) == 0 && check_signer(t, &fresh, &err) < 0) ||
        (!(live = read_live(t, &fresh)) && error_sys(&err, ENOMEM, "configuration") < 0)) {
        reload_refused(&err);
        return;
    }
    tokend_conf_take(t->conf, &fresh);
    free(atomic_exchange(&t->next_live, live));
    (void)http_server_post(t->server, take_live, t, &err);
}

static void
child_ended(evutil_socket_t fd, short what, void *arg)
{
    struct tokend *t = arg;
    int status;

    if (waitpid(t->signer, &status, WNOHANG) != t->signer)
        return;
    t->signer = 0;
    t->failed = true;
    error_set(&t->end, ERROR_SYSTEM, "virtid-signer has ended (%s %d)",
              WIFSIGNALED(status) ? "signal" : "status",
              WIFSIGNALED(status) ? WTERMSIG(status) : WEXITSTATUS(status));
    stop(fd, what, arg);
}

/* On the worker, which alone speaks to the signer. */
static void
make_next_cert(void *arg)
{
    CLEANUP(server_cert_clear) struct server_cert made = { .plain = NULL };
    struct tokend *t = arg;
    struct error err = { 0 };

    if (server_cert_make(t->service.mint, &t->service.info, &made, &err) < 0) {
        log_error(&err,
                  "the server certificate was not renewed; going on with the old one");
    } else {
        t->service.server_cert_ends = made.ends;
        pthread_mutex_lock(&t->next_lock);
        server_cert_clear(&t->next_cert); /* the loop did not come to it */
        t->next_cert = made;
        pthread_mutex_unlock(&t->next_lock);
        made = (struct server_cert){ .plain = NULL };
    }
    event_active(t->on_renewed, 0, 0);
}

/* On the worker, before it answers anybody by the new CA. */
static void
recertify(void *arg)
{
    struct tokend *t = arg;

    atomic_store(&t->another_ca, true);
    make_next_cert(t);
}

/* On the worker. */
static void
look(void *arg)
{
    struct tokend *t = arg;
    struct error err = { 0 };

    take_live(t); /* that the queue was too full for */
    if (service_look(&t->service, &err) < 0) {
        log_error(&err, "what is done every few seconds");
        if (store_failed(t->service.store))
            broken(&err);
    }
    atomic_store(&t->looking, false);
}

static void
look_again(struct tokend *t)
{
    struct error err = { 0 };

    if (atomic_exchange(&t->looking, true))
        return;
    if (http_server_post(t->server, look, t, &err) < 0) {
        atomic_store(&t->looking, false);
        log_error(&err, "what is done every few seconds");
    }
}

/* By the clock, not by a timer: a machine that slept has an old certificate when it
 * wakes. */
static void
look_at_clock(evutil_socket_t fd, short what, void *arg)
{
    struct tokend *t = arg;
    int64_t now = clock_monotonic_ms();
    struct error err = { 0 };

    (void)fd;
    (void)what;
    look_again(t);
    if (t->renewing || now < t->no_renewal_before_ms ||
        (clock_realtime_ms() / 1000 < t->cert.renew_after && !atomic_load(&t->another_ca)))
        return;
    t->no_renewal_before_ms = now + RENEW_AGAIN_MS;
    t->renewing = true;
    if (http_server_post(t->server, make_next_cert, t, &err) == 0)
        return;
    t->renewing = false;
    log_error(&err,
              "the server certificate was not renewed; going on with the old one");
}

static void
renewed(evutil_socket_t fd, short what, void *arg)
{
    struct tokend *t = arg;
    struct server_cert next;

    (void)fd;
    (void)what;
    t->renewing = false;
    pthread_mutex_lock(&t->next_lock);
    next = t->next_cert;
    t->next_cert = (struct server_cert){ .plain = NULL };
    pthread_mutex_unlock(&t->next_lock);
    if (!next.plain)
        return;
    http_server_retls(t->server, t->cert.plain, next.plain);
    http_server_retls(t->server, t->cert.hosts, next.hosts);
    server_cert_clear(&t->cert);
    t->cert = next;
    atomic_store(&t->another_ca, false);
    log_info("event=server-certificate renewed");
}

static int
add_event(struct event **ret, struct event_base *base, int fd, short what,
          event_callback_fn callback, struct tokend *t, const struct timeval *after,
          struct error *err)
{
    *ret = event_new(base, fd, what, callback, t);
    if (!*ret || (what && event_add(*ret, after) < 0))
        return error_set(err, ERROR_SYSTEM, "event loop: no memory");
    return 0;
}

static int
make_loop(struct tokend *t, struct error *err)
{
    const struct timeval look = { .tv_sec = LOOK_AT_CLOCK_SECONDS };

    if (evthread_use_pthreads() < 0)
        return error_set(err, ERROR_SYSTEM, "event loop: no threads");
    t->base = event_base_new();
    if (!t->base)
        return error_set(err, ERROR_SYSTEM, "event loop: no memory");
    if (add_event(&t->on_term, t->base, SIGTERM, EV_SIGNAL | EV_PERSIST, on_end, t, NULL,
                  err) < 0 ||
        add_event(&t->on_int, t->base, SIGINT, EV_SIGNAL | EV_PERSIST, on_end, t, NULL,
                  err) < 0 ||
        add_event(&t->on_hup, t->base, SIGHUP, EV_SIGNAL | EV_PERSIST, reload, t, NULL,
                  err) < 0 ||
        add_event(&t->on_child, t->base, SIGCHLD, EV_SIGNAL | EV_PERSIST, child_ended,
                  t, NULL, err) < 0 ||
        add_event(&t->on_look, t->base, -1, EV_TIMEOUT | EV_PERSIST, look_at_clock, t,
                  &look, err) < 0 ||
        add_event(&t->on_renewed, t->base, -1, 0, renewed, t, NULL, err) < 0)
        return -1;
    return 0;
}

/* ---- life ---- */

int
tokend_new(struct tokend_conf *conf, struct tokend **ret, struct error *err)
{
    CLEANUP(tokend_free) struct tokend *t = calloc(1, sizeof *t);
    int signer_fd;

    if (!t)
        return error_set(err, ERROR_SYSTEM, "no memory");
    t->conf = conf;
    t->lock = -1;
    listeners_init(&t->listeners);
    pthread_mutex_init(&t->next_lock, NULL);
    if (prepare_process(t, &signer_fd, err) < 0 || make_loop(t, err) < 0 ||
        start_service(t, signer_fd, err) < 0)
        return -1;
    *ret = STEAL(t);
    return 0;
}

static void
say_ready(const struct tokend *t, int ready_fd)
{
    const char(*at)[64] = t->listeners.addresses;
    char line[500];
    int n = snprintf(
        line, sizeof line,
        "{\"public\":\"%s\",\"hosts\":\"%s\",\"guests\":\"%s\",\"admin\":\"%s\",\"metrics\":\"%s\"}",
        at[LISTEN_PUBLIC], at[LISTEN_HOSTS], at[LISTEN_GUESTS], at[LISTEN_ADMIN], at[LISTEN_METRICS]);
    struct error ignored;

    if (ready_fd >= 0 && n > 0 && (size_t)n < sizeof line)
        (void)fd_write_all(ready_fd, line, (size_t)n, &ignored);
    process_ready(ready_fd);
    log_notice("event=ready issuer=%s public=%s hosts=%s guests=%s", t->conf->issuer,
               at[LISTEN_PUBLIC], at[LISTEN_HOSTS], at[LISTEN_GUESTS]);
}

int
tokend_run(struct tokend *t, int ready_fd, struct error *err)
{
    if (serve(t, err) < 0)
        return -1;
    say_ready(t, ready_fd);
    reload_let();
    if (event_base_dispatch(t->base) < 0)
        return error_set(err, ERROR_SYSTEM, "event loop failed");
    if (!t->failed)
        return 0;
    *err = t->end;
    return -1;
}

static void
end_signer(struct tokend *t)
{
    struct error err;

    mint_free(t->service.mint);
    t->service.mint = NULL;
    if (t->signer > 0 &&
        process_wait(t->signer, clock_monotonic_ms() + SIGNER_END_MS, &err) < 0)
        log_error(&err, "virtid-signer");
}

static void
free_events(struct tokend *t)
{
    struct event *events[] = { t->on_term, t->on_int, t->on_hup, t->on_child, t->on_look, t->on_renewed };

    for (size_t i = 0; i < sizeof events / sizeof events[0]; i++) {
        if (events[i])
            event_free(events[i]);
    }
    if (t->base)
        event_base_free(t->base);
}

void
tokend_free(struct tokend *t)
{
    if (!t)
        return;
    http_server_free(t->server);
    free_events(t);
    server_cert_clear(&t->cert);
    server_cert_clear(&t->next_cert);
    end_signer(t);
    service_clear(&t->service);
    store_close(t->service.store);
    listeners_close(&t->listeners);
    free(t->next_live);
    fd_close(t->lock);
    pthread_mutex_destroy(&t->next_lock);
    free(t);
}
