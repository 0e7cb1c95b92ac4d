/*
 * inject_msg.h - what the root half and its injection worker say to each other
 *
 * SOCK_SEQPACKET, one F() per packet, kind first (docs/PROTOCOL-priv.md, "The worker").
 *
 *   privd  -> worker  JOB   F(1, uuid, format, accel, flags, cache folder)
 *   worker -> privd   NEXT  F(2, name of the backing file as the header spells it)
 *   privd  -> worker  FILE  F(3, problem or "", text), with a read-only descriptor when there is no problem
 *   worker -> privd   READY F(4): looked at and found good; nothing is written before GO
 *   privd  -> worker  GO    F(5): from here on the job is finished, not cancelled
 *   worker -> privd   DONE  F(6, "injected"|"skipped", problem, text, point(65 or 0))
 *
 * Not here: what hostd asks (priv_msg.h).
 */
#pragma once

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "lib/common/buf.h"
#include "lib/common/error.h"
#include "lib/wire/vm_uuid.h"

enum { INJECT_PACKET_MAX = 4096, INJECT_NAME_MAX = 1023 /* qcow2: backing_file_size */ };

enum inject_kind { INJECT_JOB = 1, INJECT_NEXT, INJECT_FILE, INJECT_READY, INJECT_GO, INJECT_DONE };

struct inject_msg {
    enum inject_kind kind;
    struct vm_uuid uuid;
    char format[8];
    char accel[8];
    bool never_ran; /* JOB: PRIV_FLAG_NEVER_RAN of the request */
    char path[INJECT_NAME_MAX + 1]; /* JOB: cache folder; NEXT: name */
    char result[16];
    char problem[32];
    char text[300];
    uint8_t point[65];
    size_t point_len;
};

int inject_msg_encode(const struct inject_msg *m, struct buf *into, struct error *err);
int inject_msg_decode(const uint8_t *bytes, size_t len, struct inject_msg *ret,
                      struct error *err);
