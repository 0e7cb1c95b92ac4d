/*
 * hook_double.h - libvirt's side of the hook in tests of a host daemon: it calls, and counts what it is answered
 *
 * For programs linked with -Wl,--wrap=hook_call_answer,--wrap=hook_call_wait.
 */
#pragma once

#include "plugin/domain/libvirt_watch.h"
#include "tests/unit/hostd_fixture.h"

struct hook_answers {
    int go, no;
};
extern struct hook_answers hook_answers;

/* libvirt calls the hook for the rig's VM. */
void hook_double_call(struct hostd_rig *rig, const char *op);
/* ... and tells an event of it. */
void hook_double_event(struct hostd_rig *rig, enum watch_event event);
