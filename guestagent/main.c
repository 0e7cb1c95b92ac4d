/*
 * main.c - virtid-agent: the identity of this virtual machine, in the guest
 */
#include "config.h"

#include <errno.h>
#include <getopt.h>
#include <pthread.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/signalfd.h>

#include "guestagent/commands.h"
#include "lib/common/json.h"
#include "lib/common/log.h"
#include "lib/common/process.h"
#include "lib/wire/pop.h"

static const char USAGE[] =
    "Usage: virtid-agent [OPTION]... run|token|prove|exec|audiences|serve|status|reload|seal\n"
    "\n"
    "  run                  the daemon: prove this VM's identity, keep tokens fresh\n"
    "  token -a AUDIENCE    print a token\n"
    "  prove -a AUDIENCE --nonce=HEX --exporter=HEX  print a bound token with its proof\n"
    "  exec -a AUDIENCE -- COMMAND...  run it with a token in descriptor $VIRTID_TOKEN_FD\n"
    "  audiences            for whom you may have tokens\n"
    "  serve ADDRESS:PORT   answer virtid-verify --connect\n"
    "  status               say how it stands\n"
    "  reload               read workloads.conf again\n"
    "  seal                 remove this machine's identity, before its disk becomes a template\n"
    "\n"
    "  -a, --audience=NAME  for whom the token is\n"
    "  -c, --config=FILE    configuration (" VIRTID_SYSCONFDIR "/agent.conf)\n"
    "  -w, --wait=SECONDS   token, exec: keep trying so long\n"
    "      --nonce=HEX      prove: the verifier's 32 bytes\n"
    "      --exporter=HEX   prove: 32 bytes of the TLS exporter " POP_EXPORTER "\n"
    "      --ready-fd=N     run, serve: write a newline to N when ready (serve: after its address)\n"
    "  -h, --help           this text\n"
    "  -V, --version        the version\n";

static const struct conf_key KEYS[] = {
    { "agent.tcti", CONF_TEXT, "auto" },
    { "agent.channel", CONF_TEXT, "auto" },
    { "agent.transport", CONF_TEXT, "channel" },
    { "agent.state_dir", CONF_TEXT, VIRTID_SYSCONFDIR },
    { "agent.run_dir", CONF_TEXT, "/run/virtid" },
    { "agent.audiences", CONF_LIST, "" },
    { "agent.workloads", CONF_TEXT, VIRTID_SYSCONFDIR "/workloads.conf" },
    { "agent.endorsement_password_file", CONF_TEXT, "" },
    { NULL, CONF_TEXT, NULL },
};

struct options {
    const char *config, *audience, *nonce, *exporter;
    int wait_seconds, ready_fd;
};

void
agent_socket_path(const struct conf *conf, char ret[static SOCKET_PATH_MAX])
{
    snprintf(ret, SOCKET_PATH_MAX, "%.90s/agent.sock", conf_text(conf, "agent.run_dir"));
}

int
exit_status_of(const struct error *err)
{
    static const int statuses[] = { [ERROR_NONE] = 0,   [ERROR_INPUT] = 2,
                                    [ERROR_DENIED] = 3, [ERROR_MISSING] = 4,
                                    [ERROR_BUSY] = 5,   [ERROR_SYSTEM] = 1 };

    return statuses[err->code];
}

int
stop_signal_fd(struct error *err)
{
    sigset_t stop;
    int fd;

    sigemptyset(&stop);
    sigaddset(&stop, SIGTERM);
    sigaddset(&stop, SIGINT);
    if (pthread_sigmask(SIG_BLOCK, &stop, NULL) != 0)
        return error_set(err, ERROR_SYSTEM, "signal mask");
    fd = signalfd(-1, &stop, SFD_CLOEXEC | SFD_NONBLOCK);
    if (fd < 0)
        return error_sys(err, errno, "signalfd");
    return fd;
}

static int
number(const char *text, int max, const char *what)
{
    char *end;
    long n;

    errno = 0;
    n = strtol(text, &end, 10);
    if (errno || *text == '\0' || *end || n < 0 || n > max) {
        fprintf(stderr, "virtid-agent: %s is no number from 0 to %d\n", what, max);
        return -1;
    }
    return (int)n;
}

/* -1: go on; else the exit status. */
static int
parse_options(int argc, char **argv, struct options *o)
{
    static const struct option LONG[] = { { "audience", required_argument, NULL, 'a' },
                                          { "config", required_argument, NULL, 'c' },
                                          { "wait", required_argument, NULL, 'w' },
                                          { "ready-fd", required_argument, NULL, 'r' },
                                          { "nonce", required_argument, NULL, 'n' },
                                          { "exporter", required_argument, NULL, 'e' },
                                          { "help", no_argument, NULL, 'h' },
                                          { "version", no_argument, NULL, 'V' },
                                          { NULL, 0, NULL, 0 } };
    int c;

    while ((c = getopt_long(argc, argv, "a:c:w:hV", LONG, NULL)) != -1) {
        if (c == 'a')
            o->audience = optarg;
        else if (c == 'c')
            o->config = optarg;
        else if (c == 'n')
            o->nonce = optarg;
        else if (c == 'e')
            o->exporter = optarg;
        else if (c == 'w' && (o->wait_seconds = number(optarg, 86400, "--wait")) < 0)
            return 2;
        else if (c == 'r' && (o->ready_fd = number(optarg, 1 << 20, "--ready-fd")) < 0)
            return 2;
        else if (c == 'h' || c == 'V') {
            fputs(c == 'h' ? USAGE : "virtid-agent " PACKAGE_VERSION "\n", stdout);
            return 0;
        } else if (c == '?') {
            return 2;
        }
    }
    return -1;
}

static int
usage_error(const char *what)
{
    fprintf(stderr, "virtid-agent: %s (virtid-agent --help)\n", what);
    return 2;
}

static int
run_command(const struct options *o, int n, char **words, const struct conf *conf)
{
    const char *command = words[0];

    if (strcmp(command, "run") == 0 && n == 1)
        return cmd_run(conf, o->ready_fd);
    if (strcmp(command, "status") == 0 && n == 1)
        return cmd_status(conf);
    if (strcmp(command, "audiences") == 0 && n == 1)
        return cmd_audiences(conf);
    if (strcmp(command, "reload") == 0 && n == 1)
        return cmd_reload(conf);
    if (strcmp(command, "seal") == 0 && n == 1)
        return cmd_seal(conf);
    if (strcmp(command, "exec") == 0)
        return o->audience && n > 1 ? cmd_exec(conf, o->audience, o->wait_seconds, words + 1)
                                    : usage_error("exec needs -a AUDIENCE -- COMMAND");
    if (strcmp(command, "token") == 0 && n == 1)
        return o->audience ? cmd_token(conf, o->audience, o->wait_seconds)
                           : usage_error("token needs -a AUDIENCE");
    if (strcmp(command, "prove") == 0 && n == 1)
        return o->audience && o->nonce && o->exporter
                   ? cmd_prove(conf, o->audience, o->nonce, o->exporter)
                   : usage_error("prove needs -a AUDIENCE --nonce=HEX --exporter=HEX");
    if (strcmp(command, "serve") == 0)
        return n == 2 ? cmd_serve(conf, words[1], o->ready_fd)
                      : usage_error("serve needs ADDRESS:PORT");
    return usage_error("unknown command");
}

int
main(int argc, char **argv)
{
    struct options o = { .config = VIRTID_SYSCONFDIR "/agent.conf", .ready_fd = -1 };
    CLEANUP(conf_free) struct conf *conf = NULL;
    struct error err = { 0 };
    int status;

    json_watch_memory();
    log_open("virtid-agent", LOG_LEVEL_INFO);
    status = parse_options(argc, argv, &o);
    if (status >= 0)
        return status;
    if (optind >= argc)
        return usage_error("run, token, prove, exec, audiences, serve, status, reload or seal?");
    /* A command that is run must find what it would have found without us. */
    if (strcmp(argv[optind], "exec") != 0)
        process_harden();
    if (conf_read(o.config, KEYS, true, &conf, &err) < 0) {
        log_error(&err, "configuration");
        return 2;
    }
    return run_command(&o, argc - optind, argv + optind, conf);
}
