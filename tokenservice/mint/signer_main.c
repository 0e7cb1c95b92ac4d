/*
 * signer_main.c - virtid-signer: makes a trust domain's keys, or uses them for tokend
 */
#include "config.h"

#include <errno.h>
#include <fcntl.h>
#include <getopt.h>
#include <limits.h>
#include <signal.h>
#include <stdbool.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/file.h>
#include <sys/mman.h>
#include <sys/socket.h>
#include <time.h>
#include <unistd.h>

#include "lib/common/clock.h"
#include "lib/common/encode.h"
#include "lib/common/fdio.h"
#include "lib/common/json.h"
#include "lib/common/log.h"
#include "lib/common/process.h"
#include "lib/crypto/hash.h"
#include "tokenservice/mint/signer.h"
#include "tokenservice/mint/signer_init.h"
#include "tokenservice/mint/signer_sandbox.h"
#include "tokenservice/mint/signer_turn.h"

enum { EXIT_OK, EXIT_FAILED, EXIT_USAGE };
enum { LOCK_WAIT_MS = 3000 }; /* tokend waits 5 s for the first answer */

enum {
    OPTION_INIT = 256,
    OPTION_FD,
    OPTION_KEY_DIR,
    OPTION_TRUST_DOMAIN,
    OPTION_ISSUER,
    OPTION_NAMES,
    OPTION_GUESTS,
    OPTION_TEST,
    OPTION_USER,
    OPTION_ROTATE_DAYS
};

struct options {
    bool init;
    int fd, rotate_days;
    struct signer_init domain;
};

static void
print_help(void)
{
    puts(
        "Usage: virtid-signer --init --key-dir DIR --trust-domain NAME --issuer URL\n"
        "                     --names \"NAME ...\" --guests HOST:PORT [--test] [--user "
        "NAME]\n"
        "       virtid-signer --fd N --key-dir DIR [--rotate-days N]\n"
        "\n"
        "Holds every private key of a virtid trust domain.\n"
        "\n"
        "  --init              make keys, CA certificates and the first trust bundle\n"
        "  --key-dir DIR       where they are (0700, ours)\n"
        "  --trust-domain NAME such as example.test\n"
        "  --issuer URL        https://HOST[:PORT][/PATH]\n"
        "  --names \"NAME ...\"  DNS names and addresses of the service\n"
        "  --guests HOST:PORT  where guests reach it\n"
        "  --test              a trust domain that takes simulated TPMs\n"
        "  --user NAME         give the folder to NAME (when run by root)\n"
        "  --fd N              answer virtid-tokend on this SOCK_SEQPACKET descriptor\n"
        "  --rotate-days N     a key signs tokens for so many days (default: 30)\n"
        "  --help, --version\n"
        "\n"
        "Exit status: 0 done, 1 failed, 2 usage.  See virtid-signer(8).");
}

static int
read_number(const char *text, int min, int max, int *ret)
{
    char *end;
    long n;

    errno = 0;
    n = strtol(text, &end, 10);
    if (errno != 0 || end == text || *end != '\0' || n < min || n > max)
        return -1;
    *ret = (int)n;
    return 0;
}

/* 0: go on; else the exit status + 1. */
static int
take_option(int option, struct options *o)
{
    switch (option) {
    case OPTION_INIT:
        o->init = true;
        return 0;
    case OPTION_FD:
        return read_number(optarg, 3, 1023, &o->fd) < 0 ? EXIT_USAGE + 1 : 0;
    case OPTION_ROTATE_DAYS:
        return read_number(optarg, 1, KEY_ROTATE_DAYS_MAX, &o->rotate_days) < 0 ? EXIT_USAGE + 1 : 0;
    case OPTION_KEY_DIR:
        o->domain.key_dir = optarg;
        return 0;
    case OPTION_TRUST_DOMAIN:
        o->domain.trust_domain = optarg;
        return 0;
    case OPTION_ISSUER:
        o->domain.issuer = optarg;
        return 0;
    case OPTION_NAMES:
        o->domain.names = optarg;
        return 0;
    case OPTION_GUESTS:
        o->domain.guests = optarg;
        return 0;
    case OPTION_TEST:
        o->domain.test = true;
        return 0;
    case OPTION_USER:
        o->domain.user = optarg;
        return 0;
    case 'h':
        print_help();
        return EXIT_OK + 1;
    case 'V':
        puts("virtid-signer " PACKAGE_VERSION);
        return EXIT_OK + 1;
    default:
        return EXIT_USAGE + 1;
    }
}

static int
read_options(int argc, char **argv, struct options *o)
{
    static const struct option known[] = {
        { "init", no_argument, NULL, OPTION_INIT },
        { "fd", required_argument, NULL, OPTION_FD },
        { "key-dir", required_argument, NULL, OPTION_KEY_DIR },
        { "trust-domain", required_argument, NULL, OPTION_TRUST_DOMAIN },
        { "issuer", required_argument, NULL, OPTION_ISSUER },
        { "names", required_argument, NULL, OPTION_NAMES },
        { "guests", required_argument, NULL, OPTION_GUESTS },
        { "test", no_argument, NULL, OPTION_TEST },
        { "user", required_argument, NULL, OPTION_USER },
        { "rotate-days", required_argument, NULL, OPTION_ROTATE_DAYS },
        { "help", no_argument, NULL, 'h' },
        { "version", no_argument, NULL, 'V' },
        { NULL, 0, NULL, 0 },
    };

    for (int option; (option = getopt_long(argc, argv, "hV", known, NULL)) != -1;) {
        int end = take_option(option, o);

        if (end != 0)
            return end;
    }
    if (optind != argc || !o->domain.key_dir || o->init == (o->fd >= 0))
        return EXIT_USAGE + 1;
    if (o->init && (!o->domain.trust_domain || !o->domain.issuer || !o->domain.names ||
                    !o->domain.guests))
        return EXIT_USAGE + 1;
    return 0;
}

/* What `virtid init` shows and stores; nothing of it is secret. */
static int
print_domain(const char *key_dir, struct error *err)
{
    CLEANUP(signer_keys_free) struct signer_keys *keys = NULL;
    char hex[HEX_LEN(SHA256_LEN) + 1], b64url[B64URL_LEN(SHA256_LEN) + 1];
    uint8_t hash[SHA256_LEN];
    const struct mint_info *info;

    if (signer_keys_load(key_dir, &keys, err) < 0)
        return -1;
    info = &keys->info;
    if (hash_sha256(info->host_ca, info->host_ca_len, hash, err) < 0)
        return -1;
    hex_encode(hash, sizeof hash, hex);
    b64url_encode(hash, sizeof hash, b64url);
    printf("trust_domain=%s\nissuer=%s\nnames=%s\nguests=%s\nca_sha256=%s\n"
           "ca_sha256_b64url=%s\nca_pem_file=%s/%s\nkid=%s\n",
           info->trust_domain, info->issuer, info->names, info->guests, hex, b64url,
           key_dir, SIGNER_FILE_CA_CERT, info->kid);
    return fflush(stdout) == 0 ? 0 : error_sys(err, errno, "write");
}

/* The folder may belong to another user now; then we, root, look once with its eyes. */
static int
init(const struct options *o, struct error *err)
{
    if (signer_init(&o->domain, clock_realtime_ms() / 1000, err) < 0)
        return -1;
    if (o->domain.user && process_become(o->domain.user, err) < 0)
        return -1;
    return print_domain(o->domain.key_dir, err);
}

static int64_t
tick(struct signer_keys *keys)
{
    int64_t now = clock_realtime_ms() / 1000;

    signer_tick(keys, now, clock_monotonic_ms() / 1000);
    return now;
}

static int
answer_one(struct signer_keys *keys, int fd, bool *ret_end, struct error *err)
{
    static uint8_t packet[MINT_PACKET_MAX];
    CLEANUP(buf_clear) struct buf answer = BUF(MINT_PACKET_MAX);
    struct error bad = { 0 };
    size_t len = 0, n_fds;
    int rc;

    if (fd_receive(fd, packet, sizeof packet, &len, NULL, 0, &n_fds, &bad) == 0) {
        signer_answer(keys, packet, len, tick(keys), &answer);
    } else if (bad.code == ERROR_INPUT) {
        mint_refusal_encode(&bad, &answer);
    } else {
        *ret_end = true;
        if (bad.code == ERROR_MISSING) /* tokend has ended */
            return 0;
        *err = bad;
        return -1;
    }
    rc = fd_send(fd, answer.data, answer.len, NULL, 0, err);
    explicit_bzero(packet, len);
    return rc;
}

static int
check_socket(int fd, struct error *err)
{
    socklen_t len = sizeof(int);
    int type = 0;

    if (getsockopt(fd, SOL_SOCKET, SO_TYPE, &type, &len) < 0 || type != SOCK_SEQPACKET)
        return error_set(
            err, ERROR_INPUT,
            "descriptor %d is no SOCK_SEQPACKET socket (virtid-tokend starts us)", fd);
    return 0;
}

/*
 * One signer per folder: two would write over each other's keys.  The one of a tokend that was killed ends in a
 * moment.
 */
static int
lock_folder(const char *key_dir, struct error *err)
{
    const struct timespec pause = { .tv_nsec = 20 * 1000000 };
    int64_t deadline = clock_monotonic_ms() + LOCK_WAIT_MS;
    int dir = open(key_dir, O_RDONLY | O_DIRECTORY | O_CLOEXEC); /* until we end */

    if (dir < 0)
        return error_sys(err, errno, "key folder %s", key_dir);
    while (flock(dir, LOCK_EX | LOCK_NB) < 0) {
        if (errno != EWOULDBLOCK && errno != EINTR)
            return error_sys(err, errno, "key folder %s", key_dir);
        if (clock_monotonic_ms() >= deadline)
            return error_set(err, ERROR_BUSY, "%s: another virtid-signer uses this key_dir", key_dir);
        (void)nanosleep(&pause, NULL);
    }
    return 0;
}

static int
serve(const struct options *o, struct error *err)
{
    CLEANUP(signer_keys_free) struct signer_keys *keys = NULL;
    bool end = false;

    /* systemd and terminals tell all processes of a service at once; we end behind tokend, which still answers. */
    (void)signal(SIGTERM, SIG_IGN);
    (void)signal(SIGINT, SIG_IGN);
    (void)signal(SIGHUP, SIG_IGN);
    if (check_socket(o->fd, err) < 0 || lock_folder(o->domain.key_dir, err) < 0 ||
        signer_keys_load(o->domain.key_dir, &keys, err) < 0 ||
        signer_warm_up(keys, clock_realtime_ms() / 1000, err) < 0)
        return -1;
    keys->interval = o->rotate_days * INT64_C(86400);
    (void)tick(keys);
    /* OpenSSL keeps its keys in ordinary memory; best effort where RLIMIT_MEMLOCK is
     * small. */
    (void)mlockall(MCL_CURRENT);
    if (signer_sandbox((const int[]){ keys->file.fd, keys->cas_file.fd, keys->head.fd }, keys->cas_file.fd, err) < 0)
        return -1;
    while (!end) {
        if (answer_one(keys, o->fd, &end, err) < 0)
            return -1;
    }
    return 0;
}

int
main(int argc, char **argv)
{
    struct options o = { .fd = -1, .rotate_days = KEY_ROTATE_DAYS };
    struct error err = { 0 };
    int end;

    process_harden();
    json_watch_memory();
    log_open("virtid-signer", LOG_LEVEL_NOTICE);
    end = read_options(argc, argv, &o);
    if (end == EXIT_USAGE + 1)
        fputs("virtid-signer: see virtid-signer --help\n", stderr);
    if (end != 0)
        return end - 1;
    if ((o.init ? init(&o, &err) : serve(&o, &err)) < 0) {
        log_error(&err, o.init ? "no trust domain was made" : "the signer ends");
        _exit(EXIT_FAILED);
    }
    _exit(EXIT_OK); /* behind the filter nothing else is allowed; stdout was flushed */
}
