/*
 * priv_channel.h - connect to a domain's channel, and to nobody else's
 */
#pragma once

#include <sys/types.h>

#include "lib/common/error.h"
#include "lib/wire/vm_uuid.h"
#include "plugin/priv/priv_settings.h"

/*
 * Is the process of libvirt's own pid file of `name` running, was it started as `uuid`, and has it a channel org.virtid.0?
 * ERROR_DENIED, problem "channel-foreign": it is another's; ERROR_MISSING: it does not run.
 */
int priv_channel_check_domain(const struct priv_settings *s, const struct vm_uuid *uuid, const char *name,
                              struct error *err);

/*
 * Connect to the socket at `path` (below channel_roots, named org.virtid.0) if the process that listens
 * is the one that libvirt's own pid file of `name` names, and was started as `uuid`.
 * ERROR_DENIED, problem "channel-foreign": it is not; ERROR_BUSY: nobody takes connections there now.
 * *ret_socket (non-blocking), *ret_pidfd are yours.
 */
int priv_channel_connect(const struct priv_settings *s, const struct vm_uuid *uuid,
                         const char *name, const char *path, int *ret_socket, int *ret_pidfd,
                         pid_t *ret_pid, struct error *err);
