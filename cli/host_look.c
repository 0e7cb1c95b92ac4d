#include "config.h"

#include "cli/host_look.h"

#include <ctype.h>
#include <errno.h>
#include <fcntl.h>
#include <limits.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <sys/statvfs.h>
#include <sys/timex.h>
#include <sys/xattr.h>
#include <unistd.h>

#include "lib/common/buf.h"
#include "lib/common/clock.h"
#include "lib/common/fdio.h"
#include "lib/common/process.h"

enum {
    RUN_MS = 5000,
    LINE_MAX_BYTES = 8192,
    AUDIT_TAIL = 1 << 20, /* as much of the audit log as can hold the last hours of a busy host */
    CLOCK_OFF_S = 5,  /* good to a second; a nonce lives 30 s */
    CLOCK_FAR_S = 60, /* what verifiers grant between their clock and a token's */
    ROOM_LEAST_MB = 16, ROOM_LOW_MB = 256, INODES_LEAST = 1000,
};

void
finding_say(struct finding *f, enum verdict verdict, const char *repair, const char *seen, ...)
{
    va_list ap;

    f->verdict = verdict;
    snprintf(f->repair, sizeof f->repair, "%s", repair);
    va_start(ap, seen);
    vsnprintf(f->seen, sizeof f->seen, seen, ap);
    va_end(ap);
}

/* ---- denials ---- */

bool
host_look_is_denial(const char *line, const char *hook)
{
    bool denied = strstr(line, "apparmor=\"DENIED\"") || (strstr(line, "avc:") && strstr(line, " denied "));
    char name[PATH_MAX + 16], path[PATH_MAX + 16];

    snprintf(name, sizeof name, "name=\"%s\"", hook);
    snprintf(path, sizeof path, "path=\"%s\"", hook);
    /* libvirt's child is named after the file that it runs. */
    return denied && (strstr(line, name) || strstr(line, path) || strstr(line, "comm=\"virtid\""));
}

/* "6,1234,5678901,-;text": the third number is the time since boot in microseconds. */
static int64_t
kmsg_time_ms(const char *record)
{
    const char *at = strchr(record, ',');

    at = at ? strchr(at + 1, ',') : NULL;
    return at ? strtoll(at + 1, NULL, 10) / 1000 : 0;
}

static bool
kernel_log_denies(const struct hook_daemon *daemon, const char *hook)
{
    CLEANUP(fd_close) int fd = open("/dev/kmsg", O_RDONLY | O_NONBLOCK | O_CLOEXEC);
    int64_t since = daemon->started_ms - (clock_realtime_ms() - clock_monotonic_ms());
    char record[LINE_MAX_BYTES + 1];
    ssize_t n;

    /* EPIPE: a record was overwritten while we read; the next is there. */
    while (fd >= 0 && ((n = read(fd, record, LINE_MAX_BYTES)) > 0 || (n < 0 && errno == EPIPE))) {
        record[n > 0 ? n : 0] = '\0';
        if (kmsg_time_ms(record) >= since && host_look_is_denial(record, hook))
            return true;
    }
    return false;
}

/* "... msg=audit(1700000000.123:45): ..." */
static int64_t
audit_time_ms(const char *line)
{
    const char *at = strstr(line, "audit(");

    return at ? (int64_t)(strtod(at + 6, NULL) * 1000) : 0;
}

static bool
audit_log_denies(const struct hook_daemon *daemon, const char *hook)
{
    FILE *log = fopen("/var/log/audit/audit.log", "re");
    char line[LINE_MAX_BYTES];
    bool found = false;

    if (!log)
        return false;
    if (fseek(log, -AUDIT_TAIL, SEEK_END) < 0)
        rewind(log);
    while (!found && fgets(line, sizeof line, log))
        found = audit_time_ms(line) >= daemon->started_ms && host_look_is_denial(line, hook);
    fclose(log);
    return found;
}

static bool
is_denied(const struct hook_daemon *daemon, const char *hook)
{
    return kernel_log_denies(daemon, hook) || audit_log_denies(daemon, hook);
}

/* One line of a small file, without its end; "" if it can not be read. */
static void
read_line(const char *path, char *ret, size_t size)
{
    CLEANUP(fd_close) int fd = open(path, O_RDONLY | O_CLOEXEC);
    ssize_t n = fd < 0 ? -1 : read(fd, ret, size - 1);

    ret[n > 0 ? n : 0] = '\0';
    ret[strcspn(ret, "\n")] = '\0';
}

static bool
apparmor_is_on(void)
{
    char enabled[8];

    read_line("/sys/module/apparmor/parameters/enabled", enabled, sizeof enabled);
    return enabled[0] == 'Y' && access("/sys/kernel/security/apparmor/profiles", F_OK) == 0;
}

/* Debian's profile of libvirtd runs what lies in /etc/libvirt/hooks, and no links out of it. */
static const char apparmor_repair[] =
    "put \"/etc/libvirt/hooks/** rmix,\" and the hook's own path into /etc/apparmor.d/local/usr.sbin.libvirtd, then "
    "apparmor_parser -r /etc/apparmor.d/usr.sbin.libvirtd; the kernel's log (dmesg | grep DENIED) names what is missing";

void
host_look_apparmor(const struct hook_daemon *daemon, const char *hook, bool called, struct finding *f)
{
    char path[64], profile[200];

    if (!apparmor_is_on()) {
        finding_say(f, VERDICT_PASS, "", "not in use");
        return;
    }
    if (daemon->pid == 0) {
        finding_say(f, VERDICT_WARN, "systemctl start libvirtd", "in use; libvirtd does not run, so its profile is not known");
        return;
    }
    snprintf(path, sizeof path, "/proc/%ld/attr/apparmor/current", (long)daemon->pid);
    read_line(path, profile, sizeof profile);
    if (!profile[0]) {
        snprintf(path, sizeof path, "/proc/%ld/attr/current", (long)daemon->pid);
        read_line(path, profile, sizeof profile);
    }
    if (called)
        finding_say(f, VERDICT_PASS, "", "%s is %s and has run the hook", daemon->name, profile[0] ? profile : "confined");
    else if (strncmp(profile, "unconfined", 10) == 0)
        finding_say(f, VERDICT_PASS, "", "%s is not confined", daemon->name);
    else if (is_denied(daemon, hook))
        finding_say(f, VERDICT_FAIL, apparmor_repair, "%s is %s and was denied the hook", daemon->name, profile);
    else if (strncmp(hook, "/etc/libvirt/hooks/", 19) != 0)
        finding_say(f, VERDICT_WARN, apparmor_repair, "%s is %s, whose profile need not allow %s", daemon->name, profile, hook);
    else
        finding_say(f, VERDICT_PASS, "", "%s is %s; no denial in the kernel's log", daemon->name,
                    profile[0] ? profile : "of a profile that may not be read");
}

void
host_look_selinux(const struct hook_daemon *daemon, const char *hook, bool called, struct finding *f)
{
    static const char repair[] = "restorecon -Rv /etc/libvirt/hooks; if that is not enough: "
                                 "ausearch -m avc -c virtid | audit2allow -M virtid-hook && semodule -i virtid-hook.pp";
    char enforce[8], label[200] = "";
    ssize_t n;

    read_line("/sys/fs/selinux/enforce", enforce, sizeof enforce);
    if (!enforce[0]) {
        finding_say(f, VERDICT_PASS, "", "not in use");
        return;
    }
    n = lgetxattr(hook, "security.selinux", label, sizeof label - 1);
    label[n > 0 ? n : 0] = '\0';
    if (called)
        finding_say(f, VERDICT_PASS, "", "%s has run the hook, labelled %s", daemon->name, label);
    else if (enforce[0] != '1')
        finding_say(f, VERDICT_PASS, "", "permissive");
    else if (is_denied(daemon, hook))
        finding_say(f, VERDICT_FAIL, repair, "enforcing, and libvirtd was denied the hook, labelled %s", label);
    else
        finding_say(f, VERDICT_WARN, "start any domain, then check again; restorecon -Rv /etc/libvirt/hooks sets the label of your policy",
                    "enforcing; the hook, labelled %s, was not called yet", label[0] ? label : "(none)");
}

/* ---- programs ---- */

bool
host_look_run(const char *const *argv, char *ret, size_t size)
{
    struct process_spawn spawn = PROCESS_SPAWN(argv);
    CLEANUP(fd_close) int from = -1;
    CLEANUP(fd_close) int to = -1;
    struct error err;
    int pipe_fds[2];
    ssize_t n;
    pid_t pid;

    if (pipe2(pipe_fds, O_CLOEXEC) < 0)
        return false;
    from = pipe_fds[0];
    to = spawn.stdout_fd = pipe_fds[1];
    if (process_start(&spawn, &pid, &err) < 0)
        return false;
    fd_close(fd_steal(&to));
    if (process_wait(pid, clock_monotonic_ms() + RUN_MS, &err) < 0)
        return false;
    n = read(from, ret, size - 1); /* a line fits into the pipe */
    ret[n > 0 ? n : 0] = '\0';
    ret[strcspn(ret, "\n")] = '\0';
    return ret[0] != '\0';
}

static const char *
find_number(const char *line)
{
    while (*line && !(isdigit((unsigned char)line[0]) && line[strspn(line, "0123456789")] == '.'))
        line++;
    return line;
}

/* Part by part; what is missing is 0. */
static int
compare_numbers(const char *a, const char *b)
{
    for (int i = 0; i < 3; i++) {
        char *after_a, *after_b;
        long x = strtol(a, &after_a, 10), y = strtol(b, &after_b, 10);

        if (x != y)
            return x < y ? -1 : 1;
        a = after_a + (*after_a == '.');
        b = after_b + (*after_b == '.');
    }
    return 0;
}

void
host_look_version(const char *what, const char *line, const char *least, struct finding *f)
{
    const char *number = find_number(line);

    if (!*number)
        finding_say(f, VERDICT_WARN, "", "%s does not say its version", what);
    else if (compare_numbers(number, least) < 0)
        finding_say(f, VERDICT_WARN, "install a newer one", "%s %.*s; virtid is tested with %s and newer", what,
                    (int)strspn(number, "0123456789."), number, least);
    else
        finding_say(f, VERDICT_PASS, "", "%s %.*s", what, (int)strspn(number, "0123456789."), number);
}

void
host_look_kvm(const char *probe, struct finding *f)
{
    const char *const argv[] = { probe, "--probe-kvm", NULL };
    char word[16];

    if (!host_look_run(argv, word, sizeof word))
        finding_say(f, VERDICT_WARN, "install virtid again (make install)", "%s --probe-kvm does not answer", probe);
    else if (strcmp(word, "kvm") == 0)
        finding_say(f, VERDICT_PASS, "", "a guest's instructions run");
    else if (access("/dev/kvm", F_OK) == 0)
        finding_say(f, VERDICT_WARN, "see dmesg | grep kvm; in a virtual machine, let its host pass virtualization on",
                    "/dev/kvm is there, and no guest runs in it: secrets are injected slowly, by emulation");
    else
        finding_say(f, VERDICT_WARN, "modprobe kvm_intel or kvm_amd; switch virtualization on in the firmware",
                    "no /dev/kvm: secrets are injected slowly, by emulation");
}

/* ---- clock, room, certificate ---- */

void
host_look_clock(struct finding *f)
{
    struct timex t = { 0 };
    int state = adjtimex(&t);

    if (state < 0)
        finding_say(f, VERDICT_WARN, "", "may not be asked: %s", strerror(errno));
    else if (state == TIME_ERROR || (t.status & STA_UNSYNC))
        finding_say(f, VERDICT_WARN, "systemctl enable --now systemd-timesyncd (or chrony)",
                    "nothing keeps the clock right; proofs and tokens are dated");
    else
        finding_say(f, VERDICT_PASS, "", "kept right");
}

void
host_look_difference(bool known, int64_t ahead_ms, struct finding *f)
{
    double off = (double)(ahead_ms < 0 ? -ahead_ms : ahead_ms) / 1000;
    enum verdict verdict = off > CLOCK_FAR_S ? VERDICT_FAIL : off > CLOCK_OFF_S ? VERDICT_WARN : VERDICT_PASS;

    if (!known)
        finding_say(f, VERDICT_WARN, "see that the token service answers, then check again", "virtid-hostd had no answer to compare it with");
    else if (verdict == VERDICT_PASS)
        finding_say(f, verdict, "", "to the second: %.1f s", off);
    else
        finding_say(f, verdict, "set the wrong one: systemctl enable --now systemd-timesyncd (or chrony), here and where the service runs",
                    "the clock here is %.1f s %s the service's", off, ahead_ms > 0 ? "behind" : "ahead of");
}

void
host_look_room(const char *dir, struct finding *f)
{
    struct statvfs s;
    unsigned long long mb;
    char repair[PATH_MAX + 40];

    if (statvfs(dir, &s) < 0) {
        finding_say(f, errno == ENOENT ? VERDICT_FAIL : VERDICT_WARN, "start virtid-hostd and libvirtd, which make their folders",
                    "%s: %s", dir, strerror(errno));
        return;
    }
    mb = (unsigned long long)s.f_bavail * s.f_frsize >> 20;
    snprintf(repair, sizeof repair, "make room on the filesystem of %s (df %s)", dir, dir);
    if (mb < ROOM_LEAST_MB || (s.f_files > 0 && s.f_favail < INODES_LEAST))
        finding_say(f, VERDICT_FAIL, repair, "%s has %llu MB and %llu inodes left", dir, mb, (unsigned long long)s.f_favail);
    else if (mb < ROOM_LOW_MB)
        finding_say(f, VERDICT_WARN, repair, "%s has %llu MB left", dir, mb);
    else
        finding_say(f, VERDICT_PASS, "", "%s has %llu MB left", dir, mb);
}

void
host_look_certificate(int64_t begins, int64_t ends, int64_t now, struct finding *f)
{
    long long hours = (long long)((ends - now) / 3600);

    if (now < begins)
        finding_say(f, VERDICT_FAIL, "set the clock of this host, or of the token service's",
                    "it begins in %lld s: the clock here is behind", (long long)(begins - now));
    else if (now >= ends)
        finding_say(f, VERDICT_FAIL, "virtid host remove NAME and virtid host add NAME where the service runs, then virtid-hostd join",
                    "it ended %lld h ago", -hours);
    else if (ends - now < (ends - begins) / 4) /* it is renewed at the half */
        finding_say(f, VERDICT_WARN, "see the log of virtid-hostd for why it is not renewed", "%lld h left, and it is not renewed", hours);
    else
        finding_say(f, VERDICT_PASS, "", "%lld h left", hours);
}
