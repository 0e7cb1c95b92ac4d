#include "config.h"

#include "lib/common/reload.h"

#include <signal.h>

#include "lib/common/log.h"

static void
mask(int how)
{
    sigset_t set;

    sigemptyset(&set);
    sigaddset(&set, SIGHUP);
    (void)pthread_sigmask(how, &set, NULL);
}

void
reload_hold(void)
{
    mask(SIG_BLOCK);
}

void
reload_let(void)
{
    mask(SIG_UNBLOCK);
}

void
reload_take(const char *path, struct conf *running, struct conf *fresh, const char *const *live)
{
    struct conf_changes changes;

    conf_take_over(running, fresh, live, &changes);
    log_notice("event=reload result=%s file=%s%s%s%s%s%s", changes.taken[0] || changes.waiting[0] ? "taken" : "unchanged",
               path, changes.taken[0] ? " taken=" : "", changes.taken, changes.waiting[0] ? " restart=" : "",
               changes.waiting, changes.waiting[0] ? ": what stands behind restart= is taken at the next start" : "");
}

void
reload_refused(const struct error *err)
{
    log_error(err, "event=reload result=refused, going on with the configuration as it was");
}
