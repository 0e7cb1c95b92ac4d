/*
 * channel_guests.c - the guests of one real virtid-hostd, and what it takes for its root half
 *
 *   channel_guests FOLDER GOOD SECONDS ROUNDS HOSTD_SOCK
 *
 * Listens on FOLDER/priv.sock in virtid-privd's place and connects a VM's channel as that would: to whoever
 * plays the guest on FOLDER/chan/N.  GOOD guests prove themselves once a second, with the agent's own code
 * (guestagent/), for a token each time; guest 0 does nothing, then floods, dribbles or never reads, SECONDS
 * of each, in turns with idle ones, ROUNDS times.  What the good ones had to wait, how long the host's main
 * loop took to answer and how old a lease became is printed for each; at last what a guest finds behind the
 * host's connection to the service.  Guest N is VM 00000000-0000-4000-8000-00000000000N.
 *
 * flow/32-one-guest-does-not-hurt-the-others.sh makes the rest and judges.
 */
#include "config.h"

#include <errno.h>
#include <fcntl.h>
#include <poll.h>
#include <pthread.h>
#include <signal.h>
#include <stdatomic.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/syscall.h>
#include <unistd.h>

#include "guestagent/guest_channel.h"
#include "guestagent/prover.h"
#include "guestagent/slots.h"
#include "guestagent/trust.h"
#include "lib/common/clock.h"
#include "lib/common/fdio.h"
#include "lib/crypto/tls.h"
#include "lib/wire/fields.h"
#include "lib/wire/frame.h"
#include "lib/wire/priv_msg.h"

enum { GUESTS_MAX = 16, SAMPLES_MAX = 65536, PROVE_EVERY_MS = 1000, ASK_EVERY_MS = 100, READY_S = 60 };
enum deed { IDLE, FLOOD, DRIBBLE, NEVER_READ, DEEDS };
static const char *const deed_names[DEEDS] = { "idle", "flood", "dribble", "never-read" };
enum what { PROOF, LOOP, WHATS };
static const char *const what_names[WHATS] = { "proof and token", "the host's main loop" };

static char folder[100], hostd_sock[200];
static atomic_int deed, failures;
static atomic_bool ending, measuring;
static atomic_ullong sent_by_the_bad_one[DEEDS];

static void
die(const char *what, const struct error *err)
{
    fprintf(stderr, "channel_guests: %s: %s\n", what, err ? err->text : strerror(errno));
    exit(1);
}

static void
sleep_ms(int ms)
{
    (void)poll(NULL, 0, ms);
}

/* ---- samples ---- */

static pthread_mutex_t samples_lock = PTHREAD_MUTEX_INITIALIZER;
static struct samples {
    size_t n;
    uint32_t us[SAMPLES_MAX];
} samples[WHATS][DEEDS];

static int64_t
now_us(void)
{
    struct timespec t;

    clock_gettime(CLOCK_MONOTONIC, &t);
    return (int64_t)t.tv_sec * 1000000 + t.tv_nsec / 1000;
}

/* One that began under one deed and ended under another says nothing of either. */
static void
take_sample(enum what what, int begun_under, int64_t begun_us)
{
    struct samples *s = &samples[what][begun_under];

    pthread_mutex_lock(&samples_lock);
    if (measuring && begun_under == deed && s->n < SAMPLES_MAX)
        s->us[s->n++] = (uint32_t)(now_us() - begun_us);
    pthread_mutex_unlock(&samples_lock);
}

static int
compare(const void *a, const void *b)
{
    uint32_t x = *(const uint32_t *)a, y = *(const uint32_t *)b;

    return (x > y) - (x < y);
}

static void
print_samples(void)
{
    for (int what = 0; what < WHATS; what++) {
        for (int d = 0; d < DEEDS; d++) {
            struct samples *s = &samples[what][d];

            qsort(s->us, s->n, sizeof s->us[0], compare);
            printf("%s\t%s\t%zu\t%.2f\t%.2f\t%.2f\n", what_names[what], deed_names[d], s->n,
                   s->n ? s->us[s->n / 2] / 1000.0 : 0, s->n ? s->us[s->n * 99 / 100] / 1000.0 : 0,
                   s->n ? s->us[s->n - 1] / 1000.0 : 0);
        }
    }
}

/* ---- the root half ---- */

static int listeners[GUESTS_MAX];

static void
refuse(int sock, const char *text)
{
    struct priv_answer a = { 0 };
    CLEANUP(buf_clear) struct buf out = BUF(PRIV_PACKET_MAX);
    struct error err;

    error_set(&a.error, ERROR_BUSY, "%s", text);
    if (priv_answer_encode(&a, &out, &err) == 0)
        (void)fd_send(sock, out.data, out.len, NULL, 0, &err);
}

/* The guest has the port open, or will have at once. */
static void
connect_channel(int sock, const char *path)
{
    struct priv_answer a = { .result = "connected", .pid = (uint32_t)getpid() };
    CLEANUP(buf_clear) struct buf out = BUF(PRIV_PACKET_MAX);
    const char *slash = strrchr(path, '/');
    int n = slash ? atoi(slash + 1) : -1, fds[2] = { -1, -1 };
    struct pollfd p = { .events = POLLIN };
    struct error err;

    if (n < 0 || n >= GUESTS_MAX || listeners[n] <= 0) {
        refuse(sock, "no such guest");
        return;
    }
    p.fd = listeners[n];
    if (poll(&p, 1, 2000) != 1 || (fds[0] = accept4(p.fd, NULL, NULL, SOCK_CLOEXEC)) < 0) {
        refuse(sock, "the guest has not opened its port");
        return;
    }
    fds[1] = (int)syscall(SYS_pidfd_open, getpid(), 0);
    if (fds[1] < 0)
        die("pidfd", NULL);
    if (priv_answer_encode(&a, &out, &err) < 0 || fd_send(sock, out.data, out.len, fds, 2, &err) < 0)
        fprintf(stderr, "channel_guests: answer: %s\n", err.text);
    close(fds[0]);
    close(fds[1]);
}

static void *
root_half(void *context)
{
    int listener = *(int *)context;

    for (;;) {
        CLEANUP(fd_close) int sock = accept4(listener, NULL, NULL, SOCK_CLOEXEC);
        static struct priv_request request;
        uint8_t packet[PRIV_PACKET_MAX];
        struct error err;
        size_t len, n = 0;
        int with = -1;

        if (sock < 0 || fd_receive(sock, packet, sizeof packet, &len, &with, 1, &n, &err) < 0 ||
            priv_request_decode(packet, len, &request, &err) < 0)
            continue;
        if (n)
            close(with);
        if (request.op == PRIV_CHANNEL)
            connect_channel(sock, request.path);
        else
            refuse(sock, "only channels here");
    }
    return NULL;
}

/* ---- good guests: the agent's own parts ---- */

struct guest {
    int number;
    char where[140], state[140];
    struct slots *slots;
    struct trust *trust;
    struct guest_channel *channel;
    struct prover *prover;
    struct key *cnf;
    uint8_t cnf_point[KEY_POINT_LEN];
    pthread_t thread;
    atomic_bool ready;
};

static int
on_hello(void *context, const struct hello *hello, uint64_t *ret_serial, struct error *err)
{
    struct guest *g = context;

    return trust_offer(g->trust, hello, ret_serial, err);
}

static void
on_greeted(void *context)
{
    (void)context;
}

static void
open_guest(struct guest *g, int number)
{
    struct guest_channel_options channel = { .where = g->where, .on_hello = on_hello, .on_greeted = on_greeted,
                                             .context = g };
    struct prover_options prover = { .tcti = "none", .password_file = "" };
    struct error err;

    g->number = number;
    snprintf(g->where, sizeof g->where, "unix:%s/chan/%d", folder, number);
    snprintf(g->state, sizeof g->state, "%s/state.%d", folder, number);
    if (dir_make(g->state, 0755, &err) < 0 || slots_open(g->state, &g->slots, &err) < 0 ||
        trust_open(g->state, &g->trust, &err) < 0 || key_generate(&g->cnf, &err) < 0)
        die("guest", &err);
    key_point(g->cnf, g->cnf_point);
    if (guest_channel_new(&channel, &g->channel, &err) < 0)
        die("guest", &err);
    prover.channel = g->channel;
    prover.trust = g->trust;
    prover.slots = g->slots;
    prover.cnf = g->cnf_point;
    if (prover_new(&prover, &g->prover, &err) < 0 || guest_channel_start(g->channel, &err) < 0)
        die("guest", &err);
}

static int
prove(struct guest *g, struct error *err)
{
    struct proof_token token = { 0 };

    if (prover_token(g->prover, "shop", &token, err) < 0)
        return -1;
    secret_free(token.text);
    return 0;
}

static void *
run_good(void *context)
{
    struct guest *g = context;

    for (int64_t next = clock_monotonic_ms(); !ending; next += PROVE_EVERY_MS) {
        struct error err = { 0 };
        int under = deed;
        int64_t begun = now_us(), left;

        if (prove(g, &err) == 0) {
            g->ready = true;
            take_sample(PROOF, under, begun);
        } else if (measuring) {
            failures++;
            fprintf(stderr, "channel_guests: guest %d, %s: %s\n", g->number, deed_names[under], err.text);
        }
        left = next + PROVE_EVERY_MS - clock_monotonic_ms();
        if (left > 0)
            sleep_ms((int)left);
        else /* it is late: from here on */
            next = clock_monotonic_ms() - PROVE_EVERY_MS;
    }
    return NULL;
}

/* ---- the bad guest ---- */

/* Everything that fits; what does not, the host has not read yet. */
static void
push(int fd, const void *bytes, size_t len)
{
    ssize_t n = send(fd, bytes, len, MSG_NOSIGNAL | MSG_DONTWAIT);

    if (n > 0)
        sent_by_the_bad_one[deed] += (unsigned long long)n;
    else
        sleep_ms(1);
}

/* The session of the last HELLO that came, without waiting for one. */
static void
listen_for_hello(int fd, struct frame_reader *reader, uint64_t *session)
{
    uint8_t chunk[4096];
    struct frame frame;
    ssize_t n;

    while ((n = recv(fd, chunk, sizeof chunk, MSG_DONTWAIT)) > 0) {
        for (ssize_t at = 0; at < n;) {
            size_t room = frame_room(reader), take = (size_t)(n - at) < room ? (size_t)(n - at) : room;

            frame_feed(reader, chunk + at, take);
            at += (ssize_t)take;
            while (frame_next(reader, &frame))
                *session = frame.type == FRAME_HELLO ? frame.session : *session;
            if (take == 0)
                return;
        }
    }
}

/* What it says, over and over: garbage, and one of each that the host has work with. */
static void
add_words(struct buf *into, uint64_t session)
{
    CLEANUP(buf_clear) struct buf ready = BUF(32), sign = BUF(64), status = BUF(400);
    static const uint8_t junk[8192];
    uint8_t h[32] = { 7 };

    fields_add_u8(&ready, CHANNEL_VERSION);
    fields_add_u64(&ready, 0);
    fields_add(&sign, h, sizeof h);
    fields_add_text(&status, "token");
    fields_add_text(&status, "I am fine, and you?");
    frame_encode(FRAME_READY, session, ready.data, ready.len, into);
    frame_encode(FRAME_SIGN, session, sign.data, sign.len, into);
    frame_encode(FRAME_STATUS, session, status.data, status.len, into);
    frame_encode(FRAME_OPEN, session, NULL, 0, into);
    frame_encode(FRAME_DATA, session, junk, sizeof junk, into);
    frame_encode(FRAME_SYNC, session, NULL, 0, into);
    frame_encode(FRAME_WHO, 0, NULL, 0, into);
    buf_add(into, junk, sizeof junk); /* the stream is lost; the next HELLO or WHO finds it again */
    frame_encode(FRAME_WHO, 0, NULL, 0, into);
}

struct bad {
    int fd;
    struct frame_reader reader;
    uint64_t session;
    struct buf words;
    size_t at;
};

static void
act(struct bad *b, int how)
{
    static const uint8_t zeros[65536];

    if (b->at >= b->words.len) {
        b->words.len = b->at = 0;
        add_words(&b->words, b->session);
    }
    switch (how) {
    case FLOOD:
        listen_for_hello(b->fd, &b->reader, &b->session);
        /* In turns: in one there is no frame to count. */
        if (clock_monotonic_ms() / 1000 % 2)
            push(b->fd, zeros, sizeof zeros);
        else
            push(b->fd, b->words.data, b->words.len);
        b->at = b->words.len;
        break;
    case DRIBBLE:
        listen_for_hello(b->fd, &b->reader, &b->session);
        push(b->fd, b->words.data + b->at++, 1);
        sleep_ms(5);
        break;
    case NEVER_READ:
        push(b->fd, b->words.data, b->words.len);
        b->at = b->words.len;
        break;
    default:
        listen_for_hello(b->fd, &b->reader, &b->session);
        b->at = b->words.len;
        sleep_ms(20);
        break;
    }
}

static void *
run_bad(void *context)
{
    struct bad b = { .fd = -1, .reader = FRAME_READER(), .words = BUF(65536) };
    char path[140];
    struct error err;
    int before = IDLE;

    (void)context;
    snprintf(path, sizeof path, "%s/chan/0", folder);
    while (!ending) {
        int how = deed;

        /* A port that was closed and opened again: the host begins anew. */
        if (b.fd >= 0 && how != before && how != IDLE) {
            close(b.fd);
            b.fd = -1;
            frame_reader_clear(&b.reader);
        }
        before = how;
        if (b.fd < 0 && unix_connect(path, SOCK_STREAM, &b.fd, &err) < 0)
            die("bad guest", &err);
        act(&b, how);
    }
    close(b.fd);
    frame_reader_clear(&b.reader);
    buf_clear(&b.words);
    return NULL;
}

/* ---- the host's main loop, as an operator feels it ---- */

/* Seconds that guest 1's lease still lasts: "... epoch N, S s left". -1: no answer, or no lease. */
static int
ask_hostd(void)
{
    static const char request[] = "GET /v1/vms/00000000-0000-4000-8000-000000000001 HTTP/1.1\r\n"
                                  "Host: localhost\r\nConnection: close\r\n\r\n";
    CLEANUP(buf_clear) struct buf answer = BUF(65536);
    CLEANUP(fd_close) int fd = -1;
    const char *left;
    struct error err;

    if (unix_connect(hostd_sock, SOCK_STREAM, &fd, &err) < 0 ||
        send(fd, request, sizeof request - 1, MSG_NOSIGNAL) != (ssize_t)sizeof request - 1 ||
        fd_read_to_end(fd, &answer, &err) < 0 || !buf_text(&answer) || !(left = strstr(buf_text(&answer), " s left")))
        return -1;
    while (left > buf_text(&answer) && left[-1] >= '0' && left[-1] <= '9')
        left--;
    return atoi(left);
}

static int least_left[DEEDS] = { 60, 60, 60, 60 };

static void *
run_operator(void *context)
{
    (void)context;
    while (!ending) {
        int under = deed, left;
        int64_t begun = now_us();

        left = ask_hostd();
        if (left < 0) {
            failures++;
            fprintf(stderr, "channel_guests: no answer or no lease under %s\n", deed_names[under]);
        } else if (left < least_left[under] && measuring) {
            least_left[under] = left;
        }
        take_sample(LOOP, under, begun);
        sleep_ms(ASK_EVERY_MS);
    }
    return NULL;
}

/* ---- what is behind the connection ---- */

static int
status_of(struct guest *g, const char *method, const char *path)
{
    CLEANUP(tls_ctx_free) struct ssl_ctx_st *ctx = NULL;
    CLEANUP(tls_free) struct tls *tls = NULL;
    static struct bundle bundle;
    int64_t until = clock_monotonic_ms() + 10000;
    char request[600], answer[32] = "";
    struct error err = { 0 };
    size_t len = 0;
    int fd = -1;

    sleep_ms(600); /* two connections a second */
    if (trust_bundle(g->trust, &bundle, &err) < 0 || tls_client_blind_new(&ctx, &err) < 0 ||
        guest_channel_open(g->channel, &fd, &err) < 0 || tls_connect(ctx, fd, NULL, until, &tls, &err) < 0)
        die(path, &err);
    snprintf(request, sizeof request, "%s %s HTTP/1.1\r\nHost: %s\r\nContent-Length: 0\r\nConnection: close\r\n\r\n",
             method, path, bundle.guest_listener);
    if (tls_write(tls, request, strlen(request), until, &err) < 0 ||
        tls_read(tls, answer, sizeof answer - 1, &len, until, &err) < 0)
        die(path, &err);
    return len > 9 ? atoi(answer + 9) : 0;
}

static void
print_routes(struct guest *g)
{
    static const struct {
        const char *method, *path;
    } routes[] = {
        { "POST", "/v1/challenge" }, /* is one: the others are not there */
        { "GET", "/v1/admin/vms" }, { "GET", "/v1/admin/hosts" }, { "POST", "/v1/host/report" },
        { "GET", "/v1/host/bundle" }, { "POST", "/v1/host/account" }, { "GET", "/metrics" },
        { "GET", "/.well-known/jwks.json" }, { "GET", "/v1/status" }, { "GET", "/" },
    };

    for (size_t i = 0; i < sizeof routes / sizeof routes[0]; i++)
        printf("route\t%s %s\t%d\n", routes[i].method, routes[i].path, status_of(g, routes[i].method, routes[i].path));
}

/* ---- the whole ---- */

static void
wait_until_ready(struct guest *guests, int n)
{
    int64_t until = clock_monotonic_ms() + READY_S * INT64_C(1000);

    for (int i = 0; i < n; i++) {
        while (!guests[i].ready && clock_monotonic_ms() < until)
            sleep_ms(50);
        if (!guests[i].ready) {
            fprintf(stderr, "channel_guests: guest %d got no token\n", i + 1);
            exit(1);
        }
    }
}

static void
measure(int seconds, int rounds)
{
    for (int round = 0; round < rounds && failures < 100; round++) {
        for (int turn = 0; turn < 2 * (DEEDS - 1); turn++) {
            deed = turn % 2 ? 1 + turn / 2 : IDLE; /* an idle one before each */
            sleep_ms(turn % 2 ? 500 : 1500);       /* what was under way ends */
            measuring = true;
            sleep_ms(turn % 2 ? seconds * 1000 : seconds * 1000 / (DEEDS - 1));
            measuring = false;
        }
    }
    deed = IDLE;
}

int
main(int argc, char **argv)
{
    static struct guest guests[GUESTS_MAX];
    pthread_t root, bad, operator;
    struct error err = { 0 };
    char path[140];
    int n, privd;

    if (argc != 6 || (n = atoi(argv[2])) < 1 || n >= GUESTS_MAX)
        return 2;
    (void)signal(SIGPIPE, SIG_IGN);
    snprintf(folder, sizeof folder, "%s", argv[1]);
    snprintf(hostd_sock, sizeof hostd_sock, "%s", argv[5]);
    snprintf(path, sizeof path, "%s/chan", folder);
    if (dir_make(path, 0755, &err) < 0)
        die(path, &err);
    for (int i = 0; i <= n; i++) {
        snprintf(path, sizeof path, "%s/chan/%d", folder, i);
        if (unix_listen(path, SOCK_STREAM, 0600, &listeners[i], &err) < 0)
            die(path, &err);
    }
    snprintf(path, sizeof path, "%s/priv.sock", folder);
    if (unix_listen(path, SOCK_SEQPACKET, 0600, &privd, &err) < 0)
        die(path, &err);
    pthread_create(&root, NULL, root_half, &privd);
    pthread_create(&bad, NULL, run_bad, NULL);
    for (int i = 0; i < n; i++) {
        open_guest(&guests[i], i + 1);
        pthread_create(&guests[i].thread, NULL, run_good, &guests[i]);
        sleep_ms(PROVE_EVERY_MS / n); /* not all at the same time */
    }
    wait_until_ready(guests, n);
    printf("ready\n");
    fflush(stdout);
    pthread_create(&operator, NULL, run_operator, NULL);
    measure(atoi(argv[3]), atoi(argv[4]));
    print_samples();
    for (int d = 0; d < DEEDS; d++)
        printf("lease\t%s\t%d\n", deed_names[d], least_left[d]);
    ending = true;
    for (int i = 0; i < n; i++)
        pthread_join(guests[i].thread, NULL);
    print_routes(&guests[0]);
    for (int d = 1; d < DEEDS; d++)
        printf("sent\t%s\t%llu\n", deed_names[d], (unsigned long long)sent_by_the_bad_one[d]);
    fflush(stdout);
    _exit(failures != 0);
}
