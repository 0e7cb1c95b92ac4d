/*
 * reconcile.h - what libvirt says, against what we believed
 *
 * Events tell of changes; sweeps tell what is.  After a restart of us or of
 * libvirtd the sweep finds out which runs are the ones we knew.
 */
#pragma once

#include "plugin/hostd.h"

/* One report of the watcher; main loop. Takes it. */
void reconcile_take(struct hostd *hostd, struct watch_report *take_report);
/* Its provisioning has ended; main loop. */
void reconcile_provisioned(struct vm *vm);
/* Journalled VMs into the table, at start. */
int reconcile_load(struct hostd *hostd, struct error *err);
