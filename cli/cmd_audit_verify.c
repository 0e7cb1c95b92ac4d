/*
 * virtid audit verify, virtid audit key - was the audit changed since, or a copy of it that was kept elsewhere?
 */
#include "config.h"

#include <errno.h>
#include <getopt.h>
#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "cli/command.h"
#include "cli/daemon_client.h"
#include "lib/common/cleanup.h"
#include "lib/common/encode.h"
#include "lib/common/fdio.h"
#include "lib/wire/audit_head.h"

enum { LINE_MAX_LEN = 4096, PAGE = 64, KEY_TEXT_MAX = 256 };

/* How virtid-tokend logs each record. */
#define LOG_WORD "event=audit "

struct chain {
    const struct key *key;
    int64_t first, last;
    uint8_t hash[AUDIT_HASH]; /* of the last one */
    int64_t signed_id;        /* of the newest head in it; 0: none */
    uint64_t line;
    int64_t back_to; /* it goes back to this record, and no head has said yet that the database was restored; 0: no */
    /* Of a copy: the hashes of all in it, for what stands there twice. */
    bool keeps;
    uint8_t (*kept)[AUDIT_HASH];
    size_t room;
};

static void
free_chain(struct chain *chain)
{
    free(chain->kept);
}

static int
keep_hash(struct chain *chain, int64_t id, const uint8_t hash[static AUDIT_HASH], struct error *err)
{
    size_t at = (size_t)(id - chain->first);

    if (!chain->keeps)
        return 0;
    if (at >= chain->room) {
        size_t room = chain->room ? 2 * chain->room : 4096;
        void *kept = reallocarray(chain->kept, room, AUDIT_HASH);

        if (!kept)
            return error_set(err, ERROR_SYSTEM, "no memory for so long a copy");
        chain->kept = kept;
        chain->room = room;
    }
    memcpy(chain->kept[at], hash, AUDIT_HASH);
    return 0;
}

static int
not_following(const struct chain *chain, const struct audit_record *r, struct error *err)
{
    return error_set(err, ERROR_DENIED,
                     "record %" PRId64 " does not follow from record %" PRId64
                     ": one of the two was changed, or records between them are gone",
                     r->id, chain->last);
}

/* One that stands in the copy already is skipped; else it goes back to there, as a restored database does. */
static int
take_earlier(struct chain *chain, const struct audit_record *r, bool *ret_skip, struct error *err)
{
    uint8_t expected[AUDIT_HASH];

    *ret_skip = memcmp(chain->kept[r->id - chain->first], r->hash, sizeof r->hash) == 0;
    if (*ret_skip)
        return 0;
    if (r->id == chain->first || audit_record_hash(chain->kept[r->id - 1 - chain->first], r, expected, err) < 0 ||
        memcmp(expected, r->hash, sizeof expected) != 0)
        return not_following(chain, r, err);
    if (!chain->back_to)
        chain->back_to = r->id;
    return 0;
}

static int
forked(const struct chain *chain, struct error *err)
{
    return error_set(err, ERROR_DENIED, "record %" PRId64 " stands there twice, with other words, and no signed head says "
                     "that the database was restored: it was written anew", chain->back_to);
}

/* The head in a record, held against the records before it. */
static int
take_head(struct chain *chain, const struct audit_record *r, struct error *err)
{
    struct audit_head head;

    if (audit_head_read(r, &head, err) < 0)
        return -1;
    if (audit_head_check(&head, chain->key, err) < 0)
        return error_set(err, ERROR_DENIED, "record %" PRId64 " is a head that the signer did not sign", r->id);
    if (head.id != r->id - 1 || (chain->last > 0 && memcmp(head.hash, chain->hash, sizeof head.hash) != 0))
        return error_set(err, ERROR_DENIED, "record %" PRId64 " is not the one that was signed: it, or one before it, was changed",
                         r->id - 1);
    if (head.line < chain->line || (chain->back_to && head.line == chain->line))
        return chain->back_to ? forked(chain, err) : not_following(chain, r, err);
    if (head.line > chain->line && (chain->line || r->why[0])) /* or the first head begins one, and says so */
        printf("The database or the signer's folder was restored: another line of records begins at record %" PRId64 ".\n",
               chain->back_to ? chain->back_to : r->id);
    chain->back_to = 0;
    chain->line = head.line;
    if (chain->last > 0) /* else its record is not there, and nothing is shown */
        chain->signed_id = head.id;
    return 0;
}

/* The first record of a copy that begins in the middle is the anchor of the others. */
static int
follows(struct chain *chain, const struct audit_record *r, struct error *err)
{
    uint8_t expected[AUDIT_HASH];
    bool skip = false;

    if (chain->last == 0)
        chain->first = r->id;
    if (chain->keeps && chain->last > 0 && r->id <= chain->last && r->id >= chain->first) {
        if (take_earlier(chain, r, &skip, err) < 0)
            return -1;
        if (skip)
            return 0;
        chain->last = r->id - 1;
        memcpy(chain->hash, chain->kept[chain->last - chain->first], sizeof chain->hash);
    } else if (chain->last > 0 || r->id == 1) {
        if (audit_record_hash(chain->hash, r, expected, err) < 0)
            return -1;
        if (r->id != chain->last + 1 || memcmp(expected, r->hash, sizeof expected) != 0)
            return not_following(chain, r, err);
    }
    if (audit_head_is(r) && take_head(chain, r, err) < 0)
        return -1;
    chain->last = r->id;
    memcpy(chain->hash, r->hash, sizeof chain->hash);
    return keep_hash(chain, r->id, r->hash, err);
}

/* ---- the service ---- */

static int
point_of(const char *text, struct key **ret, struct error *err)
{
    uint8_t point[KEY_POINT_LEN];
    size_t len = 0;

    if (b64url_decode(text, strlen(text), point, sizeof point, &len, err) < 0 || len != sizeof point)
        return error_set(err, ERROR_INPUT, "no key as `virtid audit key` prints it");
    return key_from_point(point, ret, err);
}

static int
ask_signed(const struct cli *cli, json_t **ret, struct error *err)
{
    return daemon_ask(cli->service_socket, "GET", "/v1/admin/audit/head", NULL, ret, err);
}

/* A record that was signed, by number. */
struct signed_record {
    int64_t id;
    uint8_t hash[AUDIT_HASH];
};

static int
read_signed(const json_t *o, struct signed_record *ret, struct error *err)
{
    const char *hash = daemon_text(o, "hash", "");
    size_t len = 0;

    ret->id = json_integer_value(json_object_get(o, "record"));
    if (hex_decode(hash, strlen(hash), ret->hash, sizeof ret->hash, &len, err) < 0 || len != sizeof ret->hash)
        return error_set(err, ERROR_SYSTEM, "the service names no signed head");
    return 0;
}

static int
ask_records(const struct cli *cli, int64_t after, int limit, json_t **ret, const json_t **ret_list, struct error *err)
{
    char path[100];

    snprintf(path, sizeof path, "/v1/admin/audit?limit=%d&after=%" PRId64, limit, after);
    if (daemon_ask(cli->service_socket, "GET", path, NULL, ret, err) < 0)
        return -1;
    return json_get_array(*ret, "audit", false, SIZE_MAX, ret_list, err);
}

static int
walk_service(const struct cli *cli, const struct signed_record *newest, struct chain *chain, struct error *err)
{
    size_t n;

    do {
        CLEANUP(json_decref) json_t *answer = NULL;
        const json_t *list = NULL;

        if (ask_records(cli, chain->last, PAGE, &answer, &list, err) < 0)
            return -1;
        n = json_array_size(list);
        for (size_t i = 0; i < n; i++) {
            struct audit_record r;

            if (audit_record_read(json_array_get(list, i), &r, err) < 0 || follows(chain, &r, err) < 0)
                return -1;
            if (r.id == newest->id && memcmp(r.hash, newest->hash, sizeof r.hash) != 0)
                return error_set(err, ERROR_DENIED, "record %" PRId64 " is not the one that was signed: it, or one before "
                                 "it, was changed", r.id);
        }
    } while (n == PAGE);
    return chain->last >= newest->id
               ? 0
               : error_set(err, ERROR_DENIED, "the service's records end at %" PRId64 ", and record %" PRId64
                           " was signed: its database is an older one, or was cut", chain->last, newest->id);
}

/* ---- a copy ---- */

static void
close_file(FILE *file)
{
    if (file && file != stdin)
        (void)fclose(file);
}
DEFINE_CLEANUP(FILE *, close_file);

/* Of a line of a log its record, NULL: it has none; other lines are records themselves. */
static const char *
record_in(const char *line)
{
    const char *event = strstr(line, "event=");

    if (line[0] == '{')
        return line;
    return event && strncmp(event, LOG_WORD "{", strlen(LOG_WORD "{")) == 0 ? event + strlen(LOG_WORD) : NULL;
}

/* As `virtid --output json audit --follow` writes it, or the service's log. */
static int
walk_file(const char *path, struct chain *chain, struct error *err)
{
    CLEANUP(close_file) FILE *file = strcmp(path, "-") == 0 ? stdin : fopen(path, "re");
    char line[LINE_MAX_LEN];
    long n = 0;

    if (!file)
        return error_sys(err, errno, "%s", path);
    while (fgets(line, sizeof line, file)) {
        CLEANUP(json_decref) json_t *o = NULL;
        const char *text = record_in(line);
        struct audit_record r;
        struct error why = { 0 };

        n++;
        if (!text)
            continue;
        if (json_parse(text, strlen(text), &o, &why) < 0 || audit_record_read(o, &r, &why) < 0)
            return error_set(err, ERROR_INPUT, "%s, line %ld: %s", path, n, why.text);
        if (follows(chain, &r, err) < 0)
            return -1;
    }
    if (ferror(file))
        return error_sys(err, errno, "%s", path);
    if (chain->back_to)
        return forked(chain, err);
    return chain->last > 0 ? 0 : error_set(err, ERROR_INPUT, "%s has no record", path);
}

/* The service has the record that the copy ends with. */
static int
compare(const struct cli *cli, const struct chain *copy, struct error *err)
{
    CLEANUP(json_decref) json_t *answer = NULL;
    const json_t *list = NULL;
    struct audit_record r;

    if (ask_records(cli, copy->last - 1, 1, &answer, &list, err) < 0)
        return -1;
    if (json_array_size(list) == 0)
        return error_set(err, ERROR_DENIED,
                         "the copy goes on to record %" PRId64 ", which the service has not: "
                         "its database is an older one, or was cut",
                         copy->last);
    if (audit_record_read(json_array_get(list, 0), &r, err) < 0)
        return -1;
    if (r.id != copy->last || memcmp(r.hash, copy->hash, sizeof r.hash) != 0)
        return error_set(err, ERROR_DENIED,
                         "record %" PRId64 " of the copy is not the service's: what the service has was written anew",
                         copy->last);
    return 0;
}

static void
print_chain(const char *what, const struct chain *chain)
{
    char head[2 * AUDIT_HASH + 1];

    hex_encode(chain->hash, sizeof chain->hash, head);
    printf("%s: records %" PRId64 " to %" PRId64 " follow from one another, ", what, chain->first, chain->last);
    if (chain->signed_id)
        printf("signed up to record %" PRId64, chain->signed_id);
    else
        printf("not signed");
    printf("; head %s\n", head);
}

/* ---- commands ---- */

int
cmd_audit_key(const struct cli *cli, int argc, char **argv)
{
    CLEANUP(json_decref) json_t *o = NULL;
    struct error err = { 0 };

    (void)argv;
    if (argc > 1)
        return cli_usage("audit key");
    if (ask_signed(cli, &o, &err) < 0)
        return cli_fail(&err);
    if (cli->json)
        return cli_json(o);
    puts(daemon_text(o, "key", ""));
    return EXIT_DONE;
}

/* Elsewhere, where there is no service to ask. */
static int
verify_alone(const char *file, const char *key_file, struct chain *copy, struct error *err)
{
    CLEANUP(buf_clear) struct buf text = BUF(KEY_TEXT_MAX);
    CLEANUP(key_free) struct key *key = NULL;

    if (file_read(key_file, &text, err) < 0)
        return -1;
    while (text.len > 0 && text.data[text.len - 1] == '\n')
        text.len--;
    if (!buf_text(&text) || point_of(buf_text(&text), &key, err) < 0)
        return error_wrap(err, "%s", key_file);
    copy->key = key;
    if (walk_file(file, copy, err) < 0)
        return -1;
    print_chain(file, copy);
    return copy->signed_id ? 0 : error_set(err, ERROR_DENIED, "%s has no signed head", file);
}

static int
verify_with_service(const struct cli *cli, const char *file, struct chain *service, struct chain *copy, struct error *err)
{
    CLEANUP(json_decref) json_t *o = NULL;
    CLEANUP(key_free) struct key *key = NULL;
    struct signed_record newest;

    if (ask_signed(cli, &o, err) < 0 || point_of(daemon_text(o, "key", ""), &key, err) < 0 ||
        read_signed(o, &newest, err) < 0)
        return -1;
    service->key = copy->key = key;
    if (file) {
        if (walk_file(file, copy, err) < 0)
            return -1;
        print_chain(file, copy);
    }
    if (walk_service(cli, &newest, service, err) < 0)
        return -1;
    print_chain("service", service);
    if (!file)
        return 0;
    if (compare(cli, copy, err) < 0)
        return -1;
    puts("The service has what the copy has.");
    return 0;
}

int
cmd_audit_verify(const struct cli *cli, int argc, char **argv)
{
    static const struct option options[] = { { "key", required_argument, NULL, 'k' }, { 0 } };
    struct chain service = { 0 }, copy = { .keeps = true };
    const char *key_file = NULL, *file;
    struct error err = { 0 };
    int option, failed;

    while ((option = getopt_long(argc, argv, "", options, NULL)) != -1) {
        if (option != 'k')
            return cli_usage("audit verify [--key KEY] [FILE]");
        key_file = optarg;
    }
    file = optind < argc ? argv[optind] : NULL;
    if (argc - optind > 1 || (key_file && !file))
        return cli_usage("audit verify [--key KEY] [FILE]");
    failed = key_file ? verify_alone(file, key_file, &copy, &err)
                      : verify_with_service(cli, file, &service, &copy, &err);
    free_chain(&copy);
    return failed ? cli_fail(&err) : EXIT_DONE;
}
