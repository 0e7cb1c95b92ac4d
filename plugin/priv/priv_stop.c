#include "config.h"

#include "plugin/priv/priv_stop.h"

#include "lib/common/clock.h"
#include "lib/common/process.h"
#include "plugin/priv/priv_channel.h"

enum { VIRSH_MS = 4000 }; /* the host daemon waits 5 s; what takes longer goes on in libvirtd, and is asked for again */

/*
 * By virsh: QEMU's monitor is libvirt's, and a process that were stopped behind its back would make it hang.  The UUID is
 * all that comes from the asker, and it is printed here.
 */
static int
run_virsh(const struct priv_settings *s, const char *what, const struct vm_uuid *uuid, struct error *err)
{
    char text[VM_UUID_TEXT];
    const char *argv[] = { s->virsh, "--connect", s->libvirt_uri, "--quiet", what, text, NULL };
    struct process_spawn spawn = PROCESS_SPAWN(argv);
    pid_t pid;

    vm_uuid_print(uuid, text);
    spawn.new_group = true;
    if (process_start(&spawn, &pid, err) < 0 || process_wait(pid, clock_monotonic_ms() + VIRSH_MS, err) < 0)
        return error_wrap(err, "virsh %s", what);
    return 0;
}

int
priv_stop_guest(const struct priv_settings *s, const struct vm_uuid *uuid, const char *name, const char **ret_done,
                struct error *err)
{
    bool pause = s->fence_action == PRIV_FENCE_PAUSE;

    *ret_done = "report";
    if (s->fence_action == PRIV_FENCE_REPORT)
        return 0;
    if (priv_channel_check_domain(s, uuid, name, err) < 0 || run_virsh(s, pause ? "suspend" : "destroy", uuid, err) < 0)
        return -1;
    *ret_done = pause ? "paused" : "destroyed";
    return 0;
}
