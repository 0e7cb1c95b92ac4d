#include "config.h"

#include "plugin/priv/priv_limits.h"

#include <errno.h>
#include <linux/capability.h>
#include <sched.h>
#include <stdbool.h>
#include <stdint.h>
#include <stdlib.h>
#include <sys/prctl.h>
#include <sys/syscall.h>
#include <unistd.h>

#include "lib/common/log.h"

/* Owners of files (DAC, CHOWN, FOWNER), the worker (SETUID, SETGID, KILL), /proc/PID/fd (PTRACE). */
static const uint64_t kept = 1u << CAP_CHOWN | 1u << CAP_DAC_OVERRIDE |
                             1u << CAP_DAC_READ_SEARCH | 1u << CAP_FOWNER | 1u << CAP_KILL |
                             1u << CAP_SETGID | 1u << CAP_SETUID | 1u << CAP_SYS_PTRACE;

static int
drop_capabilities(struct error *err)
{
    struct __user_cap_header_struct header = { .version = _LINUX_CAPABILITY_VERSION_3 };
    struct __user_cap_data_struct data[2] = { { 0 } };

    /* Without SETPCAP the bounding set is somebody else's work already: systemd's. */
    bool may = prctl(PR_CAPBSET_READ, CAP_SETPCAP, 0, 0, 0) == 1;

    for (int cap = 0; may && prctl(PR_CAPBSET_READ, cap, 0, 0, 0) >= 0; cap++) {
        bool keep = cap < 64 && (kept >> cap & 1);

        if (!keep && prctl(PR_CAPBSET_DROP, cap, 0, 0, 0) < 0)
            return error_sys(err, errno, "dropping capability %d", cap);
    }
    /* A container may have taken some already: what then fails says so where it fails. */
    if (syscall(SYS_capget, &header, data) < 0)
        return error_sys(err, errno, "reading capabilities");
    data[0].permitted &= (uint32_t)kept;
    data[0].effective = data[0].permitted;
    data[0].inheritable = 0;
    data[1] = (struct __user_cap_data_struct){ 0 };
    if (syscall(SYS_capset, &header, data) < 0)
        return error_sys(err, errno, "dropping capabilities");
    return 0;
}

int
priv_limits_drop(struct error *err)
{
    if (prctl(PR_SET_CHILD_SUBREAPER, 1, 0, 0, 0) < 0)
        return error_sys(err, errno, "becoming a subreaper");
    if (geteuid() != 0)
        return 0;
    /* A unit's PrivateNetwork has done it already; a container may forbid it: sockets are never made. */
    if (unshare(CLONE_NEWNET) < 0 && !getenv("INVOCATION_ID"))
        log_warning("no network namespace of its own could be made; going on");
    return drop_capabilities(err);
}
