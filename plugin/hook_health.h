/*
 * hook_health.h - does libvirt call our hook?
 *
 * Known for sure only when this run of libvirtd has called it; the file says
 * beforehand what can be said (lib/common/hook_place.h); a domain that
 * started without a call says that it is dead.  The word goes with every
 * report to the token service, for `virtid host list`.
 *
 * Never looks at libvirt itself: files and /proc only.
 */
#pragma once

#include "plugin/hostd.h"

/* What an earlier run of this daemon knew of the same libvirtd. */
void hook_health_open(struct hostd *hostd);
/* What is not written down yet is, at the end. */
void hook_health_close(struct hostd *hostd);

/* Process `peer` has brought a call: counts if it is a child of libvirtd. */
void hook_health_called(struct hostd *hostd, pid_t peer);

/* Domain `name` started after us and libvirt did not call. */
void hook_health_silent(struct hostd *hostd, const char *name);

/* Look again, every few seconds. */
void hook_health_tick(struct hostd *hostd, int64_t now_ms);
void hook_health_look(struct hostd *hostd);

/*
 * "ok" called, "unproven" in order but not called yet, "absent", "unusable", "late" (libvirtd is older than
 * the first hook), "silent" (a domain started without it), "unknown".
 */
const char *hook_health_word(const struct hostd *hostd);
bool hook_health_is_bad(const struct hostd *hostd);
/* For people: what was seen, and the command that repairs it or "". */
const char *hook_health_seen(const struct hostd *hostd);
const char *hook_health_repair(const struct hostd *hostd);
