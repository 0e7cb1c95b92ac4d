/*
 * identity_row.h - what the token service holds true of one VM, as the bytes that are MACed
 *
 * F("virtid-row-1", uuid, name, gen(8), state(1), floor(1), owner, labels, audiences, host, epoch(8),
 *   AK name(0|34), EK digest(0|32), EK origin(1), cur(0|65), x(0|32)).
 * A VM with anything to say of its ratchets has instead F("virtid-row-2", the same, ratchet(1), next(0|65),
 *   xnext(0|32), v(0|32), pend_run(0|16), done_run(0|16)), a run being epoch(8) resetCount(4) restartCount(4).
 * One whose proof was refused as behind, or of which an operator said that this is right, has F("virtid-row-3", the
 *   same, seen(0|13): ms(8) behind(1) ago(4), its cur(0|32), new(0|32), x(0|32); grant(0|24): epoch(8) from(8)
 *   ends_ms(8), its cur, new, x; restored(0|8): ms).
 * One that may come with a new TPM has F("virtid-row-4", the same, ends_ms(8), host, EK digest(0|32), EK origin(1),
 *   x(0|32), cur(0|65)).
 * The database keeps these bytes and their MAC; its other columns are only indexes of them.  The
 * signer makes the MAC and composes every claim of a token from a row whose MAC it has checked
 * (CHECKS C3, C35).  `host` and `epoch` are those of the newest grant of the lease.
 * Not here: the lease's own record, nonces, the mark of the last proof (they change every minute).
 */
#pragma once

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "lib/common/buf.h"
#include "lib/common/error.h"
#include "lib/wire/names.h"
#include "lib/wire/transcript.h"
#include "lib/wire/vm_uuid.h"

enum {
    ROW_OWNER_MAX = 255,
    ROW_LABELS_MAX = 2048,    /* a JSON object, strings only */
    ROW_AUDIENCES_MAX = 2048, /* names separated by one space */
    ROW_AK_NAME_LEN = 34,
    ROW_EK_DIGEST_LEN = 32,
    ROW_POINT_LEN = 65,
    ROW_X_LEN = 32,
    ROW_MAC_LEN = 32,
    ROW_MAX = 6144,           /* all of the above at their longest, with room */
};

enum row_state { ROW_PENDING = 1, ROW_OK, ROW_LOCKED, ROW_ABSENT, ROW_RETIRED };
/* How its ratchets step (docs/PROTOCOL-proof.md, 4). */
enum {
    ROW_RATCHET_ON = 1,      /* an agent that can step has proved itself: from there on it must */
    ROW_RATCHET_NO_DISK = 2, /* what is written to its disk does not last: no disk ratchet */
    ROW_RATCHET_AUTO = 4,    /* `restore=auto`: a disk that is behind is taken back by itself */
    ROW_RATCHET_ALL = 7,
};
/* COPIED: it has none; what it enrolled with was a copy of another VM's TPM, which was not counted. */
enum row_ek_origin { ROW_EK_NONE, ROW_EK_CA, ROW_EK_HOST, ROW_EK_COPIED };
enum { ROW_AGO_UNKNOWN = UINT32_MAX };

/* What the newest proof that was refused as behind in row->epoch showed. */
struct row_seen {
    bool has;
    int64_t ms;
    uint8_t behind; /* which halves: RATCHET_* */
    uint32_t ago;   /* completed steps since; ROW_AGO_UNKNOWN: no step of this VM */
    struct proof_shown shown;
};

/* An operator's word that a state is right (attest/grant.h). */
struct row_grant {
    bool given;
    uint64_t epoch; /* 0: not begun; else row->epoch */
    uint64_t from;  /* begun: the epoch before, which its host may still name */
    int64_t ends_ms;
    struct proof_shown shown;
};

/* A word that its TPM was lost, for one host alone (api/renewing.h); and what that host has registered since. */
struct row_renewal {
    bool given;
    int64_t ends_ms;
    char host[NAME_HOST_MAX + 1];
    bool has_ek, has_cur;            /* x comes with the EK; a secret only if the host has made one */
    uint8_t ek_digest[ROW_EK_DIGEST_LEN];
    enum row_ek_origin ek_origin;
    uint8_t x[ROW_X_LEN], cur[ROW_POINT_LEN];
};

struct identity_row {
    struct vm_uuid uuid;
    char name[NAME_DOMAIN_MAX + 1];  /* "" while not known */
    uint64_t gen;
    enum row_state state;
    uint8_t floor;                   /* FACTOR_* (lib/wire/transcript.h); 0 while pending */
    char owner[ROW_OWNER_MAX + 1];   /* printable ASCII, or "" */
    char labels[ROW_LABELS_MAX + 1]; /* "{}" if there are none */
    char audiences[ROW_AUDIENCES_MAX + 1];
    char host[NAME_HOST_MAX + 1];    /* "" before the first grant */
    uint64_t epoch;                  /* 0 before the first grant */
    bool has_ak, has_ek, has_cur, has_x;
    uint8_t ak_name[ROW_AK_NAME_LEN];
    uint8_t ek_digest[ROW_EK_DIGEST_LEN];
    enum row_ek_origin ek_origin;
    uint8_t cur[ROW_POINT_LEN];
    uint8_t x[ROW_X_LEN];            /* xcur */
    uint8_t ratchet;                 /* ROW_RATCHET_* */
    bool has_next, has_xnext;        /* a step is under way; v comes with xnext */
    uint8_t next[ROW_POINT_LEN];
    uint8_t xnext[ROW_X_LEN], v[ROW_X_LEN];
    struct proof_run pend_run, done_run;
    struct row_seen seen;
    struct row_grant grant;
    struct row_renewal renewal;
    int64_t restored_ms;             /* when the service itself gave a grant (`restore=auto`); 0: never */
};

/* "pending", "ok", "locked", "absent", "retired" */
const char *identity_row_state_name(enum row_state state);

/* No proof of it was accepted yet: it is pending, or was locked while it was. */
static inline bool
identity_row_is_unproved(const struct identity_row *row)
{
    return row->state == ROW_PENDING || (row->state == ROW_LOCKED && row->floor == 0);
}

/* Append the encoded row. ERROR_INPUT: a member breaks its grammar. */
int identity_row_encode(const struct identity_row *row, struct buf *into, struct error *err);

/*
 * Whatever decodes, encodes to the same bytes.  Says nothing about the MAC: ask mint_row_check() first,
 * or use mint_row_open(), which does both.  ERROR_INPUT: not a row.
 */
int identity_row_decode(const uint8_t *bytes, size_t len, struct identity_row *ret,
                        struct error *err);
