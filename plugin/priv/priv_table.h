/*
 * priv_table.h - the table of permitted requests: which, how often, by whom done
 */
#pragma once

#include <stdint.h>

#include "lib/common/error.h"
#include "lib/wire/priv_msg.h"
#include "plugin/priv/priv_inject.h"
#include "plugin/priv/priv_settings.h"

enum { PRIV_TABLE_OPS = 8, PRIV_REPLY_FDS_MAX = 2 };

/* What the handlers work on. */
struct priv_table {
    const struct priv_settings *settings;
    struct priv_inject *injections;
    struct {
        int64_t tokens, filled_at; /* of 1/1000 request, monotonic ms */
    } rates[PRIV_TABLE_OPS];
    bool malformed; /* seen and logged once: whoever sends one can send a million */
};

struct priv_reply {
    struct priv_answer answer;
    int fds[PRIV_REPLY_FDS_MAX]; /* to be sent, then closed */
    size_t n_fds;
    bool later;   /* the injection's end brings the answer */
    bool hang_up; /* it was no request: such a client is not answered */
};

void priv_table_init(struct priv_table *t, const struct priv_settings *s, struct priv_inject *q,
                     int64_t now);

/*
 * Do one packet of client `who`.  `take_fd` (-1: none came) is consumed.  Always fills *ret: what
 * is refused is an answer, too.
 */
void priv_table_do(struct priv_table *t, const uint8_t *bytes, size_t len, int take_fd,
                   uint64_t who, int64_t now, struct priv_reply *ret);
