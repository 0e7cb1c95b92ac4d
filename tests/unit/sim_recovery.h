/*
 * sim_recovery.h - a database that is put back, and a host that has kept receipts, for tests of recovery
 */
#pragma once

#include "tests/unit/sim_stepper.h"

/* Put the database aside as it is; and, as after a restart on it, back again. */
void sim_back_up(void);
void sim_restore(void);

/* What a host has kept of a VM. */
struct sim_kept {
    uint8_t bytes[RECEIPT_MAX];
    size_t len;
    uint64_t ver, row_ver;
};
void sim_keep(struct sim_kept *kept, const struct lease_result *result);

/* A report as the host daemon makes it: it names what it has kept, and keeps what is newer. */
struct lease_result sim_says(struct sim_host *h, const struct sim_vm *vm, enum lease_view view, struct sim_kept *kept);
/* The receipt is shown, and that becomes of it: "taken", "known" or "refused". */
void sim_must_show(struct sim_host *h, const struct sim_kept *kept, const char *expected);

/* What administrators see of it, and their last word: the status. */
json_t *sim_recovery_state(void);
bool sim_in_recovery(void);
int sim_recovery_finish(void);

/* A VM on host a that has proved itself and stepped, and what a has kept of it; host b. */
struct sim_stage {
    struct sim_host a, b;
    struct sim_stepper s;
    struct sim_kept at_a, at_b;
};
void sim_stage_new(struct sim_stage *stage);
void sim_stage_clear(struct sim_stage *stage);
#define sim_stage_clear_at sim_stage_clear
/* Started again on a: another epoch, another step. */
void sim_next_run(struct sim_stage *stage);
