/*
 * journal.h - what this host knows of its VMs, durable before anything is acknowledged
 *
 * One JSON file per VM, <state_dir>/vms/UUID.json, replaced whole.  No secret
 * is in it: only public halves.  PROTOCOL-LEASE 5; a file that can not be read
 * is put aside as UUID.json.bad and said, never guessed.
 *
 * Not here: what the fields lead to (starting.h, stopping.h, reconcile.h).
 */
#pragma once

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "lib/common/cleanup.h"
#include "lib/common/error.h"
#include "lib/wire/lease_msg.h"
#include "lib/wire/names.h"
#include "lib/wire/vm_uuid.h"

/* The steps of provisioning, in order. */
enum vm_step { STEP_LEASE, STEP_VTPM, STEP_PLACE, STEP_INJECT, STEP_ACCOUNT, STEP_COUNT };
enum step_state { STEP_OPEN, STEP_BEGUN, STEP_DONE, STEP_SKIPPED, STEP_FAILED };

struct step_record {
    enum step_state state;
    char problem[32]; /* stable name of a skip or a failure */
    char text[200];
};

enum { RUN_ID_MAX = 79, RECORD_EK_MAX = 512, RECORD_WORD_MAX = 31 };
#define RUN_STARTING "starting" /* prepare was allowed; libvirt has not shown the run yet */

struct vm_record {
    struct vm_uuid uuid;
    char name[NAME_DOMAIN_MAX + 1];
    bool managed;           /* once enrolled, whatever its XML says, until disabled */
    bool install_agent;
    bool agent_due;         /* asked for after the disk was written: once more, when that is safe */
    bool ran, clean;        /* ever ran here; its last end was the guest's own power-off */
    enum lease_mode mode;   /* as the service said last */
    bool known;             /* the service was asked for its lease once */
    uint64_t e, kn;         /* epoch held, 0 none; newest hand-over heard */
    char run[RUN_ID_MAX + 1]; /* "" no run; domain id + start time, or RUN_STARTING */
    uint64_t run_e;
    bool run_k, run_resumed, run_switched;
    bool run_left;          /* the paused rest of a run that was migrated away, perhaps: it has no right */
    struct lease_end ends[LEASE_ENDS_MAX];
    size_t n_ends;
    char genid[VM_UUID_TEXT]; /* the running domain's, last seen; "" none */
    unsigned saw;           /* SAW_* that the service does not know yet */
    uint64_t saw_seq;       /* 0: it was not told */
    uint8_t receipt[RECEIPT_MAX];
    size_t receipt_len;
    uint64_t receipt_ver, receipt_row_ver; /* as the service said with it */
    struct step_record steps[STEP_COUNT];
    uint8_t ek[RECORD_EK_MAX];
    size_t ek_len;
    bool has_x0, has_point;
    uint8_t x0[32], point[65];
    uint64_t disk;          /* provision_disk_number() of the one that the secret was written into; 0 none */
    char account[RECORD_WORD_MAX + 1]; /* state the service answered */
    uint64_t account_e;     /* epoch in which it was told last */
};

const char *vm_step_name(enum vm_step step);
const char *step_state_name(enum step_state state);

struct journal;

/* `state_dir`/vms is made if missing. */
int journal_open(const char *state_dir, struct journal **ret, struct error *err);
void journal_close(struct journal *journal);
DEFINE_CLEANUP(struct journal *, journal_close);

/* Each record once, until one returns -1; *ret_bad counts files put aside. */
typedef int journal_each(void *context, const struct vm_record *record, struct error *err);
int journal_load(struct journal *journal, journal_each *each, void *context, unsigned *ret_bad,
                 struct error *err);

/* Durable when it returns 0. */
int journal_save(struct journal *journal, const struct vm_record *record, struct error *err);

/*
 * The next number of this host: rises across restarts and boots, because blocks of numbers are
 * reserved in a file before they are used.
 */
int journal_next_seq(struct journal *journal, uint64_t *ret, struct error *err);

/* Text form, for tests and the fuzzer. */
int vm_record_encode(const struct vm_record *record, struct buf *into, struct error *err);
int vm_record_decode(const char *text, size_t len, struct vm_record *ret, struct error *err);
