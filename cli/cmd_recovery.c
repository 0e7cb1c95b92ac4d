/*
 * virtid recovery - what a restored database lacked, and that it is in order now
 */
#include "config.h"

#include <errno.h>
#include <getopt.h>
#include <stdio.h>
#include <string.h>

#include "cli/command.h"
#include "cli/confirm.h"
#include "cli/daemon_client.h"
#include "cli/table.h"
#include "cli/when.h"
#include "lib/common/cleanup.h"
#include "lib/wire/audit_record.h"

/* As virtid-tokend logs each record. */
#define AUDIT_LINE "event=audit "

static int
ask(const struct cli *cli, json_t **ret, struct error *err)
{
    return daemon_ask(cli->service_socket, "GET", "/v1/admin/recovery", NULL, ret, err);
}

static void
print_when(const char *name, const json_t *ms)
{
    char at[WHEN_MAX], ago[WHEN_MAX], text[2 * WHEN_MAX + 4];

    snprintf(text, sizeof text, "%s (%s)", when_at(ms, at), when_ago(ms, ago));
    table_pair(name, text);
}

static int
print_silent(const json_t *hosts, struct error *err)
{
    static const char *const COLUMNS[] = { "Host not heard since", "VMs", "Last heard", NULL };
    CLEANUP(table_free) struct table *table = NULL;
    json_t *host;
    size_t i;

    if (json_array_size(hosts) == 0)
        return 0;
    if (table_new(COLUMNS, &table, err) < 0)
        return -1;
    json_array_foreach(hosts, i, host) {
        char ago[WHEN_MAX];
        const char *cells[] = { daemon_text(host, "name", "-"), daemon_text(host, "vms", "-"),
                                when_ago(json_object_get(host, "last_seen"), ago) };

        if (table_row(table, cells, err) < 0)
            return -1;
    }
    puts("");
    return table_print(table, err);
}

static int
print_state(const json_t *o, struct error *err)
{
    print_when("Since", json_object_get(o, "since"));
    print_when("Newest record", json_object_get(o, "newest_record"));
    table_pair("Receipts taken", daemon_text(o, "receipts_taken", "-"));
    table_pair("Refused", daemon_text(o, "receipts_refused", "-"));
    table_pair("Hosts' certificates", daemon_text(o, "certificates_taken", "-"));
    table_pair("Unknown hosts", daemon_text(o, "hosts_unknown", "-"));
    if (json_is_true(json_object_get(o, "grace")))
        puts("The service still waits for its hosts to report.");
    return print_silent(json_object_get(o, "silent_hosts"), err);
}

/* ---- what operators said after the backup was made, from the log ---- */

static int
add_word(struct table *table, const struct audit_record *r, struct error *err)
{
    CLEANUP(json_decref) json_t *time = json_integer(r->ms);
    char at[WHEN_MAX], uuid[VM_UUID_TEXT] = "", about[440];
    const char *cells[] = { when_at(time, at), r->what, about };

    if (r->has_uuid)
        vm_uuid_print(&r->uuid, uuid);
    snprintf(about, sizeof about, "%s%s%.120s%s%.120s%s%.120s", uuid, *uuid && *r->seen ? ", " : "", r->seen,
             *r->expected && (*r->seen || *uuid) ? ", " : "", r->expected,
             *r->why && (*r->seen || *uuid || *r->expected) ? ": " : "", r->why);
    return table_row(table, cells, err);
}

/* A word of an operator; lines of others have their own word behind the first "event=". */
static bool
is_word(const char *line, int64_t after_ms, struct audit_record *ret)
{
    CLEANUP(json_decref) json_t *o = NULL;
    const char *at = strstr(line, "event=");
    struct error ignored;

    return at && strncmp(at, AUDIT_LINE, strlen(AUDIT_LINE)) == 0 &&
           json_parse(at + strlen(AUDIT_LINE), strlen(at + strlen(AUDIT_LINE)), &o, &ignored) == 0 &&
           audit_record_read(o, ret, &ignored) == 0 && ret->ms > after_ms && strncmp(ret->who, "admin ", 6) == 0;
}

static int
print_words(const char *file, int64_t after_ms, struct error *err)
{
    static const char *const COLUMNS[] = { "When", "What", "Of", NULL };
    CLEANUP(table_free) struct table *table = NULL;
    FILE *log = strcmp(file, "-") == 0 ? stdin : fopen(file, "re");
    struct audit_record record;
    char line[4096];
    int rc = 0;

    if (!log)
        return error_sys(err, errno, "%s", file);
    rc = table_new(COLUMNS, &table, err);
    while (rc == 0 && fgets(line, sizeof line, log)) {
        if (is_word(line, after_ms, &record))
            rc = add_word(table, &record, err);
    }
    if (rc == 0 && ferror(log))
        rc = error_sys(err, errno, "%s", file);
    if (log != stdin)
        fclose(log);
    if (rc < 0)
        return -1;
    puts("\nSaid by operators since, which the database does not know; what still counts is to be said again:\n");
    return table_print(table, err);
}

int
cmd_recovery_show(const struct cli *cli, int argc, char **argv)
{
    static const struct option options[] = { { "audit", required_argument, NULL, 'a' }, { 0 } };
    CLEANUP(json_decref) json_t *o = NULL;
    const char *audit = NULL;
    struct error err = { 0 };
    int option;

    while ((option = getopt_long(argc, argv, "", options, NULL)) != -1) {
        if (option != 'a')
            return cli_usage("wrong option");
        audit = optarg;
    }
    if (optind != argc)
        return cli_usage("unexpected \"%s\"", argv[optind]);
    if (ask(cli, &o, &err) < 0)
        return cli_fail(&err);
    if (cli->json)
        return cli_json(o);
    if (!json_is_true(json_object_get(o, "recovery"))) {
        puts("The service does not work with a restored database.");
        return EXIT_DONE;
    }
    if (print_state(o, &err) < 0 ||
        (audit && print_words(audit, json_integer_value(json_object_get(o, "newest_record")), &err) < 0))
        return cli_fail(&err);
    if (!audit)
        puts("\nLocks, retirements and settings made since are not in it: give the service's log of elsewhere,\n"
             "virtid recovery show --audit FILE.  VMs whose state was newer still: virtid accept --all-behind --dry-run.\n"
             "When all is in order: virtid recovery finish.");
    return EXIT_DONE;
}

int
cmd_recovery_finish(const struct cli *cli, int argc, char **argv)
{
    static const struct option options[] = { { "yes", no_argument, NULL, 'y' }, { 0 } };
    CLEANUP(json_decref) json_t *o = NULL;
    CLEANUP(json_decref) json_t *answer = NULL;
    CLEANUP(json_decref) json_t *body = json_object();
    struct error err = { 0 };
    bool yes = false;
    int option;

    while ((option = getopt_long(argc, argv, "", options, NULL)) != -1) {
        if (option != 'y')
            return cli_usage("wrong option");
        yes = true;
    }
    if (optind != argc)
        return cli_usage("unexpected \"%s\"", argv[optind]);
    if (ask(cli, &o, &err) < 0)
        return cli_fail(&err);
    if (json_is_true(json_object_get(o, "recovery")) &&
        confirm(yes, &err, "%zu hosts have not been heard since the database was restored. From now on VMs are enrolled "
                "and placed again. Is it in order?", json_array_size(json_object_get(o, "silent_hosts"))) < 0)
        return cli_fail(&err);
    if (daemon_ask(cli->service_socket, "POST", "/v1/admin/recovery/finish", body, &answer, &err) < 0)
        return cli_fail(&err);
    puts("Recovery finished");
    return EXIT_DONE;
}
