/*
 * virtid audit - what the token service decided
 */
#include "config.h"

#include <getopt.h>
#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "cli/command.h"
#include "cli/daemon_client.h"
#include "cli/identity.h"
#include "cli/when.h"
#include "lib/common/cleanup.h"
#include "lib/wire/audit_head.h"

enum { LAST = 20, LAST_MAX = 64 /* a page */, FOLLOW_S = 1 };

struct wish {
    char uuid[VM_UUID_TEXT];
    const char *who, *what;
    bool follow;
    int64_t last, after; /* after: -1, or from there on instead of the last ones */
};

/* Percent-encodes what is no unreserved character (RFC 3986, 2.3). */
static void
add_parameter(char *path, size_t size, const char *name, const char *value)
{
    size_t len = strlen(path);

    if (!value || !*value)
        return;
    len += (size_t)snprintf(path + len, size - len, "&%s=", name);
    for (; *value && len + 4 < size; value++) {
        bool plain = strchr("-._~", *value) || (*value >= '0' && *value <= '9') ||
                     ((*value | 32) >= 'a' && (*value | 32) <= 'z');

        len += (size_t)snprintf(path + len, size - len, plain ? "%c" : "%%%02X", (unsigned char)*value);
    }
}

/* A page: with `after` from there on, oldest first; with -1 the newest `limit`, newest first. */
static int
ask_page(const struct cli *cli, const struct wish *wish, int64_t after, int64_t limit, json_t **ret, const json_t **ret_list,
         struct error *err)
{
    char path[800], number[24];

    snprintf(path, sizeof path, "/v1/admin/audit?limit=%" PRId64, limit);
    snprintf(number, sizeof number, "%" PRId64, after);
    add_parameter(path, sizeof path, "after", after >= 0 ? number : NULL);
    add_parameter(path, sizeof path, "uuid", wish->uuid);
    add_parameter(path, sizeof path, "who", wish->who);
    add_parameter(path, sizeof path, "what", wish->what);
    if (daemon_ask(cli->service_socket, "GET", path, NULL, ret, err) < 0)
        return -1;
    return json_get_array(*ret, "audit", false, SIZE_MAX, ret_list, err);
}

static void
print_record(const struct cli *cli, const json_t *o)
{
    char at[WHEN_MAX];
    const char *problem = daemon_text(o, "problem", ""), *why = daemon_text(o, "why", "");
    const char *seen = daemon_text(o, "seen", ""), *expected = daemon_text(o, "expected", "");

    if (cli->json) {
        cli_json(o);
        return;
    }
    printf("%s  %s  %s", when_at(json_object_get(o, "time"), at), daemon_text(o, "who", ""), daemon_text(o, "what", ""));
    if (json_object_get(o, "uuid"))
        printf("  %s", daemon_text(o, "uuid", ""));
    if (strcmp(daemon_text(o, "what", ""), AUDIT_HEAD_WHAT) == 0) { /* what it says is for `virtid audit verify` */
        printf("  signed up to record %lld%s%s\n", (long long)json_integer_value(json_object_get(o, "id")) - 1, *why ? "  " : "", why);
        return;
    }
    if (*problem)
        printf("  %s", problem);
    if (*seen)
        printf("  seen %s", seen);
    if (*expected)
        printf("  expected %s", expected);
    printf("%s%s\n", *why ? "  " : "", why);
}

/* The id of the newest record of all; 0: there is none. */
static int
ask_newest(const struct cli *cli, int64_t *ret, struct error *err)
{
    const struct wish everything = { .last = 1 };
    CLEANUP(json_decref) json_t *answer = NULL;
    const json_t *list = NULL;

    if (ask_page(cli, &everything, -1, 1, &answer, &list, err) < 0)
        return -1;
    *ret = json_integer_value(json_object_get(json_array_get(list, 0), "id"));
    return 0;
}

/* Prints a page of what comes after *after, and moves that on: a page that is not full says that all before it was looked at. */
static int
print_page(const struct cli *cli, const struct wish *wish, int64_t newest, int64_t *after, struct error *err)
{
    int64_t looked = wish->who || wish->what ? *after + AUDIT_SCAN : newest;
    CLEANUP(json_decref) json_t *answer = NULL;
    const json_t *list = NULL;

    if (ask_page(cli, wish, *after, LAST_MAX, &answer, &list, err) < 0)
        return -1;
    for (size_t i = 0; i < json_array_size(list); i++) {
        const json_t *o = json_array_get(list, i);

        print_record(cli, o);
        *after = json_integer_value(json_object_get(o, "id"));
    }
    if (looked > newest)
        looked = newest;
    if (json_array_size(list) < LAST_MAX && *after < looked)
        *after = looked;
    return 0;
}

static int
print_from(const struct cli *cli, const struct wish *wish, int64_t *after, struct error *err)
{
    int64_t newest;

    if (ask_newest(cli, &newest, err) < 0)
        return -1;
    if (*after > newest)
        return error_set(err, ERROR_DENIED, "the service has no record %" PRId64 ": its newest is %" PRId64 ", so its "
                         "database is an older one; begin another copy with --all", *after, newest);
    while (*after < newest) {
        if (print_page(cli, wish, newest, after, err) < 0)
            return -1;
    }
    fflush(stdout);
    return 0;
}

/* Prints the newest ones, oldest first; *ret_after is where to go on. */
static int
print_last(const struct cli *cli, const struct wish *wish, int64_t *ret_after, struct error *err)
{
    CLEANUP(json_decref) json_t *answer = NULL;
    const json_t *list = NULL;

    if (ask_newest(cli, ret_after, err) < 0 || ask_page(cli, wish, -1, wish->last, &answer, &list, err) < 0)
        return -1;
    for (size_t i = json_array_size(list); i > 0; i--) {
        const json_t *o = json_array_get(list, i - 1);
        int64_t id = json_integer_value(json_object_get(o, "id"));

        print_record(cli, o);
        if (id > *ret_after) /* it came between the two requests */
            *ret_after = id;
    }
    fflush(stdout);
    return 0;
}

static int
read_options(const struct cli *cli, int argc, char **argv, struct wish *ret, struct error *err)
{
    static const struct option options[] = { { "follow", no_argument, NULL, 'f' },
                                             { "all", no_argument, NULL, 'a' },
                                             { "after", required_argument, NULL, 'i' },
                                             { "last", required_argument, NULL, 'n' },
                                             { "who", required_argument, NULL, 'w' },
                                             { "what", required_argument, NULL, 't' },
                                             { 0 } };
    CLEANUP(json_decref) json_t *found = NULL;
    struct wish wish = { .last = LAST, .after = -1 };
    char *end;
    int c;

    while ((c = getopt_long(argc, argv, "f", options, NULL)) != -1) {
        switch (c) {
        case 'f': wish.follow = true; break;
        case 'a': wish.after = 0; break;
        case 'w': wish.who = optarg; break;
        case 't': wish.what = optarg; break;
        case 'i':
            wish.after = strtoll(optarg, &end, 10);
            if (*end || end == optarg || wish.after < 0)
                return error_set(err, ERROR_INPUT, "--after is the id of a record");
            break;
        case 'n':
            wish.last = strtol(optarg, &end, 10);
            if (*end || wish.last < 1 || wish.last > LAST_MAX)
                return error_set(err, ERROR_INPUT, "--last is a number from 1 to %d (--all prints all)", LAST_MAX);
            break;
        default: return error_set(err, ERROR_INPUT, "audit [DOMAIN] [--follow] [--all|--after ID|--last N] [--who WHO] [--what WORD]");
        }
    }
    if ((wish.who && strlen(wish.who) > AUDIT_WHO_MAX) || (wish.what && strlen(wish.what) > AUDIT_WORD_MAX))
        return error_set(err, ERROR_INPUT, "nobody and nothing in the audit has so long a name");
    if (argc - optind > 1)
        return error_set(err, ERROR_INPUT, "audit shows one domain, or all");
    if (optind < argc) {
        if (identity_find(cli, argv + optind, 1, &found, err) < 0)
            return -1;
        if (json_array_size(found) != 1)
            return error_set(err, ERROR_MISSING, "'%s' names %zu domains; audit shows one, or all", argv[optind],
                             json_array_size(found));
        snprintf(wish.uuid, sizeof wish.uuid, "%s", daemon_text(json_array_get(found, 0), "uuid", ""));
    }
    *ret = wish;
    return 0;
}

int
cmd_audit(const struct cli *cli, int argc, char **argv)
{
    struct error err = { 0 };
    struct wish wish;
    int64_t after;

    if (read_options(cli, argc, argv, &wish, &err) < 0)
        return err.code == ERROR_INPUT ? cli_usage("%s", err.text) : cli_fail(&err);
    after = wish.after;
    if ((after >= 0 ? print_from(cli, &wish, &after, &err) : print_last(cli, &wish, &after, &err)) < 0)
        return cli_fail(&err);
    while (wish.follow) {
        sleep(FOLLOW_S);
        if (print_from(cli, &wish, &after, &err) < 0)
            return cli_fail(&err);
    }
    return EXIT_DONE;
}
