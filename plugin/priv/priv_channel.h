/*
 * priv_channel.h - connect to a domain's channel, and to nobody else's
 */
#pragma once

#include <sys/types.h>

#include "lib/common/error.h"
#include "lib/wire/vm_uuid.h"
#include "plugin/priv/priv_settings.h"

/*
 * Connect to the socket at `path` (below channel_roots, named org.virtid.0) if the process that listens
 * is the one that libvirt's own pid file of `name` names, and was started as `uuid`.
 * ERROR_DENIED, problem "channel-foreign": it is not; ERROR_BUSY: nobody takes connections there now.
 * *ret_socket (non-blocking), *ret_pidfd are yours.
 */
int priv_channel_connect(const struct priv_settings *s, const struct vm_uuid *uuid,
                         const char *name, const char *path, int *ret_socket, int *ret_pidfd,
                         pid_t *ret_pid, struct error *err);
