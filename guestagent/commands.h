/*
 * commands.h - what virtid-agent can be asked to do; each returns the exit status
 */
#pragma once

#include "lib/common/conf.h"

/* The daemon; ends at SIGTERM or SIGINT. `ready_fd` -1: none. */
int cmd_run(const struct conf *conf, int ready_fd);
/* Print a token for `audience`, trying for `wait_seconds` (0: once). */
int cmd_token(const struct conf *conf, const char *audience, int wait_seconds);
/* Print a bound token for `audience` with the proof for the verifier's nonce over one connection, both 64 digits. */
int cmd_prove(const struct conf *conf, const char *audience, const char *nonce, const char *exporter);
/*
 * Replaces this process by `command`, which finds the number of a descriptor with its token in VIRTID_TOKEN_FD; comes
 * back only when it did not: 125 no token, 126 not runnable, 127 not found.
 */
int cmd_exec(const struct conf *conf, const char *audience, int wait_seconds, char **command);
/* For whom whoever asks may have tokens. */
int cmd_audiences(const struct conf *conf);
/* workloads.conf is read again; what is wrong in it is told, and the rules of before hold. */
int cmd_reload(const struct conf *conf);
int cmd_status(const struct conf *conf);
/* Answer `virtid-verify --connect` on ADDRESS:PORT until SIGTERM. */
int cmd_serve(const struct conf *conf, const char *address, int ready_fd);

/* Remove this machine's identity from its disk; says what it removed. 5: the agent runs. */
int cmd_seal(const struct conf *conf);

/* <run_dir>/agent.sock; asserts that it fits. */
enum { SOCKET_PATH_MAX = 108 };
void agent_socket_path(const struct conf *conf, char ret[static SOCKET_PATH_MAX]);

/* The exit status of an error: 1 system, 2 usage or input, 3 denied, 4 missing, 5 busy. */
int exit_status_of(const struct error *err);

/* A descriptor that becomes readable at SIGTERM or SIGINT (both blocked from here on). */
int stop_signal_fd(struct error *err);
