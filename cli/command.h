/*
 * command.h - what every subcommand of `virtid` gets, and the table they are in
 *
 * A subcommand returns its exit status: 0 done, 1 failed, 2 wrong usage, 3 the daemon or
 * libvirt cannot be reached.  It prints errors by cli_fail(), results on stdout.
 */
#pragma once

#include <stdbool.h>

#include "lib/common/error.h"

struct json_t;

enum { EXIT_DONE = 0, EXIT_FAILED = 1, EXIT_USAGE = 2, EXIT_UNREACHABLE = 3 };

/* The global options. */
struct cli {
    const char *uri;            /* libvirt; NULL: libvirt's own default */
    const char *service_socket; /* tokend's admin socket */
    const char *host_socket;    /* the host daemon's socket */
    bool json;
};

struct command {
    const char *name;  /* "host add" */
    const char *args;  /* "NAME [--auto]" */
    const char *what;  /* one line */
    const char *help;  /* options, one a line; or "" */
    int (*run)(const struct cli *cli, int argc, char **argv); /* argv[0] is the last word of name */
};

/* Ends with a NULL name; in the order of help and of the manual page. */
extern const struct command command_table[];

/* --output json: the value in one line; EXIT_DONE. */
int cli_json(const struct json_t *value);
/* "error: TEXT" on stderr; the exit status that fits err->code. */
int cli_fail(const struct error *err);
/* "error: TEXT" and how to get help; EXIT_USAGE. */
int cli_usage(const char *fmt, ...) __attribute__((format(printf, 1, 2)));

int cmd_init(const struct cli *cli, int argc, char **argv);
int cmd_host_add(const struct cli *cli, int argc, char **argv);
int cmd_host_check(const struct cli *cli, int argc, char **argv);
int cmd_host_approve(const struct cli *cli, int argc, char **argv);
int cmd_host_list(const struct cli *cli, int argc, char **argv);
int cmd_host_remove(const struct cli *cli, int argc, char **argv);
int cmd_host_fence(const struct cli *cli, int argc, char **argv);
int cmd_pool_list(const struct cli *cli, int argc, char **argv);
int cmd_pool_set(const struct cli *cli, int argc, char **argv);
int cmd_pool_remove(const struct cli *cli, int argc, char **argv);
int cmd_enable(const struct cli *cli, int argc, char **argv);
int cmd_disable(const struct cli *cli, int argc, char **argv);
int cmd_place(const struct cli *cli, int argc, char **argv);
int cmd_accept(const struct cli *cli, int argc, char **argv);
int cmd_lock(const struct cli *cli, int argc, char **argv);
int cmd_unlock(const struct cli *cli, int argc, char **argv);
int cmd_retire(const struct cli *cli, int argc, char **argv);
int cmd_key_list(const struct cli *cli, int argc, char **argv);
int cmd_key_rotate(const struct cli *cli, int argc, char **argv);
int cmd_key_rotate_ca(const struct cli *cli, int argc, char **argv); /* key rotate --ca */
int cmd_key_ca(const struct cli *cli, int argc, char **argv);
int cmd_key_revoke(const struct cli *cli, int argc, char **argv);
int cmd_backup(const struct cli *cli, int argc, char **argv);
int cmd_restore(const struct cli *cli, int argc, char **argv);
int cmd_recovery_show(const struct cli *cli, int argc, char **argv);
int cmd_recovery_finish(const struct cli *cli, int argc, char **argv);
int cmd_list(const struct cli *cli, int argc, char **argv);
int cmd_info(const struct cli *cli, int argc, char **argv);
int cmd_top(const struct cli *cli, int argc, char **argv);
int cmd_why(const struct cli *cli, int argc, char **argv);
int cmd_audit(const struct cli *cli, int argc, char **argv);
int cmd_audit_verify(const struct cli *cli, int argc, char **argv);
int cmd_audit_key(const struct cli *cli, int argc, char **argv);
int cmd_report(const struct cli *cli, int argc, char **argv);
int cmd_set(const struct cli *cli, int argc, char **argv);
int cmd_audience_add(const struct cli *cli, int argc, char **argv);
int cmd_audience_list(const struct cli *cli, int argc, char **argv);
int cmd_audience_remove(const struct cli *cli, int argc, char **argv);
