#include "config.h"

#include "plugin/hook_health.h"

#include <limits.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "lib/common/buf.h"
#include "lib/common/fdio.h"
#include "lib/common/log.h"

#define CALLED "hook-called"
#define FOUND "hook-found"

enum { LOOK_EVERY_MS = 10 * 1000, MARK_MAX = 64 };

static const char *const place_words[] = {
    [HOOK_PLACE_GOOD] = "unproven",    [HOOK_PLACE_ABSENT] = "absent",   [HOOK_PLACE_UNUSABLE] = "unusable",
    [HOOK_PLACE_LATE] = "late",        [HOOK_PLACE_UNKNOWN] = "unknown",
};

/* ---- which libvirtd found us, which has called us: kept in run_dir, which goes with the boot ---- */

static void
read_mark(const struct hostd *hostd, const char *name, pid_t *ret_pid, unsigned long long *ret_ticks)
{
    CLEANUP(buf_clear) struct buf text = BUF(MARK_MAX);
    char path[PATH_MAX], *end;
    struct error err;

    snprintf(path, sizeof path, "%s/%s", hostd->settings.run_dir, name);
    if (file_read(path, &text, &err) < 0 || !buf_text(&text))
        return;
    *ret_pid = (pid_t)strtol(buf_text(&text), &end, 10);
    *ret_ticks = *end == '@' ? strtoull(end + 1, NULL, 10) : 0;
}

static void
keep_mark(const struct hostd *hostd, const char *name, pid_t pid, unsigned long long ticks)
{
    char path[PATH_MAX], text[MARK_MAX];
    struct error err;
    int len = snprintf(text, sizeof text, "%ld@%llu\n", (long)pid, ticks);

    snprintf(path, sizeof path, "%s/%s", hostd->settings.run_dir, name);
    if (file_replace(path, text, (size_t)len, 0644, &err) < 0)
        log_error(&err, "that libvirt calls the hook will be forgotten with this process; going on");
}

void
hook_health_open(struct hostd *hostd)
{
    struct hook_state *h = &hostd->hook;

    read_mark(hostd, CALLED, &h->called_pid, &h->called_ticks);
    read_mark(hostd, FOUND, &h->found_pid, &h->found_ticks);
    hook_health_look(hostd);
}

static bool
is_called(const struct hostd *hostd)
{
    const struct hook_state *h = &hostd->hook;

    if (h->daemon.pid == 0)
        return h->called_unknown;
    return h->called_pid == h->daemon.pid && h->called_ticks == h->daemon.ticks;
}

/* ---- the word ---- */

const char *
hook_health_word(const struct hostd *hostd)
{
    const struct hook_state *h = &hostd->hook;
    bool broken = h->place.state == HOOK_PLACE_ABSENT || h->place.state == HOOK_PLACE_UNUSABLE;

    if (h->silent[0])
        return "silent";
    /* Called before, but what is in its place now will not be. */
    return is_called(hostd) && !broken ? "ok" : place_words[h->place.state];
}

bool
hook_health_is_bad(const struct hostd *hostd)
{
    const char *word = hook_health_word(hostd);

    return strcmp(word, "ok") != 0 && strcmp(word, "unproven") != 0 && strcmp(word, "unknown") != 0;
}

const char *
hook_health_seen(const struct hostd *hostd)
{
    static char text[NAME_DOMAIN_MAX + 80];
    const char *word = hook_health_word(hostd);

    if (strcmp(word, "silent") == 0) {
        snprintf(text, sizeof text, "%s started and libvirt did not call the hook", hostd->hook.silent);
        return text;
    }
    return strcmp(word, "ok") == 0 ? "libvirt calls it" : hostd->hook.place.seen;
}

const char *
hook_health_repair(const struct hostd *hostd)
{
    const char *word = hook_health_word(hostd);

    if (strcmp(word, "ok") == 0)
        return "";
    if (hostd->hook.place.repair[0])
        return hostd->hook.place.repair;
    return strcmp(word, "silent") == 0
               ? "systemctl restart libvirtd; if that does not help, virtid host check on the host says what denies it"
               : "start any domain, then look again";
}

static void
say_change(struct hostd *hostd)
{
    const char *word = hook_health_word(hostd);

    if (strcmp(word, hostd->hook.said) == 0)
        return;
    snprintf(hostd->hook.said, sizeof hostd->hook.said, "%s", word);
    if (hook_health_is_bad(hostd))
        log_warning("event=hook state=%s %s; repair: %s", word, hook_health_seen(hostd), hook_health_repair(hostd));
    else
        log_notice("event=hook state=%s", word);
    hostd->next_report_ms = 0; /* the operators hear it now, not with the next renewal */
}

/* ---- what happens ---- */

/*
 * libvirtd looks once whether there is any hook, and then runs what is in the place.  So a file that is
 * newer than libvirtd is late only if there was none before: an update replaces it, and is called.
 */
static void
remember_found(struct hostd *hostd)
{
    struct hook_state *h = &hostd->hook;
    bool found = h->daemon.pid != 0 && h->found_pid == h->daemon.pid && h->found_ticks == h->daemon.ticks;

    if (h->place.state == HOOK_PLACE_LATE && found) {
        h->place.state = HOOK_PLACE_GOOD;
        snprintf(h->place.seen, sizeof h->place.seen, "it was replaced after libvirtd had found one in its place");
        h->place.repair[0] = '\0';
    } else if (h->place.state == HOOK_PLACE_GOOD && !found) {
        h->found_pid = h->daemon.pid;
        h->found_ticks = h->daemon.ticks;
        keep_mark(hostd, FOUND, h->found_pid, h->found_ticks);
    }
}

static void
keep_called(struct hostd *hostd)
{
    struct hook_state *h = &hostd->hook;

    if (h->unkept)
        keep_mark(hostd, CALLED, h->called_pid, h->called_ticks);
    h->unkept = false;
}

void
hook_health_close(struct hostd *hostd)
{
    keep_called(hostd);
}

void
hook_health_look(struct hostd *hostd)
{
    struct hook_state *h = &hostd->hook;
    struct hook_daemon before = h->daemon;

    hook_daemon_find(hostd->settings.libvirt_run_dir, &h->daemon);
    hook_place_look(hostd->settings.hook_dir, &h->daemon, &h->place);
    remember_found(hostd);
    keep_called(hostd);
    /* What the libvirtd before did not call says nothing of this one. */
    if (before.pid != h->daemon.pid || before.ticks != h->daemon.ticks)
        h->silent[0] = '\0';
    say_change(hostd);
}

void
hook_health_tick(struct hostd *hostd, int64_t now_ms)
{
    if (now_ms < hostd->hook.next_look_ms)
        return;
    hostd->hook.next_look_ms = now_ms + LOOK_EVERY_MS;
    hook_health_look(hostd);
}

void
hook_health_called(struct hostd *hostd, pid_t peer)
{
    struct hook_state *h = &hostd->hook;

    if (is_called(hostd) && !h->silent[0])
        return;
    hook_daemon_find(hostd->settings.libvirt_run_dir, &h->daemon);
    /* An operator who tries the hook by hand is no libvirtd. */
    if (h->daemon.pid != 0 && !hook_daemon_is_parent(h->daemon.pid, peer))
        return;
    h->called_unknown = h->daemon.pid == 0;
    h->called_pid = h->daemon.pid;
    h->called_ticks = h->daemon.ticks;
    h->silent[0] = '\0';
    h->unkept = true; /* written by the next look, soon: nobody waits for a disk here */
    h->next_look_ms = 0;
    say_change(hostd);
}

void
hook_health_silent(struct hostd *hostd, const char *name)
{
    snprintf(hostd->hook.silent, sizeof hostd->hook.silent, "%s", name);
    say_change(hostd);
}
