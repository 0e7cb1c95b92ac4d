/*
 * hostd_admin.h - the operator's socket: status, list, one VM, its settings, a sweep
 *
 * HTTP on <run_dir>/hostd.sock for root, the daemon's own user and admin_group
 * (docs/PROTOCOL-host.md).
 */
#pragma once

#include "plugin/hostd.h"

int hostd_admin_open(struct hostd *hostd, struct error *err);
