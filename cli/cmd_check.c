/*
 * virtid host check - is everything on this host as VMs with an identity need it?
 *
 * In the manner of virt-host-validate: one line per check, and the command that repairs it.
 */
#include "config.h"

#include <limits.h>
#include <stdio.h>
#include <string.h>
#include <sys/socket.h>
#include <time.h>
#include <unistd.h>

#include "cli/command.h"
#include "cli/daemon_client.h"
#include "cli/host_look.h"
#include "cli/libvirt.h"
#include "lib/common/fdio.h"

#define LEAST_LIBVIRT "9.0"
#define LEAST_QEMU "7.2"
#define LEAST_SWTPM "0.7.1"

struct check {
    const struct cli *cli;
    json_t *status; /* of the host daemon; NULL: it does not answer */
    char status_problem[400];
    const char *hook_dir;
    char hook[PATH_MAX];
    struct hook_daemon daemon;
    bool called; /* this run of libvirtd has run the hook */
    json_t *lines;
    bool failed;
};

static const char *const verdict_names[] = {
    [VERDICT_PASS] = "PASS", [VERDICT_WARN] = "WARN", [VERDICT_FAIL] = "FAIL",
};

/* One line, as soon as it is known. */
static void
line(struct check *c, const char *group, const char *what, const struct finding *f)
{
    const char *verdict = verdict_names[f->verdict];

    c->failed |= f->verdict == VERDICT_FAIL;
    json_array_append_new(c->lines, json_pack("{s:s,s:s,s:s,s:s,s:s}", "group", group, "check", what, "verdict",
                                              verdict, "seen", f->seen, "repair", f->repair));
    if (c->cli->json)
        return;
    printf("%8s: Checking %-52s : %s (%s)\n", group, what, verdict, f->seen);
    if (f->verdict != VERDICT_PASS && f->repair[0])
        printf("%8s  repair: %s\n", "", f->repair);
    fflush(stdout);
}

static const char *
fact(const struct check *c, const char *name, const char *fallback)
{
    const char *text = daemon_text(c->status, name, "");

    return *text ? text : fallback;
}

static bool
fact_is(const struct check *c, const char *name, const char *value)
{
    return strcmp(fact(c, name, ""), value) == 0;
}

/* ---- the hook ---- */

static void
check_seen(struct check *c, const struct hook_place *place)
{
    struct finding f;

    if (c->called)
        finding_say(&f, VERDICT_PASS, "", "%s has called it", c->daemon.name[0] ? c->daemon.name : "libvirt");
    else if (fact_is(c, "hook", "silent"))
        finding_say(&f, VERDICT_FAIL, fact(c, "hook_repair", ""), "%s", fact(c, "hook_seen", ""));
    else if (place->state == HOOK_PLACE_GOOD || (place->state == HOOK_PLACE_LATE && fact_is(c, "hook", "unproven")))
        finding_say(&f, VERDICT_WARN, "start any domain, then check again",
                    "it should: there was one when %s started; it was not called yet", c->daemon.name);
    else
        finding_say(&f, place->state == HOOK_PLACE_UNKNOWN ? VERDICT_WARN : VERDICT_FAIL, place->repair, "%s", place->seen);
    line(c, "HOOK", "if libvirt sees the hook", &f);
}

static void
check_hook_version(struct check *c)
{
    const char *const argv[] = { c->hook, "--version", NULL };
    char said[120];
    struct finding f;

    if (!host_look_run(argv, said, sizeof said))
        finding_say(&f, VERDICT_FAIL, "install virtid again (make install)", "%s does not run", c->hook);
    else if (strcmp(said, "virtid-hook " PACKAGE_VERSION) != 0)
        finding_say(&f, VERDICT_WARN, "install the hook of the same version (make install)", "%s, and this is virtid %s", said, PACKAGE_VERSION);
    else
        finding_say(&f, VERDICT_PASS, "", "%s", said);
    line(c, "HOOK", "if the hook is of this version", &f);
}

static void
check_hook(struct check *c)
{
    struct hook_place place;
    struct finding f;

    hook_place_look(c->hook_dir, &c->daemon, &place);
    if (place.state == HOOK_PLACE_ABSENT || place.state == HOOK_PLACE_UNUSABLE)
        finding_say(&f, VERDICT_FAIL, place.repair, "%s", place.seen);
    else if (place.state == HOOK_PLACE_UNKNOWN && c->daemon.pid != 0)
        finding_say(&f, VERDICT_WARN, "run this as root", "%s", place.seen);
    else
        finding_say(&f, VERDICT_PASS, "", "%s", c->hook);
    line(c, "HOOK", "if the hook is in place and executable", &f);
    check_seen(c, &place);
    host_look_apparmor(&c->daemon, c->hook, c->called, &f);
    line(c, "HOOK", "if AppArmor allows it", &f);
    host_look_selinux(&c->daemon, c->hook, c->called, &f);
    line(c, "HOOK", "if SELinux allows it", &f);
    if (place.state != HOOK_PLACE_ABSENT && place.state != HOOK_PLACE_UNUSABLE)
        check_hook_version(c);
}

/* ---- daemons ---- */

static void
check_privd(struct check *c)
{
    const char *path = fact(c, "priv_socket", VIRTID_PRIV_SOCKET);
    CLEANUP(fd_close) int fd = -1;
    struct error err;
    struct finding f;

    if (unix_connect(path, SOCK_SEQPACKET, &fd, &err) == 0)
        finding_say(&f, VERDICT_PASS, "", "%s", path);
    else
        finding_say(&f, VERDICT_FAIL, "systemctl enable --now virtid-privd", "%s", err.text);
    line(c, "DAEMONS", "if virtid-privd is there", &f);
}

static void
check_service(struct check *c)
{
    struct finding f;

    if (fact_is(c, "service", "up"))
        finding_say(&f, VERDICT_PASS, "", "%s", fact(c, "issuer", ""));
    else if (fact_is(c, "service", "not-joined"))
        finding_say(&f, VERDICT_FAIL, "virtid host add NAME where the service runs, then virtid-hostd join here", "this host has not joined a trust domain");
    else
        finding_say(&f, VERDICT_FAIL, fact(c, "service_repair", "see that virtid-tokend runs and is reachable from here"), "%s",
                    fact(c, "service_problem", "no word from it"));
    line(c, "DAEMONS", "if the token service answers", &f);
    if (fact_is(c, "service", "not-joined"))
        return;
    host_look_difference(json_object_get(c->status, "clock_ahead_ms") != NULL,
                         json_integer_value(json_object_get(c->status, "clock_ahead_ms")), &f);
    line(c, "HOST", "if the clock agrees with the token service's", &f);
    host_look_certificate(json_integer_value(json_object_get(c->status, "certificate_begins")),
                          json_integer_value(json_object_get(c->status, "certificate_ends")), time(NULL), &f);
    line(c, "HOST", "if this host's certificate is good", &f);
}

static void
check_journal(struct check *c)
{
    long long bad = (long long)json_integer_value(json_object_get(c->status, "journal_bad"));
    struct finding f;

    if (bad > 0)
        finding_say(&f, VERDICT_WARN, "look at the *.bad files in vms below state_dir; remove them when they are understood",
                    "%lld files could not be read and are put aside", bad);
    else
        finding_say(&f, VERDICT_PASS, "", "all files read");
    line(c, "HOST", "if the journal is whole", &f);
}

static void
check_daemons(struct check *c)
{
    struct finding f;

    if (!c->status)
        finding_say(&f, VERDICT_FAIL, "systemctl enable --now virtid-hostd", "%s", c->status_problem);
    else if (!fact_is(c, "version", PACKAGE_VERSION))
        finding_say(&f, VERDICT_WARN, "systemctl restart virtid-hostd", "it is of version %s, this is %s", fact(c, "version", "?"), PACKAGE_VERSION);
    else
        finding_say(&f, VERDICT_PASS, "", "version %s", PACKAGE_VERSION);
    line(c, "DAEMONS", "if virtid-hostd is there", &f);
    check_privd(c);
    if (!c->status)
        return;
    if (fact_is(c, "libvirt", "yes"))
        finding_say(&f, VERDICT_PASS, "", "virtid-hostd is connected");
    else
        finding_say(&f, VERDICT_FAIL, "systemctl start libvirtd; see libvirt_uri in hostd.conf", "virtid-hostd has no connection to it");
    line(c, "DAEMONS", "if libvirt answers", &f);
    check_service(c);
    check_journal(c);
}

/* ---- the host ---- */

static void
print_number(unsigned long number, char ret[static 40])
{
    snprintf(ret, 40, "%lu.%lu.%lu", number / 1000000, number / 1000 % 1000, number % 1000);
}

static void
check_versions(struct check *c)
{
    static const char *const argv[] = { VIRTID_SWTPM, "--version", NULL };
    CLEANUP(libvirt_close) struct libvirt *libvirt = NULL;
    unsigned long of_libvirt = 0, of_qemu = 0;
    char said[120];
    struct error err;
    struct finding f;

    if (libvirt_open(c->cli->uri, true, &libvirt, &err) == 0 &&
        libvirt_versions(libvirt, &of_libvirt, &of_qemu, &err) == 0) {
        print_number(of_libvirt, said);
        host_look_version("libvirt", said, LEAST_LIBVIRT, &f);
        line(c, "HOST", "for libvirt's version", &f);
        print_number(of_qemu, said);
        host_look_version("QEMU", said, LEAST_QEMU, &f);
    } else {
        finding_say(&f, VERDICT_FAIL, "systemctl start libvirtd", "%s", err.text);
    }
    line(c, "HOST", of_qemu ? "for QEMU's version" : "for the versions of libvirt and QEMU", &f);
    if (host_look_run(argv, said, sizeof said))
        host_look_version("swtpm", said, LEAST_SWTPM, &f);
    else
        finding_say(&f, VERDICT_FAIL, "apt-get install swtpm", "%s does not run: no VM gets a TPM", argv[0]);
    line(c, "HOST", "for swtpm's version", &f);
}

static void
check_host(struct check *c)
{
    struct finding f;

    check_versions(c);
    host_look_kvm(VIRTID_LIBEXECDIR "/virtid-inject", &f);
    line(c, "HOST", "if KVM really runs a guest", &f);
    host_look_clock(&f);
    line(c, "HOST", "if the clock is kept right", &f);
    host_look_room(fact(c, "state_dir", VIRTID_STATE_DIR), &f);
    line(c, "HOST", "for room for the journal", &f);
    host_look_room(fact(c, "swtpm_dir", "/var/lib/libvirt/swtpm"), &f);
    line(c, "HOST", "for room for vTPM states", &f);
}

int
cmd_host_check(const struct cli *cli, int argc, char **argv)
{
    struct check c = { .cli = cli };
    struct error err = { 0 };

    (void)argv;
    if (argc != 1)
        return cli_usage("host check takes no argument");
    c.lines = json_array();
    if (!c.lines || daemon_ask(cli->host_socket, "GET", "/v1/status", NULL, &c.status, &err) < 0)
        snprintf(c.status_problem, sizeof c.status_problem, "%s", err.text);
    c.hook_dir = fact(&c, "hook_dir", VIRTID_HOOK_DIR);
    c.called = fact_is(&c, "hook", "ok");
    snprintf(c.hook, sizeof c.hook, "%.4000s/qemu.d/virtid", c.hook_dir);
    hook_daemon_find(fact(&c, "libvirt_run_dir", "/run"), &c.daemon);
    check_hook(&c);
    check_daemons(&c);
    check_host(&c);
    if (cli->json)
        (void)cli_json(c.lines);
    json_decref(c.status);
    json_decref(c.lines);
    return c.failed ? EXIT_FAILED : EXIT_DONE;
}
