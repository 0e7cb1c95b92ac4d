#include "config.h"

#include "tests/flow/agent_rig.h"

#include <assert.h>
#include <errno.h>
#include <fcntl.h>
#include <poll.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/wait.h>
#include <time.h>
#include <unistd.h>

#include "lib/common/clock.h"
#include "lib/common/fdio.h"
#include "lib/common/process.h"
#include "lib/crypto/random.h"
#include "lib/crypto/x509.h"
#include "lib/wire/fields.h"
#include "lib/wire/transcript.h"
#include "tests/flow/agent_rig_service.h"

static void
must(int r, const struct error *err)
{
    if (r != 0)
        fprintf(stderr, "rig: %s\n", err->text);
    assert(r == 0);
}

static void
make_ca(struct key **ret_key, uint8_t *ret, size_t *ret_len)
{
    CLEANUP(buf_clear) struct buf spki = BUF(256), der = BUF(BUNDLE_CA_MAX);
    uint8_t point[KEY_POINT_LEN], serial[16] = { 0x41 };
    struct x509_request request = { .kind = X509_CA_HOST,
                                    .name = "test CA",
                                    .serial = serial,
                                    .now = clock_realtime_ms() / 1000 };
    struct error err = { 0 };

    must(key_generate(ret_key, &err), &err);
    key_point(*ret_key, point);
    must(x509_spki_of_point(point, &spki, &err), &err);
    request.spki = spki.data;
    request.spki_len = spki.len;
    must(x509_compose(&request, *ret_key, NULL, 0, &der, &err), &err);
    memcpy(ret, der.data, der.len);
    *ret_len = der.len;
}

static void
make_server(struct rig *r, const struct key *ca_key, const uint8_t *ca, size_t ca_len,
            uint8_t *ret, size_t *ret_len)
{
    CLEANUP(buf_clear) struct buf spki = BUF(256), der = BUF(2048);
    uint8_t point[KEY_POINT_LEN], serial[16] = { 0x42 };
    struct x509_request request = { .kind = X509_SERVER,
                                    .name = "localhost",
                                    .serial = serial,
                                    .now = clock_realtime_ms() / 1000 };
    struct error err = { 0 };

    key_point(r->server_key, point);
    must(x509_spki_of_point(point, &spki, &err), &err);
    request.spki = spki.data;
    request.spki_len = spki.len;
    must(x509_compose(&request, ca_key, ca, ca_len, &der, &err), &err);
    memcpy(ret, der.data, der.len);
    *ret_len = der.len;
}

void
rig_offer(struct rig *r, uint64_t serial, const struct key *signer, bool other_ca)
{
    CLEANUP(buf_clear) struct buf bytes = BUF(BUNDLE_MAX);
    CLEANUP(mem_free) struct bundle *b = calloc(1, sizeof *b);
    uint8_t signature[KEY_SIGNATURE_LEN];
    struct error err = { 0 };

    assert(b);
    strcpy(b->issuer, RIG_ISSUER);
    snprintf(b->guest_listener, sizeof b->guest_listener, "localhost:%d", r->port ? r->port : 8445);
    b->serial = serial;
    memcpy(b->ca_now, other_ca ? r->other_ca : r->ca, sizeof b->ca_now);
    b->ca_now_len = other_ca ? r->other_ca_len : r->ca_len;
    must(bundle_message(b, &bytes, &err), &err);
    must(key_sign(signer ? signer : r->ca_key, bytes.data, bytes.len, signature, &err), &err);
    buf_add(&bytes, signature, sizeof signature);
    assert(buf_ok(&bytes));
    pthread_mutex_lock(&r->lock);
    memcpy(r->bundle, bytes.data, bytes.len);
    r->bundle_len = bytes.len;
    pthread_mutex_unlock(&r->lock);
}

void
rig_install_bundle(struct rig *r)
{
    char path[128];
    struct error err = { 0 };

    snprintf(path, sizeof path, "%s/state/bundle", r->folder);
    must(file_replace(path, r->bundle, r->bundle_len, 0644, &err), &err);
}

/* ---- the host's side of the channel ---- */

static void
put(struct rig *r, enum frame_type type, const void *payload, size_t len)
{
    CLEANUP(buf_clear) struct buf out = BUF(FRAME_HEADER_LEN + FRAME_PAYLOAD_MAX + 64);
    struct error ignored = { 0 };

    if (r->peer < 0)
        return;
    if (r->wish.garbage) {
        uint8_t junk[64];

        /* Between frames it costs the stream until the next HELLO; in front of a HELLO nothing. */
        (void)random_bytes(junk, sizeof junk, &ignored);
        if (type == FRAME_HELLO)
            buf_add(&out, junk, sizeof junk);
    }
    frame_encode(type, r->session, payload, len, &out);
    (void)fd_write_all(r->peer, out.data, out.len, &ignored);
}

static void
say_hello(struct rig *r)
{
    CLEANUP(buf_clear) struct buf payload = BUF(FRAME_PAYLOAD_MAX);
    CLEANUP(mem_free) struct hello *h = calloc(1, sizeof *h);
    struct error err = { 0 };

    assert(h);
    if (r->wish.silent)
        return;
    must(random_bytes(&r->session, sizeof r->session, &err), &err);
    r->session |= 1;
    *h = (struct hello){ .version = CHANNEL_VERSION, .session = r->session };
    h->uuid = r->uuid;
    h->epoch = r->epoch;
    h->utc_ms = (uint64_t)(clock_realtime_ms() + r->wish.host_ahead * 1000);
    strcpy(h->issuer, RIG_ISSUER);
    memcpy(h->bundle, r->bundle, r->bundle_len);
    h->bundle_len = r->bundle_len;
    must(hello_encode(h, &payload, &err), &err);
    r->hellos++;
    put(r, FRAME_HELLO, payload.data, payload.len);
}

void
rig_event(struct rig *r)
{
    if (r->wish.kill_agent_at > 0 && --r->wish.kill_agent_at == 0 && r->agent > 0)
        (void)kill(r->agent, SIGKILL);
}

static void
answer_sign(struct rig *r, const struct frame *frame)
{
    CLEANUP(buf_clear) struct buf message = BUF(1024), payload = BUF(512);
    struct fields f = { frame->payload, frame->len };
    uint8_t h[32], signature[64];
    struct error err = { 0 };
    pid_t victim = atomic_exchange(&r->wish.kill_at_sign, 0);

    r->signs++;
    rig_event(r);
    if (victim > 0)
        assert(kill(victim, SIGKILL) == 0);
    if (r->wish.deaf_to_sign || fields_take_exact(&f, h, sizeof h, &err) < 0)
        return;
    if (r->wish.no_signature) {
        fields_add_u8(&payload, FRAME_SIGN);
        fields_add_text(&payload, "no-lease");
        put(r, FRAME_NO, payload.data, payload.len);
        return;
    }
    must(transcript_host_message(RIG_ISSUER, "host-a", &r->uuid, r->epoch, h, &message, &err),
         &err);
    must(key_sign(r->host_key, message.data, message.len, signature, &err), &err);
    fields_add(&payload, h, sizeof h);
    fields_add_u64(&payload, r->epoch);
    fields_add_text(&payload, "host-a");
    fields_add(&payload, signature, sizeof signature);
    put(r, FRAME_SIG, payload.data, payload.len);
}

static void
answer_sync(struct rig *r)
{
    CLEANUP(buf_clear) struct buf payload = BUF(64);

    r->syncs++;
    rig_event(r);
    if (r->tpm)
        rig_keep_tpm(r, "durable");
    if (!r->wish.no_sync && r->wish.refuse_sync == 0) {
        put(r, FRAME_SYNCED, NULL, 0);
        return;
    }
    fields_add_u8(&payload, FRAME_SYNC);
    fields_add_text(&payload, r->wish.no_sync ? "no-sync" : "sync-failed");
    if (r->wish.refuse_sync > 0)
        r->wish.refuse_sync--;
    put(r, FRAME_NO, payload.data, payload.len);
}

static void
take_status(struct rig *r, const struct frame *frame)
{
    struct fields f = { frame->payload, frame->len };
    struct error ignored = { 0 };

    if (fields_take_text(&f, 0, 31, r->status_word, &ignored) < 0 ||
        fields_take_text(&f, 0, 300, r->status_text, &ignored) < 0)
        strcpy(r->status_word, "?");
}

static void
send_close(struct rig *r, const char *reason)
{
    CLEANUP(buf_clear) struct buf payload = BUF(128);

    fields_add_text(&payload, reason);
    put(r, FRAME_CLOSE, payload.data, payload.len);
}

/* One thread owns the connection; `service` is its end of the service's socket. */
struct host_side {
    struct rig *r;
    struct frame_reader reader;
    int service;
};

static void
drop_service(struct host_side *s)
{
    fd_close(s->service);
    s->service = -1;
}

static void
take_open(struct host_side *s)
{
    int pair[2];

    s->r->opens++;
    drop_service(s); /* a HELLO has ended it without a word, as with the real host's side */
    if (s->r->wish.service_away) {
        send_close(s->r, "nobody there");
        return;
    }
    assert(socketpair(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0, pair) == 0);
    s->service = pair[0];
    rig_service_start(s->r, pair[1]);
    put(s->r, FRAME_OPEN, NULL, 0);
}

static void
take_frame(struct host_side *s, const struct frame *frame)
{
    struct rig *r = s->r;
    CLEANUP(buf_clear) struct buf ack = BUF(16);
    struct fields f = { frame->payload, frame->len };
    struct error err = { 0 };
    uint8_t version;

    if (frame->type == FRAME_WHO) {
        drop_service(s);
        say_hello(r);
        return;
    }
    if (frame->session != r->session)
        return;
    if (frame->type == FRAME_READY) {
        if (fields_take_u8(&f, &version, &err) == 0 &&
            fields_take_u64(&f, &r->serial_held, &err) == 0)
            r->readies++;
    } else if (frame->type == FRAME_SIGN) {
        answer_sign(r, frame);
    } else if (frame->type == FRAME_SYNC) {
        answer_sync(r);
    } else if (frame->type == FRAME_STATUS) {
        take_status(r, frame);
    } else if (frame->type == FRAME_OPEN) {
        take_open(s);
    } else if (frame->type == FRAME_DATA && s->service >= 0) {
        (void)fd_write_all(s->service, frame->payload, frame->len, &err);
        fields_add_u32(&ack, (uint32_t)frame->len);
        put(r, FRAME_ACK, ack.data, ack.len);
    } else if (frame->type == FRAME_CLOSE && s->service >= 0) {
        drop_service(s);
        send_close(r, "done");
    }
}

static void
read_service(struct host_side *s)
{
    uint8_t chunk[4096];
    ssize_t n = read(s->service, chunk, sizeof chunk);

    if (n > 0) {
        put(s->r, FRAME_DATA, chunk, (size_t)n);
    } else {
        drop_service(s);
        send_close(s->r, "closed by the service");
    }
}

static void
read_agent(struct host_side *s)
{
    struct frame frame;
    uint8_t chunk[4096];
    ssize_t n = read(s->r->peer, chunk, sizeof chunk);

    if (n <= 0) {
        fd_close(s->r->peer);
        s->r->peer = -1;
        drop_service(s);
        frame_reader_clear(&s->reader);
        return;
    }
    frame_feed(&s->reader, chunk, (size_t)n);
    while (frame_next(&s->reader, &frame)) {
        if (!s->r->wish.silent)
            take_frame(s, &frame);
    }
}

static void *
run_host(void *context)
{
    struct host_side s = { .r = context, .reader = FRAME_READER(), .service = -1 };
    struct rig *r = s.r;

    for (;;) {
        struct pollfd p[4] = { { .fd = r->stop[0], .events = POLLIN },
                               { .fd = r->listener, .events = POLLIN },
                               { .fd = r->peer, .events = POLLIN },
                               { .fd = s.service, .events = POLLIN } };

        /* The short limit is for rig_cut and rig_hello, which change r->peer from outside. */
        (void)poll(p, 4, 50);
        if (p[0].revents)
            break;
        pthread_mutex_lock(&r->lock);
        if (p[2].revents && r->peer == p[2].fd && r->peer >= 0)
            read_agent(&s);
        if (p[3].revents && s.service == p[3].fd && s.service >= 0)
            read_service(&s);
        if (r->peer < 0 && s.service >= 0)
            drop_service(&s);
        if (p[1].revents) {
            int fd = accept4(r->listener, NULL, NULL, SOCK_CLOEXEC);

            fd_close(r->peer);
            r->peer = fd;
            frame_reader_clear(&s.reader);
            say_hello(r);
        }
        pthread_cond_broadcast(&r->changed);
        pthread_mutex_unlock(&r->lock);
    }
    drop_service(&s);
    frame_reader_clear(&s.reader);
    return NULL;
}

void
rig_hello(struct rig *r)
{
    pthread_mutex_lock(&r->lock);
    say_hello(r);
    pthread_mutex_unlock(&r->lock);
}

void
rig_cut(struct rig *r)
{
    pthread_mutex_lock(&r->lock);
    fd_close(r->peer);
    r->peer = -1;
    pthread_mutex_unlock(&r->lock);
}

void
rig_inject(struct rig *r, const void *bytes, size_t len)
{
    struct error ignored = { 0 };

    pthread_mutex_lock(&r->lock);
    if (r->peer >= 0)
        (void)fd_write_all(r->peer, bytes, len, &ignored);
    pthread_mutex_unlock(&r->lock);
}

static bool
wait_until(struct rig *r, int64_t deadline)
{
    struct timespec at;

    if (clock_monotonic_ms() >= deadline)
        return false;
    clock_gettime(CLOCK_REALTIME, &at);
    at.tv_sec += 1;
    (void)pthread_cond_timedwait(&r->changed, &r->lock, &at);
    return true;
}

bool
rig_wait(struct rig *r, const unsigned *counter, unsigned least, int seconds)
{
    int64_t deadline = clock_monotonic_ms() + seconds * (int64_t)1000;
    bool reached;

    pthread_mutex_lock(&r->lock);
    while (*counter < least && wait_until(r, deadline))
        ;
    reached = *counter >= least;
    pthread_mutex_unlock(&r->lock);
    return reached;
}

bool
rig_wait_status(struct rig *r, const char *word, int seconds)
{
    int64_t deadline = clock_monotonic_ms() + seconds * (int64_t)1000;
    bool reached;

    pthread_mutex_lock(&r->lock);
    while (strcmp(r->status_word, word) != 0 && wait_until(r, deadline))
        ;
    reached = strcmp(r->status_word, word) == 0;
    pthread_mutex_unlock(&r->lock);
    return reached;
}

/* ---- the whole ---- */

void
rig_configure(struct rig *r, const char *lines)
{
    CLEANUP(buf_clear) struct buf text = BUF(2048);
    char path[128];
    struct error err = { 0 };

    buf_printf(&text,
               "[agent]\ntcti=%s\nchannel=unix:%s/channel\nstate_dir=%s/state\n"
               "run_dir=%s/run\n%s",
               r->tpm ? swtpm_box_tcti(r->tpm) : "none", r->folder, r->folder, r->folder, lines);
    snprintf(path, sizeof path, "%s/agent.conf", r->folder);
    must(file_replace(path, text.data, text.len, 0644, &err), &err);
}

static void
new_account(struct rig *r)
{
    struct proof_account *a = &r->account;

    a->known = a->pending = a->has_lease = true;
    a->floor = FACTOR_HOST;
    a->epoch = r->epoch;
    strcpy(a->host, "host-a");
    key_point(r->host_key, a->host_point);
    if (!r->tpm)
        return;
    a->has_ek = a->ratchet.has_x = true;
    memcpy(a->ek, swtpm_box_made(r->tpm)->ek, swtpm_box_made(r->tpm)->ek_len);
    a->ek_len = swtpm_box_made(r->tpm)->ek_len;
    memcpy(a->ratchet.xcur, swtpm_box_made(r->tpm)->x0, sizeof a->ratchet.xcur);
}

void
rig_new(struct rig *r, bool with_tpm)
{
    struct error err = { 0 };
    char path[128];

    memset(r, 0, sizeof *r);
    r->peer = -1;
    strcpy(r->folder, "/tmp/agentXXXXXX");
    assert(mkdtemp(r->folder));
    snprintf(path, sizeof path, "%s/state", r->folder);
    must(dir_make(path, 0755, &err), &err);
    pthread_mutex_init(&r->lock, NULL);
    pthread_cond_init(&r->changed, NULL);
    make_ca(&r->ca_key, r->ca, &r->ca_len);
    make_ca(&r->other_ca_key, r->other_ca, &r->other_ca_len);
    must(key_generate(&r->server_key, &err), &err);
    must(key_generate(&r->host_key, &err), &err);
    make_server(r, r->ca_key, r->ca, r->ca_len, r->server, &r->server_len);
    make_server(r, r->other_ca_key, r->other_ca, r->other_ca_len, r->other_server,
                &r->other_server_len);
    must(random_bytes(r->nonce_key, 32, &err), &err);
    must(random_bytes(r->activate_key, 32, &err), &err);
    if (with_tpm) {
        must(swtpm_box_new(NULL, NULL, &r->tpm, &err), &err);
        r->uuid = *swtpm_box_uuid(r->tpm);
    } else {
        must(random_bytes(r->uuid.bytes, sizeof r->uuid.bytes, &err), &err);
    }
    r->epoch = 1000;
    new_account(r);
    rig_offer(r, 1, NULL, false);
    rig_configure(r, "");
    snprintf(path, sizeof path, "%s/channel", r->folder);
    must(unix_listen(path, SOCK_STREAM, 0600, &r->listener, &err), &err);
    assert(pipe2(r->stop, O_CLOEXEC) == 0);
    assert(pthread_create(&r->thread, NULL, run_host, r) == 0);
}

void
rig_free(struct rig *r)
{
    const char *const remove[] = { "/bin/rm", "-rf", r->folder, NULL };
    struct process_spawn spawn = PROCESS_SPAWN(remove);
    struct error err = { 0 };
    pid_t pid;

    rig_kill_agent(r);
    rig_show_log(r);
    close(r->stop[1]);
    pthread_join(r->thread, NULL);
    close(r->stop[0]);
    fd_close(r->peer);
    fd_close(r->listener);
    rig_service_wait(r);
    swtpm_box_free(r->tpm);
    key_free(r->ca_key);
    key_free(r->other_ca_key);
    key_free(r->server_key);
    key_free(r->host_key);
    must(process_start(&spawn, &pid, &err), &err);
    must(process_wait(pid, clock_monotonic_ms() + 30000, &err), &err);
    pthread_cond_destroy(&r->changed);
    pthread_mutex_destroy(&r->lock);
}
