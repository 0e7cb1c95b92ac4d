/*
 * service.h - this host and its token service: joined yet? certificates, bundle, address
 */
#pragma once

#include "plugin/hostd.h"

/* Load what joining left, if it is there and we have not; called once a second by the loop. */
void service_tick(struct hostd *hostd, int64_t now_ms);
/*
 * Ask what the service knows of this VM, at most every few seconds: its account's state is journalled,
 * its steps are kept for `why`.
 */
void service_ask_vm(struct vm *vm);
/* Its agent holds a bundle that ours does not follow: ask for the one that does, and offer it. */
void service_step_bundle(struct vm *vm, uint64_t serial);
/* A report was answered: the newest bundle's serial, 0 if the service does not say; another than ours is fetched. */
void service_take_bundle_serial(struct hostd *hostd, uint64_t serial);
/*
 * A report failed.  If the reason is this host's certificate, say so with what repairs it: *why may
 * become clearer, and hostd->must_join is set.
 */
void service_explain(struct hostd *hostd, struct error *why);
/* What a report's answer said of the service's clock; says so in the log when the two begin or cease to differ. */
void service_take_clock(struct hostd *hostd, int64_t ahead_ms);
/* What repairs it that the service does not answer. */
const char *service_repair(const struct hostd *hostd);
/* End the thread and free. */
void service_close(struct hostd *hostd);
