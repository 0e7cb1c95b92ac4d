/*
 * hostd_fixture.h - one VM of a host daemon that has no threads, sockets or token service
 */
#pragma once

#include "plugin/hostd.h"

/* A daemon without threads, sockets and token service: what is left is what it decides. */
struct hostd_rig {
    struct hostd hostd;
    struct vm *vm;
    char dir[40];
};

/* Setup and teardown of cmocka. */
int hostd_rig_make(void **state);
int hostd_rig_end(void **state);

/* The VM runs, as domain 4, and holds the lease in `epoch` (0: it does not). */
void hostd_rig_running(struct hostd_rig *rig, uint64_t epoch);
/* What the service is told in the end: this is the end at place `at` of those unreported. */
void hostd_rig_assert_end(const struct hostd_rig *rig, size_t at, enum lease_view view, uint64_t epoch);
/* What libvirt's hook wrote down while nobody answered it (missed.h). */
void hostd_rig_mark(const struct hostd_rig *rig, const char *lines);
/* What libvirt_watch would tell of it; for reconcile_take(). */
struct watch_report *hostd_rig_seen(const struct hostd_rig *rig, bool active, int id);
