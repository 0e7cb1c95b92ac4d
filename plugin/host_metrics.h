/*
 * host_metrics.h - what Prometheus asks of a host: its daemon, its VMs
 *
 * Off unless [host] metrics names an address.  One line of each kind for each managed VM, at most VMS_MAX
 * of them, with the labels `domain` and `uuid` as libvirt's exporters have them; nothing of other domains.
 */
#pragma once

#include "plugin/hostd.h"

/* The page. Main loop. */
void host_metrics_write(const struct hostd *hostd, struct buf *into);
/* Behind hostd_admin_open(), whose server it uses. */
int host_metrics_open(struct hostd *hostd, struct error *err);
