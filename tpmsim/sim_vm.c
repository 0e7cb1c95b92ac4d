#include "config.h"

#include "tpmsim/sim_command.h"

#include <errno.h>
#include <fcntl.h>
#include <getopt.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/file.h>
#include <sys/stat.h>
#include <unistd.h>

#include "lib/common/clock.h"
#include "lib/common/fdio.h"
#include "lib/common/log.h"
#include "lib/wire/names.h"
#include "tpmsim/janitor.h"
#include "tpmsim/sim_guest.h"
#include "tpmsim/sim_host.h"
#include "tpmsim/sim_loop.h"

/* What swtpm's options and an INI file take for their own. */
static const char UNFIT[] = ",;# \t\n";

enum {
    COUNT_MAX = 256,
    FOLDER_MAX = 50,
    TMPDIR_MAX = 30,
    WAIT_SECONDS = 60,
    PATH_ROOM = 4096
};

struct vm_options {
    struct sim_order order;
    const char *host, *state;
    struct vm_uuid uuid;
    int count, wait_seconds;
    bool keep_running;
};

/* What is made on the way; undone from the end. */
struct fleet {
    char folder[FOLDER_MAX + 1];
    char agent[PATH_ROOM];
    int lock;
    struct janitor *janitor;
    struct sim_loop *loop;
    struct sim_host *host;
    struct sim_guest *guests[COUNT_MAX];
    char names[COUNT_MAX][NAME_DOMAIN_MAX + 1];
    struct sim_order orders[COUNT_MAX];
};

static void
print_help(void)
{
    puts(
        "Usage: virtid-tpmsim vm --host NAME -a AUDIENCE [OPTION]... <JOINCODE\n"
        "       virtid-tpmsim vm --state DIR -a AUDIENCE [OPTION]...\n"
        "\n"
        "Be one whole VM together with its host against a token service, and print its "
        "tokens.\n"
        "The join code of \"virtid host add NAME --auto\" comes on standard input.\n"
        "\n"
        "      --host NAME         the host's name, as in \"virtid host add NAME\"\n"
        "      --name NAME         the VM's name [sim-RANDOM]\n"
        "      --uuid UUID         the VM's UUID [random]\n"
        "  -a, --audience NAME     print a token for NAME; may be repeated\n"
        "      --state DIR         keep host, TPM and disk in DIR: the next run is the "
        "same VM\n"
        "      --no-tpm            a VM without TPM\n"
        "      --no-secret         nothing is written to its disk beforehand\n"
        "      --serve ADDR:PORT   answer virtid-verify --connect (port 0: any)\n"
        "      --count N           N VMs on this host [1]\n"
        "      --keep-running      go on until SIGTERM or SIGINT\n"
        "  -w, --wait SECONDS      for approval, for the service, for each token [60]\n"
        "  -q, --quiet             only warnings on standard error\n"
        "      --agent FILE        the virtid-agent to run\n"
        "      --swtpm FILE        the swtpm to run [" VIRTID_SWTPM "]\n"
        "  -h, --help              this text\n"
        "\n"
        "Exit status: 0; 2 wrong usage; 3 refused; 4 something is missing; 5 took too "
        "long;\n"
        "1 anything else; 128+N ended by signal N before all was printed.");
}

static int
exit_status_of(const struct error *err)
{
    static const int statuses[] = {
        [ERROR_NONE] = 0,    [ERROR_INPUT] = 2, [ERROR_DENIED] = 3,
        [ERROR_MISSING] = 4, [ERROR_BUSY] = 5,  [ERROR_SYSTEM] = 1
    };

    return statuses[err->code];
}

/* ---- folder and programs ---- */

static int
temporary_folder(struct fleet *f, struct error *err)
{
    const char *tmp = getenv("TMPDIR");

    /* A long TMPDIR leaves no room for sockets (unix(7)). */
    if (!tmp || strlen(tmp) > TMPDIR_MAX || strpbrk(tmp, UNFIT))
        tmp = "/tmp";
    snprintf(f->folder, sizeof f->folder, "%.*s/virtid-sim-XXXXXX", TMPDIR_MAX, tmp);
    if (!mkdtemp(f->folder))
        return error_sys(err, errno, "temporary folder %s", f->folder);
    return janitor_start(f->folder, &f->janitor, err);
}

static int
kept_folder(struct fleet *f, const char *state, struct error *err)
{
    char path[FOLDER_MAX + 8];

    if (strlen(state) > FOLDER_MAX || strpbrk(state, UNFIT))
        return error_set(
            err, ERROR_INPUT,
            "--state %s: at most %d characters, without space, comma, ; and # "
            "(a relative path is shorter)",
            state, FOLDER_MAX);
    snprintf(f->folder, sizeof f->folder, "%s", state);
    if (dir_make(f->folder, 0700, err) < 0)
        return -1;
    snprintf(path, sizeof path, "%s/lock", state);
    f->lock = open(path, O_RDWR | O_CREAT | O_CLOEXEC | O_NOFOLLOW, 0600);
    if (f->lock < 0)
        return error_sys(err, errno, "%s", path);
    if (flock(f->lock, LOCK_EX | LOCK_NB) < 0)
        return error_set(err, ERROR_BUSY, "%s: another virtid-tpmsim is this VM now",
                         state);
    return 0;
}

/* Beside us, as in a build folder; else where it is installed. */
static const char *
find_agent(struct fleet *f)
{
    ssize_t len = readlink("/proc/self/exe", f->agent, sizeof f->agent - 16);
    char *slash;

    if (len > 0) {
        f->agent[len] = '\0';
        slash = strrchr(f->agent, '/');
        if (slash) {
            memcpy(slash, "/virtid-agent", sizeof "/virtid-agent");
            if (access(f->agent, X_OK) == 0)
                return f->agent;
        }
    }
    return VIRTID_SBINDIR "/virtid-agent";
}

/* ---- the story ---- */

static int
start_guests(struct fleet *f, const struct vm_options *o, int64_t deadline_ms,
             struct error *err)
{
    for (int i = 0; i < o->count; i++) {
        char folder[FOLDER_MAX + 16];

        f->orders[i] = o->order;
        if (o->count > 1 && o->order.name) {
            snprintf(f->names[i], sizeof f->names[i], "%.*s-%d", NAME_DOMAIN_MAX - 12,
                     o->order.name, i + 1);
            f->orders[i].name = f->names[i];
        }
        snprintf(folder, sizeof folder, "%s/%d", f->folder, i + 1);
        if (sim_guest_start(f->host, folder, &f->orders[i], deadline_ms, &f->guests[i],
                            err) < 0)
            return -1;
    }
    return 0;
}

static int
print_tokens(struct fleet *f, const struct vm_options *o, struct error *err)
{
    for (int i = 0; i < o->count; i++) {
        for (size_t k = 0; k < o->order.n_audiences; k++) {
            int64_t deadline = clock_monotonic_ms() + o->wait_seconds * (int64_t)1000;

            if (sim_guest_print_token(f->guests[i], o->order.audiences[k], deadline,
                                      err) < 0)
                return -1;
        }
    }
    return 0;
}

static int
live(struct fleet *f, const struct vm_options *o, struct error *err)
{
    static const bool never = false;
    int64_t deadline = clock_monotonic_ms() + o->wait_seconds * (int64_t)1000;

    if ((o->state ? kept_folder(f, o->state, err) : temporary_folder(f, err)) < 0 ||
        sim_loop_new(&f->loop, err) < 0 ||
        sim_host_open(f->loop, f->folder, o->host, deadline, &f->host, err) < 0)
        return -1;
    deadline = clock_monotonic_ms() + o->wait_seconds * (int64_t)1000;
    if (start_guests(f, o, deadline, err) < 0 || print_tokens(f, o, err) < 0)
        return -1;
    if (!o->keep_running)
        return 0;
    log_notice("event=running until SIGTERM or SIGINT");
    if (sim_loop_wait(f->loop, &never, INT64_MAX, err) < 0 && !sim_loop_signal(f->loop))
        return -1;
    return 0;
}

static int
run_fleet(struct vm_options *o)
{
    struct fleet *f = calloc(1, sizeof *f);
    struct error err = { 0 };
    int status = 0;

    if (!f) {
        perror("virtid-tpmsim");
        return exit_status_of(&(struct error){ .code = ERROR_SYSTEM });
    }
    f->lock = -1;
    if (!o->order.agent)
        o->order.agent = find_agent(f);
    if (live(f, o, &err) < 0) {
        bool interrupted = f->loop && sim_loop_signal(f->loop);

        status = interrupted ? 128 + sim_loop_signal(f->loop) : exit_status_of(&err);
        log_error(&err, "vm");
    }
    for (int i = o->count; i-- > 0;)
        sim_guest_end(f->guests[i]);
    sim_host_close(f->host);
    sim_loop_free(f->loop);
    fd_close(f->lock);
    janitor_end(f->janitor);
    free(f);
    return status;
}

/* ---- options ---- */

static int
number(const char *text, int min, int max, const char *what, int *ret)
{
    char *end;
    long n;

    errno = 0;
    n = strtol(text, &end, 10);
    if (errno || *text == '\0' || *end || n < min || n > max) {
        fprintf(stderr, "virtid-tpmsim: %s is no number from %d to %d\n", what, min,
                max);
        return -1;
    }
    *ret = (int)n;
    return 0;
}

static int
add_audience(struct sim_order *order, const char *name)
{
    if (!name_is_audience(name) || order->n_audiences == SIM_GUEST_AUDIENCES_MAX) {
        fprintf(stderr, "virtid-tpmsim: %s: no name of an audience, or the %dth\n",
                name, SIM_GUEST_AUDIENCES_MAX + 1);
        return -1;
    }
    order->audiences[order->n_audiences++] = name;
    return 0;
}

static int
take_uuid(struct vm_options *o, const char *text)
{
    struct error err;

    if (vm_uuid_parse(text, &o->uuid, &err) < 0) {
        fprintf(stderr, "virtid-tpmsim: --uuid: %s\n", err.text);
        return -1;
    }
    o->order.uuid = &o->uuid;
    return 0;
}

/* 0, or -1: wrong usage, said so. */
static int
take_option(struct vm_options *o, int option)
{
    switch (option) {
    case 'H':
        o->host = optarg;
        return 0;
    case 'n':
        if (name_is_domain(optarg)) {
            o->order.name = optarg;
            return 0;
        }
        fputs("virtid-tpmsim: --name is no name of a VM\n", stderr);
        return -1;
    case 'u':
        return take_uuid(o, optarg);
    case 'a':
        return add_audience(&o->order, optarg);
    case 's':
        o->state = optarg;
        return 0;
    case 'T':
        o->order.no_tpm = true;
        return 0;
    case 'S':
        o->order.no_secret = true;
        return 0;
    case 'v':
        o->order.serve = optarg;
        return 0;
    case 'c':
        return number(optarg, 1, COUNT_MAX, "--count", &o->count);
    case 'k':
        o->keep_running = true;
        return 0;
    case 'w':
        return number(optarg, 1, 86400, "--wait", &o->wait_seconds);
    case 'q':
        o->order.quiet = true;
        return 0;
    case 'A':
        o->order.agent = optarg;
        return 0;
    case 't':
        o->order.swtpm = optarg;
        return 0;
    default:
        return -1;
    }
}

static int
check_options(const struct vm_options *o, int left)
{
    const char *what = NULL;

    if (left > 0)
        what = "vm takes no arguments";
    else if (!o->host && !o->state)
        what = "whose host? --host NAME, or --state DIR of one that has joined";
    else if (o->order.n_audiences == 0 && !o->keep_running)
        what = "a token for whom? -a AUDIENCE (or --keep-running)";
    else if (o->count > 1 && o->order.uuid)
        what = "several VMs can not share a --uuid";
    if (what)
        fprintf(stderr, "virtid-tpmsim: %s (virtid-tpmsim vm --help)\n", what);
    return what ? -1 : 0;
}

int
sim_vm(int argc, char **argv)
{
    static const struct option options[] = {
        { "host", required_argument, NULL, 'H' },
        { "name", required_argument, NULL, 'n' },
        { "uuid", required_argument, NULL, 'u' },
        { "audience", required_argument, NULL, 'a' },
        { "state", required_argument, NULL, 's' },
        { "no-tpm", no_argument, NULL, 'T' },
        { "no-secret", no_argument, NULL, 'S' },
        { "serve", required_argument, NULL, 'v' },
        { "count", required_argument, NULL, 'c' },
        { "keep-running", no_argument, NULL, 'k' },
        { "wait", required_argument, NULL, 'w' },
        { "quiet", no_argument, NULL, 'q' },
        { "agent", required_argument, NULL, 'A' },
        { "swtpm", required_argument, NULL, 't' },
        { "help", no_argument, NULL, 'h' },
        { NULL, 0, NULL, 0 },
    };
    struct vm_options o = { .count = 1, .wait_seconds = WAIT_SECONDS };
    int option;

    while ((option = getopt_long(argc, argv, "a:w:qh", options, NULL)) != -1) {
        if (option == 'h') {
            print_help();
            return 0;
        }
        if (take_option(&o, option) < 0)
            return SIM_USAGE;
    }
    if (check_options(&o, argc - optind) < 0)
        return SIM_USAGE;
    log_open("virtid-tpmsim", o.order.quiet ? LOG_LEVEL_WARNING : LOG_LEVEL_NOTICE);
    (void)signal(SIGPIPE, SIG_IGN);
    umask(077);
    return run_fleet(&o);
}
