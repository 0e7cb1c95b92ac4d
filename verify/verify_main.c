#include "config.h"

#include <errno.h>
#include <getopt.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "lib/common/clock.h"
#include "lib/common/dial.h"
#include "lib/common/fdio.h"
#include "lib/common/log.h"
#include "lib/common/process.h"
#include "lib/wire/connect_msg.h"
#include "lib/wire/pop.h"
#include "lib/wire/problem.h"
#include "verify/connect.h"
#include "verify/report.h"
#include "verify/virtid-verify.h"

enum { EXIT_VALID = 0, EXIT_INVALID = 1, EXIT_USAGE = 2, EXIT_UNREACHABLE = 3 };

struct options {
    const char *issuer, *audience, *ca, *jwks, *connect, *expect, *verifier, *file;
    const char *nonce_hex, *exporter_hex;
    uint8_t nonce[POP_NONCE_LEN], exporter[POP_EXPORTER_LEN];
    int64_t min_generation;
    bool proof, json;
};

static const char usage[] =
    "virtid-verify --issuer URL --audience NAME [OPTION...] [FILE|-]\n"
    "virtid-verify --proof --nonce HEX --exporter HEX --issuer URL --audience NAME [OPTION...] [FILE|-]\n"
    "virtid-verify --connect HOST:PORT --issuer URL --expect UUID|NAME [OPTION...]\n"
    "\n"
    "Is this token the identity of a virtual machine?  Which machine answers there?\n"
    "\n"
    "  --issuer URL          the token service, exactly as it stands in the tokens\n"
    "  --audience NAME       your own name: tokens made for others are refused\n"
    "  --ca FILE             trust these CAs (PEM) for the issuer instead of the system's\n"
    "  --jwks FILE           take the issuer's keys from this file; nothing is fetched\n"
    "  --proof               take a bound token with its proof (virtid-agent prove)\n"
    "  --nonce HEX           the 32 bytes that we made for this connection\n"
    "  --exporter HEX        32 bytes of its TLS exporter " POP_EXPORTER ", at our end\n"
    "  --connect HOST:PORT   ask the machine there (virtid-agent serve) to prove itself\n"
    "  --expect UUID|NAME    the machine that must be there\n"
    "  --verifier NAME       how we introduce ourselves to it (default: host and process)\n"
    "  --min-gen N           refuse tokens of a generation below N\n"
    "  --json                one JSON object\n"
    "  --help, --version\n"
    "\n"
    "A token or proof is read from FILE, or from standard input.\n"
    "Exit status: 0 valid, 1 not valid, 2 wrong usage, 3 issuer or machine not reachable.\n";

static int
wrong_usage(const char *why)
{
    fprintf(stderr, "virtid-verify: %s\nTry 'virtid-verify --help'.\n", why);
    return EXIT_USAGE;
}

static int
read_generation(const char *text, int64_t *ret)
{
    char *end = NULL;

    errno = 0;
    *ret = strtoll(text, &end, 10);
    return *text < '0' || *text > '9' || *end || errno ? -1 : 0;
}

/* -1: go on; else the exit status. */
static int
parse_options(int argc, char **argv, struct options *o)
{
    static const struct option known[] = {
        { "issuer", required_argument, NULL, 'i' },   { "audience", required_argument, NULL, 'a' },
        { "ca", required_argument, NULL, 'C' },       { "jwks", required_argument, NULL, 'k' },
        { "connect", required_argument, NULL, 'c' },  { "expect", required_argument, NULL, 'e' },
        { "verifier", required_argument, NULL, 'v' }, { "json", no_argument, NULL, 'j' },
        { "min-gen", required_argument, NULL, 'g' },  { "proof", no_argument, NULL, 'p' },
        { "nonce", required_argument, NULL, 'n' },    { "exporter", required_argument, NULL, 'x' },
        { "help", no_argument, NULL, 'h' },           { "version", no_argument, NULL, 'V' },
        { NULL, 0, NULL, 0 },
    };
    int c;

    while ((c = getopt_long(argc, argv, "a:h", known, NULL)) >= 0) {
        switch (c) {
        case 'i': o->issuer = optarg; break;
        case 'a': o->audience = optarg; break;
        case 'C': o->ca = optarg; break;
        case 'k': o->jwks = optarg; break;
        case 'c': o->connect = optarg; break;
        case 'e': o->expect = optarg; break;
        case 'v': o->verifier = optarg; break;
        case 'j': o->json = true; break;
        case 'p': o->proof = true; break;
        case 'n': o->nonce_hex = optarg; break;
        case 'x': o->exporter_hex = optarg; break;
        case 'g':
            if (read_generation(optarg, &o->min_generation) < 0)
                return wrong_usage("--min-gen is a number");
            break;
        case 'h': fputs(usage, stdout); return EXIT_VALID;
        case 'V': puts("virtid-verify " PACKAGE_VERSION); return EXIT_VALID;
        default: return wrong_usage("this is not understood");
        }
    }
    if (argc - optind > 1)
        return wrong_usage("one FILE at most");
    o->file = argv[optind];
    return -1;
}

/* What a proof is of: both are ours, and there is no proof without them. */
static int
read_place(struct options *o)
{
    struct error err;

    if (!o->proof)
        return o->nonce_hex || o->exporter_hex ? wrong_usage("--nonce and --exporter go with --proof") : -1;
    if (o->connect)
        return wrong_usage("--proof or --connect, not both");
    if (!o->nonce_hex || !o->exporter_hex)
        return wrong_usage("--proof needs --nonce and --exporter, of the connection that it came over");
    if (pop_read_hex("--nonce", o->nonce_hex, o->nonce, &err) < 0 ||
        pop_read_hex("--exporter", o->exporter_hex, o->exporter, &err) < 0)
        return wrong_usage(err.text);
    return -1;
}

static int
check_options(const struct options *o)
{
    if (!o->issuer)
        return wrong_usage("--issuer is missing");
    if (o->ca && o->jwks)
        return wrong_usage("--ca or --jwks, not both: with --jwks nothing is fetched");
    if (!o->connect) {
        if (!o->audience)
            return wrong_usage("--audience is missing");
        return o->expect || o->verifier ? wrong_usage("--expect and --verifier go with --connect") : -1;
    }
    if (!o->expect || !*o->expect)
        return wrong_usage("--expect is missing: which machine must be there?");
    if (o->file)
        return wrong_usage("FILE does not go with --connect");
    if (o->audience && strcmp(o->audience, CONNECT_AUDIENCE) != 0)
        return wrong_usage("the audience of --connect is always " CONNECT_AUDIENCE);
    return -1;
}

static int
exit_status(enum virtid_result result)
{
    switch (result) {
    case VIRTID_VALID: return EXIT_VALID;
    case VIRTID_USAGE: return EXIT_USAGE;
    case VIRTID_UNREACHABLE: return EXIT_UNREACHABLE;
    case VIRTID_MALFORMED:
    case VIRTID_ALGORITHM:
    case VIRTID_KEY:
    case VIRTID_SIGNATURE:
    case VIRTID_EXPIRED:
    case VIRTID_NOT_YET:
    case VIRTID_ISSUER:
    case VIRTID_AUDIENCE:
    case VIRTID_CLAIMS:
    case VIRTID_GENERATION:
    case VIRTID_PROOF:
    case VIRTID_BOUND:
    case VIRTID_SYSTEM: break;
    }
    return EXIT_INVALID;
}

static int
read_token(const char *file, struct buf *into, struct error *err)
{
    int failed = file && strcmp(file, "-") != 0 ? file_read(file, into, err)
                                                : fd_read_to_end(STDIN_FILENO, into, err);

    if (failed)
        return -1;
    while (into->len > 0 && strchr(" \t\r\n", into->data[into->len - 1]))
        into->len--;
    return 0;
}

static int
verify_file(const struct options *o, struct virtid_verifier *verifier)
{
    CLEANUP(buf_clear) struct buf text = BUF(2 * TOKEN_TEXT_MAX);
    struct virtid_identity *vm = NULL;
    struct virtid_error error;
    enum virtid_result result;
    struct error err;

    if (read_token(o->file, &text, &err) < 0)
        return wrong_usage(err.text);
    if (o->proof)
        result = virtid_verify_proof(verifier, (const char *)text.data, text.len, o->nonce, o->exporter, &vm, &error);
    else
        result = virtid_verify(verifier, (const char *)text.data, text.len, &vm, &error);
    if (result != VIRTID_VALID) {
        report_invalid(&error, o->json);
        return exit_status(error.result);
    }
    report_valid(vm, o->json, clock_realtime_ms() / 1000);
    virtid_identity_free(vm);
    return EXIT_VALID;
}

/* A refusal of the connection, in the form of one of the token. */
static int
report_connection(const struct options *o, const struct virtid_error *token_error,
                  const struct error *err)
{
    const struct problem *p = err->problem[0] ? problem_find(err->problem) : NULL;
    struct virtid_error error = { .result = VIRTID_CLAIMS };

    if (token_error->result != VIRTID_VALID) {
        report_invalid(token_error, o->json);
        return exit_status(token_error->result);
    }
    if (err->code == ERROR_INPUT && strncmp(err->text, "an address", 10) == 0)
        return wrong_usage(err->text);
    snprintf(error.text, sizeof error.text, "%s", err->text);
    snprintf(error.problem, sizeof error.problem, "%s", p ? p->name : "");
    snprintf(error.repair, sizeof error.repair, "%s",
             p && p->repair ? p->repair
                            : "check the address, and that `virtid-agent serve` runs there");
    if (err->code == ERROR_BUSY)
        error.result = VIRTID_UNREACHABLE;
    report_invalid(&error, o->json);
    return exit_status(error.result);
}

static int
verify_connection(const struct options *o, struct virtid_verifier *verifier)
{
    struct connect_question question = { .verifier = verifier,
                                         .expect = o->expect,
                                         .deadline_ms = clock_monotonic_ms() +
                                                        CONNECT_DEADLINE_MS };
    char host[128] = "unknown", name[160];
    struct virtid_error token_error = { 0 };
    struct virtid_identity *vm = NULL;
    struct error err;
    int fd = -1;

    (void)gethostname(host, sizeof host - 1);
    snprintf(name, sizeof name, "%s:%d", host, (int)getpid());
    question.name = o->verifier ? o->verifier : name;
    if (strlen(question.name) > CONNECT_VERIFIER_MAX)
        return wrong_usage("--verifier is too long");
    if (dial_tcp(o->connect, question.deadline_ms, &fd, &err) < 0 ||
        connect_ask(&question, fd, &vm, &token_error, &err) < 0)
        return report_connection(o, &token_error, &err);
    report_valid(vm, o->json, clock_realtime_ms() / 1000);
    virtid_identity_free(vm);
    return EXIT_VALID;
}

int
main(int argc, char **argv)
{
    struct options o = { 0 };
    struct virtid_options wanted = VIRTID_OPTIONS(NULL, NULL);
    struct virtid_verifier *verifier = NULL;
    struct virtid_error error;
    int status;

    process_harden();
    log_open("virtid-verify", LOG_LEVEL_NOTICE);
    status = parse_options(argc, argv, &o);
    if (status < 0)
        status = check_options(&o);
    if (status < 0)
        status = read_place(&o);
    if (status >= 0)
        return status;
    wanted.issuer = o.issuer;
    wanted.audience = o.connect ? CONNECT_AUDIENCE : o.audience;
    wanted.jwks_file = o.jwks;
    wanted.ca_file = o.ca;
    wanted.min_generation = o.min_generation;
    wanted.bound = o.proof;
    if (virtid_verifier_new(&wanted, &verifier, &error) != VIRTID_VALID)
        return wrong_usage(error.text);
    status = o.connect ? verify_connection(&o, verifier) : verify_file(&o, verifier);
    virtid_verifier_free(verifier);
    if (fflush(stdout) != 0 && status == EXIT_VALID)
        return EXIT_INVALID;
    return status;
}
