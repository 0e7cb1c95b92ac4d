/*
 * virtid top - the present of a trust domain: leases, proofs, refusals, drawn again every two seconds
 */
#include "config.h"

#include <errno.h>
#include <getopt.h>
#include <poll.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/ioctl.h>
#include <termios.h>
#include <unistd.h>

#include "cli/command.h"
#include "cli/daemon_client.h"
#include "cli/identity.h"
#include "cli/table.h"
#include "cli/when.h"

enum { EVERY_SECONDS = 2, EVERY_MAX = 3600, LINES_WITHOUT_VMS = 10, SHOWN_REFUSALS = 5, SHOWN_HOSTS = 8 };

/* Where a table's rows end, so that all of them fit onto the terminal. */
struct room {
    size_t vms, hosts, refusals;
};

static volatile sig_atomic_t ended;

static void
on_end(int number)
{
    (void)number;
    ended = 1;
}

/* It only ends the wait. */
static void
on_resize(int number)
{
    (void)number;
}

static json_int_t
number(const json_t *object, const char *name)
{
    return json_integer_value(json_object_get(object, name));
}

/* How much more than at the last look, in a second. */
static double
rate(const json_t *now, const json_t *before, const char *group, const char *name)
{
    double seconds = (double)(number(now, "time") - number(before, "time")) / 1000;
    json_int_t more = number(json_object_get(now, group), name) - number(json_object_get(before, group), name);

    /* A service that was started between begins at nothing again. */
    return seconds > 0 && more > 0 ? (double)more / seconds : 0;
}

static json_int_t
sum(const json_t *object, const char *but)
{
    json_int_t all = 0;
    const char *name;
    json_t *value;

    json_object_foreach((json_t *)(uintptr_t)object, name, value) {
        if (strcmp(name, but) != 0)
            all += json_integer_value(value);
    }
    return all;
}

static void
print_words(const char *title, const json_t *words)
{
    const char *name;
    json_t *value;

    if (json_object_size(words) == 0)
        return;
    printf("%s:", title);
    json_object_foreach((json_t *)(uintptr_t)words, name, value)
        printf(" %s %lld", name, (long long)json_integer_value(value));
    putchar('\n');
}

static void
print_head(const json_t *now, const json_t *before)
{
    const json_t *proofs = json_object_get(now, "proofs"), *leases = json_object_get(now, "leases");
    char at[WHEN_MAX], since[WHEN_MAX];

    printf("%s   %s   started %s%s%s%s\n", daemon_text(now, "trust_domain", "-"),
           when_at(json_object_get(now, "time"), at), when_ago(json_object_get(now, "since"), since),
           json_is_true(json_object_get(now, "grace")) ? "   GRACE: waits for its hosts" : "",
           json_is_true(json_object_get(now, "recovery")) ? "   RECOVERY: virtid recovery show" : "",
           json_is_true(json_object_get(now, "clock_behind")) ? "   CLOCK BEHIND: nothing is granted" : "");
    printf("Leases: %lld run, %lld lapsed, %lld move, %lld free.  Hosts: %lld.\n", (long long)number(leases, "runs"),
           (long long)number(leases, "lapsed"), (long long)number(leases, "move"), (long long)number(leases, "free"),
           (long long)number(now, "joined"));
    printf("Proofs: %lld taken, %lld refused.", (long long)sum(proofs, "refused"), (long long)number(proofs, "refused"));
    if (before)
        printf("  In a second: %.1f tokens, %.1f refused, %.1f renewals.", rate(now, before, "proofs", "token"),
               rate(now, before, "proofs", "refused"), rate(now, before, "lease_answers", "ok"));
    putchar('\n');
    print_words("Proofs refused", json_object_get(now, "proofs_refused"));
    print_words("Hosts refused", json_object_get(now, "hosts_refused"));
    putchar('\n');
}

/* The table of an array, its first `room` rows; says how many more there are. */
static int
print_rows(const char *const *columns, const json_t *array, size_t room,
           int (*add)(struct table *table, const json_t *row, struct error *err), struct error *err)
{
    CLEANUP(table_free) struct table *table = NULL;
    size_t n = json_array_size(array);

    if (n == 0)
        return 0;
    if (table_new(columns, &table, err) < 0)
        return -1;
    for (size_t i = 0; i < n && i < room; i++) {
        if (add(table, json_array_get(array, i), err) < 0)
            return -1;
    }
    return table_print(table, err);
}

static int
add_vm(struct table *table, const json_t *vm, struct error *err)
{
    char factors[64], when[WHEN_MAX];
    const char *cells[] = { daemon_text(vm, "name", ""),
                            daemon_text(vm, "uuid", ""),
                            daemon_text(vm, "state", ""),
                            daemon_text(vm, "host", ""),
                            daemon_text(vm, "lease", ""),
                            daemon_text(vm, "seconds_left", ""),
                            identity_join(json_object_get(vm, "factors"), factors, sizeof factors),
                            when_ago(json_object_get(vm, "last_token"), when) };

    return table_row(table, cells, err);
}

static int
add_host(struct table *table, const json_t *host, struct error *err)
{
    char when[WHEN_MAX];
    const char *cells[] = { daemon_text(host, "name", ""), daemon_text(host, "vms", ""),
                            when_ago(json_object_get(host, "last_seen"), when), daemon_text(host, "hook", "") };

    return table_row(table, cells, err);
}

static int
add_refusal(struct table *table, const json_t *record, struct error *err)
{
    char when[WHEN_MAX];
    const char *cells[] = { when_ago(json_object_get(record, "time"), when), daemon_text(record, "who", ""),
                            daemon_text(record, "uuid", ""), daemon_text(record, "problem", ""),
                            daemon_text(record, "seen", "") };

    return table_row(table, cells, err);
}

static int
print_all(const json_t *now, const json_t *before, const struct room *room, struct error *err)
{
    static const char *const vms[] = { "Name", "UUID", "State", "Host", "Lease", "Left", "Factors", "Last token", NULL };
    static const char *const hosts[] = { "Host", "VMs", "Last report", "Hook", NULL };
    static const char *const refusals[] = { "Refused", "By", "VM", "Problem", "Seen", NULL };

    print_head(now, before);
    return print_rows(vms, json_object_get(now, "vms"), room->vms, add_vm, err) < 0 ||
                   print_rows(hosts, json_object_get(now, "hosts"), room->hosts, add_host, err) < 0 ||
                   print_rows(refusals, json_object_get(now, "refusals"), room->refusals, add_refusal, err) < 0
               ? -1
               : 0;
}

static int
look(const struct cli *cli, json_t **ret, struct error *err)
{
    return daemon_ask(cli->service_socket, "GET", "/v1/admin/top", NULL, ret, err);
}

static int
show_once(const struct cli *cli, struct error *err)
{
    static const struct room all = { SIZE_MAX, SIZE_MAX, SIZE_MAX };
    CLEANUP(json_decref) json_t *now = NULL;

    if (look(cli, &now, err) < 0)
        return -1;
    if (cli->json)
        return cli_json(now) == EXIT_DONE ? 0 : -1;
    return print_all(now, NULL, &all, err);
}

/* ---- a terminal ---- */

static struct room
measure(const json_t *now)
{
    struct winsize size = { .ws_row = 24 };
    size_t hosts = json_array_size(json_object_get(now, "hosts"));
    size_t refusals = json_array_size(json_object_get(now, "refusals"));
    struct room room = { .hosts = hosts < SHOWN_HOSTS ? hosts : SHOWN_HOSTS,
                         .refusals = refusals < SHOWN_REFUSALS ? refusals : SHOWN_REFUSALS };
    size_t used;

    (void)ioctl(STDOUT_FILENO, TIOCGWINSZ, &size);
    used = LINES_WITHOUT_VMS + (hosts ? room.hosts + 3 : 0) + (refusals ? room.refusals + 3 : 0);
    room.vms = size.ws_row > used ? size.ws_row - used : 1;
    return room;
}

/* Without echo, and a key is there when it is pressed; signals stay. */
static int
take_terminal(struct termios *ret_before)
{
    struct sigaction end = { .sa_handler = on_end }, resize = { .sa_handler = on_resize };
    struct termios raw;

    sigaction(SIGINT, &end, NULL);
    sigaction(SIGTERM, &end, NULL);
    sigaction(SIGHUP, &end, NULL);
    sigaction(SIGWINCH, &resize, NULL);
    if (tcgetattr(STDIN_FILENO, ret_before) < 0)
        return -1; /* no keys then: Ctrl-C ends it */
    raw = *ret_before;
    raw.c_lflag &= ~(tcflag_t)(ICANON | ECHO);
    return tcsetattr(STDIN_FILENO, TCSANOW, &raw);
}

/* True: it is to end. */
static bool
wait_for_key(bool has_keys, int ms)
{
    struct pollfd in = { .fd = has_keys ? STDIN_FILENO : -1, .events = POLLIN };
    char key = 0;
    int rc = poll(&in, 1, ms);

    if (rc > 0 && read(STDIN_FILENO, &key, 1) <= 0)
        return true; /* the terminal is gone */
    return ended || key == 'q' || key == 'Q';
}

static int
draw(const json_t *now, const json_t *before, struct error *err)
{
    struct room room = measure(now);

    fputs("\033[H\033[J", stdout); /* home, and clear from there */
    if (print_all(now, before, &room, err) < 0)
        return -1;
    fputs("q ends", stdout);
    return fflush(stdout) == 0 ? 0 : error_sys(err, errno, "terminal");
}

static int
show_until_key(const struct cli *cli, int seconds, bool has_keys, struct error *err)
{
    CLEANUP(json_decref) json_t *before = NULL;

    do {
        CLEANUP(json_decref) json_t *now = NULL;

        if (look(cli, &now, err) == 0) {
            if (draw(now, before, err) < 0)
                return -1;
            json_decref(before);
            before = STEAL(now);
        } else if (!before) {
            return -1;
        } else { /* it is restarted, perhaps */
            printf("\033[H\033[Kerror: %s", err->text);
            (void)fflush(stdout);
        }
    } while (!wait_for_key(has_keys, seconds * 1000));
    return 0;
}

static int
show_live(const struct cli *cli, int seconds, struct error *err)
{
    struct termios terminal;
    bool has_keys;
    int rc;

    fputs("\033[?1049h\033[?25l\033[?7l", stdout); /* a page of its own, no cursor, long lines cut */
    has_keys = take_terminal(&terminal) == 0;
    rc = show_until_key(cli, seconds, has_keys, err);
    if (has_keys)
        (void)tcsetattr(STDIN_FILENO, TCSANOW, &terminal);
    fputs("\033[?7h\033[?25h\033[?1049l", stdout);
    (void)fflush(stdout);
    return rc;
}

int
cmd_top(const struct cli *cli, int argc, char **argv)
{
    static const struct option options[] = { { "once", no_argument, NULL, 'o' },
                                             { "every", required_argument, NULL, 'e' },
                                             { 0 } };
    long seconds = EVERY_SECONDS;
    bool once = false;
    struct error err = { 0 };
    char *end;
    int option;

    while ((option = getopt_long(argc, argv, "", options, NULL)) != -1) {
        if (option == 'o') {
            once = true;
        } else if (option == 'e') {
            seconds = strtol(optarg, &end, 10);
            if (end == optarg || *end || seconds < 1 || seconds > EVERY_MAX)
                return cli_usage("--every: 1 to %d seconds", EVERY_MAX);
        } else {
            return EXIT_USAGE;
        }
    }
    if (optind < argc)
        return cli_usage("unexpected \"%s\"", argv[optind]);
    once = once || cli->json || !isatty(STDOUT_FILENO);
    return (once ? show_once(cli, &err) : show_live(cli, (int)seconds, &err)) < 0 ? cli_fail(&err) : EXIT_DONE;
}
