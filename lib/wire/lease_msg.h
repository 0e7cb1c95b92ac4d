/*
 * lease_msg.h - reports of a host and what the service answers (docs/PROTOCOL-lease.md, 5)
 *
 * Report: {"host","boot","seq","hook"?,"op"?,"pull"?,"vms":[{"uuid","ends":[{"view","e","seq"}],"view","k","e","kk","ver"?,"row_ver"?,
 *         "saw"?:{"what","seq"}}]}
 * Answer: {"vms":[{"uuid","answer","mode"?,"e"?,"nx"?,"holder"?,"seconds_left"?,"receipt"?,"ver"?,"row_ver"?,"show"?,
 *         "acked_seq"}]}
 * acquire and handover are reports of one VM with an "op"; "op":"ask" asks what acquire would be answered.
 * Pull, what the service wants to hear now: {"pull":n,"uuids":[..]}.  Names of views and answers are those of the model.
 */
#pragma once

/* Header of an answer to a report: a key was revoked at that time (ms); guests get new tokens. */
#define HTTP_TOKENS_SINCE "Virtid-Tokens-Since"
#define HTTP_BUNDLE "Virtid-Bundle" /* serial of the newest */
/* Header of the answer `foreign` to a hand-over: 1, because an operator locked the VM.  Older hosts refuse an answer with a
 * member that they do not know, and pass over a header. */
#define HTTP_LOCKED "Virtid-Locked"

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "lib/common/json.h"
#include "lib/wire/names.h"
#include "lib/wire/vm_uuid.h"

enum lease_view { VIEW_RUN = 1, VIEW_JOB, VIEW_INC, VIEW_OUT = 5, VIEW_OFF, VIEW_GO, VIEW_GM, VIEW_GU, VIEW_GI, VIEW_GR, VIEW_GV };
enum lease_answer { LEASE_ACK = 1, LEASE_OK, LEASE_CANDIDATE, LEASE_FOREIGN, LEASE_MOVING, LEASE_GRACE, LEASE_UNKNOWN, LEASE_NOT_MIGRATING, LEASE_RETIRED };

const char *lease_view_name(enum lease_view v);     /* "run", "off", "go", ... */
int lease_view_find(const char *name, enum lease_view *ret, struct error *err);
const char *lease_answer_name(enum lease_answer a); /* "ack", "ok", "candidate", ... */
int lease_answer_find(const char *name, enum lease_answer *ret, struct error *err);

/* What is asked for besides; REPORT: nothing. */
enum lease_op { LEASE_OP_REPORT, LEASE_OP_ACQUIRE, LEASE_OP_HANDOVER, LEASE_OP_ASK };
const char *lease_op_name(enum lease_op op); /* "report", "acquire", "handover", "ask" */

/* What a host does without a lease; set per VM by operators, else by the host's configuration. */
enum lease_mode { MODE_OF_HOST, MODE_LOOSE, MODE_STRICT, MODE_OBSERVE };
const char *lease_mode_name(enum lease_mode m); /* "host", "loose", "strict", "observe" */
int lease_mode_find(const char *name, enum lease_mode *ret, struct error *err);

/* What a host's libvirt showed of a state that was put back. Evidence: nothing depends on it. */
enum lease_saw {
    SAW_SNAPSHOT = 1, /* libvirt says that the domain was reverted to a snapshot */
    SAW_RESTORE = 2,  /* its memory came out of a save file */
    SAW_GENID = 4,    /* libvirt gave its run a <genid> of its own, as it does for both */
};
enum { LEASE_SAW_MAX = 63 };
/* "snapshot genid", words in the order above; "" for none. */
void lease_saw_print(unsigned saw, char ret[static LEASE_SAW_MAX + 1]);
/* Words that are not known are passed over. ERROR_INPUT: no list of words. */
int lease_saw_find(const char *words, unsigned *ret, struct error *err);

enum { LEASE_HOOK_MAX = 15, LEASE_ENDS_MAX = 16, LEASE_VMS_MAX = 32 /* of one request; a host with more sends several */, RECEIPT_MAX = 8192 };

struct lease_end {
    enum lease_view view;
    uint64_t e;
    uint64_t seq;
};
struct lease_report_vm {
    struct vm_uuid uuid;
    struct lease_end ends[LEASE_ENDS_MAX];
    size_t n_ends;
    enum lease_view view;
    bool k; /* the run came in by migration */
    uint64_t e, kk;
    uint64_t ver, row_ver; /* of the newest receipt that the host has; 0 none */
    unsigned saw;     /* SAW_*, 0 none */
    uint64_t saw_seq; /* acknowledged as an end is */
};
struct lease_report {
    char host[NAME_HOST_MAX + 1];
    char boot[37];
    uint64_t seq;
    char hook[LEASE_HOOK_MAX + 1]; /* how libvirt's hook does there: [a-z-], or "" for no word */
    enum lease_op op;
    uint64_t pull; /* the pull that this answers, 0 none */
    struct lease_report_vm vms[LEASE_VMS_MAX];
    size_t n_vms;
};
struct lease_result {
    struct vm_uuid uuid;
    enum lease_answer answer;
    enum lease_mode mode; /* as an operator set it */
    uint64_t e, nx, acked_seq;
    char holder[NAME_HOST_MAX + 1]; /* with foreign, moving: who has it; else "" */
    int64_t seconds_left;           /* of the holder's lease; 0 lapsed */
    uint8_t receipt[RECEIPT_MAX];   /* F(...) || signature(64); when it is newer than the host's */
    size_t receipt_len;
    uint64_t ver, row_ver;          /* of that receipt: the lease, and the account (0: that is not in it) */
    bool show;                      /* the host has a newer one: nothing was taken in before it is shown */
    bool locked;                    /* of a hand-over: HTTP_LOCKED, not in the message itself */
};
int lease_report_encode(const struct lease_report *r, struct buf *into, struct error *err);
int lease_report_decode(const char *text, size_t len, struct lease_report *ret,
                        struct error *err);
int lease_results_encode(const struct lease_result *r, size_t n, struct buf *into,
                         struct error *err);
int lease_results_decode(const char *text, size_t len, struct lease_result *ret, size_t max,
                         size_t *ret_n, struct error *err);

struct lease_pull {
    uint64_t pull; /* 0: nothing is wanted */
    struct vm_uuid uuids[LEASE_VMS_MAX];
    size_t n;
};
int lease_pull_encode(const struct lease_pull *p, struct buf *into, struct error *err);
int lease_pull_decode(const char *text, size_t len, struct lease_pull *ret, struct error *err);
