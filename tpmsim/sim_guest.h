/*
 * sim_guest.h - one simulated VM: its TPM, its disk, its channel, and a real
 * virtid-agent in it
 *
 * Everything lies in one folder: vm.json (name, UUID, what the host knows of it), UUID/
 * (TPM state), disk/ (the agent's state_dir), run/, agent.conf, channel.
 */
#pragma once

#include <stdbool.h>

#include "lib/common/cleanup.h"
#include "lib/common/error.h"
#include "lib/wire/vm_uuid.h"
#include "tpmsim/sim_host.h"

enum { SIM_GUEST_FOLDER_MAX = 55, SIM_GUEST_AUDIENCES_MAX = 16 };

struct sim_order {
    const char *agent, *swtpm; /* programs; swtpm NULL: the one found at build time */
    const char *name;          /* NULL: the one it has, or one made up */
    const struct vm_uuid
        *uuid; /* NULL likewise; another than it has: its copy, under a new UUID */
    const char *serve; /* ADDRESS:PORT for virtid-agent serve, or NULL */
    const char *audiences[SIM_GUEST_AUDIENCES_MAX];
    size_t n_audiences;
    bool no_tpm, no_secret, quiet;
};

struct sim_guest;

/* Provision it as far as that is left to do, take its lease and start it. */
int sim_guest_start(struct sim_host *host, const char *folder,
                    const struct sim_order *order, int64_t deadline_ms,
                    struct sim_guest **ret, struct error *err);
/* Shut it down; its state stays in the folder.  Its lease ends with the host, which is
 * closed afterwards. */
void sim_guest_end(struct sim_guest *guest);
DEFINE_CLEANUP(struct sim_guest *, sim_guest_end);

/* One line on standard output: a token, by `virtid-agent token`. */
int sim_guest_print_token(struct sim_guest *guest, const char *audience,
                          int64_t deadline_ms, struct error *err);
