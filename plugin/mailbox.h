/*
 * mailbox.h - other threads ask the main loop to do something
 *
 * All state of the host daemon belongs to the main loop; a thread changes it
 * by posting a function.  Order is kept.
 */
#pragma once

#include "lib/common/cleanup.h"
#include "lib/common/error.h"

struct event_base;
struct mailbox;

typedef void mailbox_letter(void *context);

int mailbox_new(struct event_base *base, struct mailbox **ret, struct error *err);
/* From now on letters are dropped unread and nobody waits: the loop has ended. */
void mailbox_close(struct mailbox *mailbox);
/* After every thread that posts has ended. Letters that are left are dropped. */
void mailbox_free(struct mailbox *mailbox);
DEFINE_CLEANUP(struct mailbox *, mailbox_free);

/* Run `letter` in the main loop, soon. Any thread. Aborts the process without memory. */
void mailbox_post(struct mailbox *mailbox, mailbox_letter *letter, void *context);
/* The same, and wait until it has run.  Not from the main loop itself. */
void mailbox_call(struct mailbox *mailbox, mailbox_letter *letter, void *context);
