/*
 * host_look.h - what `virtid host check` sees on the host by itself
 *
 * Each function fills a finding: PASS, WARN or FAIL, what was seen, and the
 * command that repairs it.  Nothing is changed.
 *
 * Not here: what the host daemon knows (its status), and the order (cmd_check.c).
 */
#pragma once

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <time.h>

#include "lib/common/hook_place.h"

enum verdict { VERDICT_PASS, VERDICT_WARN, VERDICT_FAIL };

struct finding {
    enum verdict verdict;
    char seen[600], repair[600];
};

void finding_say(struct finding *f, enum verdict verdict, const char *repair, const char *seen, ...)
    __attribute__((format(printf, 4, 5)));

/* May libvirtd run `hook`?  `called`: it has done so, which settles it. */
void host_look_apparmor(const struct hook_daemon *daemon, const char *hook, bool called, struct finding *f);
void host_look_selinux(const struct hook_daemon *daemon, const char *hook, bool called, struct finding *f);

/* The first line that `argv` prints within 5 s; false: it did not. */
bool host_look_run(const char *const *argv, char *ret, size_t size);
/* Does the first number with dots in `line` reach `least`? `what` names the program. */
void host_look_version(const char *what, const char *line, const char *least, struct finding *f);

void host_look_kvm(const char *probe, struct finding *f);
void host_look_clock(struct finding *f);
/* How far the token service's clock is ahead of ours, as the host daemon measured with its last report. */
void host_look_difference(bool known, int64_t ahead_ms, struct finding *f);
void host_look_room(const char *dir, struct finding *f);
/* A host's certificate, by its times in seconds since 1970. */
void host_look_certificate(int64_t begins, int64_t ends, int64_t now, struct finding *f);

/*
 * Is this a line in which the kernel says that it denied `hook` to libvirtd, or something to the hook?
 * AppArmor's and SELinux's words, from the kernel's log or the audit log.
 */
bool host_look_is_denial(const char *line, const char *hook);
