/*
 * priv_msg.h - the requests that the host's root half permits, and nothing else
 *
 * SOCK_SEQPACKET; each packet one F(): request F(op(1), ...), answer F(status(1), problem, text, ...).
 * status 0 = done.  Paths and names are checked by privd, never trusted.
 *
 *   1 INJECT   F(op, uuid, format "raw"|"qcow2", path, flags(1), deadline ms(4))
 *              with 1 descriptor: a sealed memfd holding the payload (inject_payload below)
 *              -> F(0, "", result "injected"|"skipped", reason problem, reason text, secret point(65 or 0))
 *              A second INJECT waits for its turn.  The answer can take until the deadline.
 *   2 PLACE_VTPM F(op, uuid) with 1 descriptor: the state file tpm2-00.permall, regular, <= 256 KiB
 *              -> F(0, "", "placed"|"exists")
 *   3 CHANNEL  F(op, uuid, domain name, socket path) -> F(0, "", "connected", pid(4)) with 2 descriptors: socket, pidfd
 *   4 VTPM_STATE F(op, uuid) -> F(0, "", "absent"|"present")
 *   5 SAVE_STATE F(op, uuid, domain name) -> F(0, "", "none"|"managed"): is there a managed save image?
 *   6 CANCEL   F(op, uuid): end an injection that has not mounted yet -> F(0, "", "cancelled"|"too-late"|"none")
 *   7 SYNC_VTPM F(op, uuid): what the vTPM's state file holds now survives a power loss -> F(0, "", "synced")
 *   8 STOP_GUEST F(op, uuid, domain name): another host has it since a fence; what fence_action says is done
 *              -> F(0, "", "report"|"paused"|"destroyed")
 */
#pragma once

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "lib/common/buf.h"
#include "lib/common/error.h"
#include "lib/wire/names.h"
#include "lib/wire/vm_uuid.h"

enum { PRIV_PACKET_MAX = 8192, PRIV_PATH_MAX = 4096, PRIV_CHAIN_MAX = 16, PRIV_PAYLOAD_MAX = 64 << 20, PRIV_VTPM_MAX = 256 << 10 };

enum priv_op { PRIV_INJECT = 1, PRIV_PLACE_VTPM, PRIV_CHANNEL, PRIV_VTPM_STATE, PRIV_SAVE_STATE, PRIV_CANCEL, PRIV_SYNC_VTPM,
               PRIV_STOP_GUEST };
enum { PRIV_FLAG_AGENT = 1, /* the payload holds the agent's files too */
       PRIV_FLAG_NEVER_RAN = 2 /* this VM never ran on any host that we know of */ };

struct priv_request {
    enum priv_op op;
    struct vm_uuid uuid;
    char name[NAME_DOMAIN_MAX + 1];
    char path[PRIV_PATH_MAX + 1];
    char format[8];
    uint8_t flags;
    uint32_t deadline_ms;
};
struct priv_answer {
    struct error error;     /* code NONE: done */
    char result[16];
    char reason[32];        /* problem name of a skip */
    char text[300];
    uint8_t point[65];
    size_t point_len;
    uint32_t pid;
};
int priv_request_encode(const struct priv_request *r, struct buf *into, struct error *err);
int priv_request_decode(const uint8_t *bytes, size_t len, struct priv_request *ret,
                        struct error *err);
int priv_answer_encode(const struct priv_answer *a, struct buf *into, struct error *err);
int priv_answer_decode(const uint8_t *bytes, size_t len, struct priv_answer *ret,
                       struct error *err);

/*
 * The payload: files for the guest, in order.  F(path, mode(4), kind(1) 'd'|'f'|'l', content) each, where content of a
 * file above FIELD_MAX is split: kind 'f' starts it, kind '+' continues it.  Paths are absolute, of [A-Za-z0-9._/@+-],
 * without "." or ".." components.  The secret is never in it: the worker makes the key.
 */
struct payload_entry {
    const char *path;
    size_t path_len;
    uint32_t mode;
    char kind; /* d f + l; s: a section begins, named by the path */
    const uint8_t *content;
    size_t len;
};
int payload_add(struct buf *into, const char *path, uint32_t mode, char kind,
                const void *content, size_t len, struct error *err);
/* *ret_end when nothing is left. */
int payload_next(const uint8_t *bytes, size_t len, size_t *at, struct payload_entry *ret,
                 bool *ret_end, struct error *err);
