#include "config.h"

#include "plugin/vm_walk.h"

#include <stdio.h>
#include <string.h>

#include "lib/common/clock.h"
#include "lib/wire/problem.h"
#include "plugin/hook_health.h"
#include "plugin/lease.h"
#include "plugin/service.h"
#include "plugin/vms.h"

json_t *
vm_walk_summary(const struct vm *vm)
{
    struct host_channel_status status = { .state = HOST_CHANNEL_GONE };
    char uuid[VM_UUID_TEXT];

    if (vm->channel)
        host_channel_status(vm->channel, &status);
    vm_uuid_print(&vm->record.uuid, uuid);
    return json_pack("{s:s,s:s,s:b,s:b,s:s,s:I,s:s,s:s,s:b,s:s,s:b}", "uuid", uuid, "name", vm->record.name,
                     "managed", vm->record.managed, "running", vm->active, "state", vm_state_word(vm),
                     "epoch", (json_int_t)vm->record.e, "account",
                     vm->record.account[0] ? vm->record.account : "none", "channel",
                     vm->channel ? host_channel_state_name(status.state) : "none", "install_agent",
                     vm->record.install_agent, "mode", lease_mode_name(vm_mode(vm)), "restart_pending",
                     vm->restart_pending);
}

static void
add(json_t *steps, const char *step, const char *state, const char *seen, const char *expected,
    const char *repair)
{
    json_t *o = json_pack("{s:s,s:s,s:s}", "step", step, "state", state, "seen", seen);

    if (expected && o)
        json_object_set_new(o, "expected", json_string(expected));
    if (repair && o)
        json_object_set_new(o, "repair", json_string(repair));
    json_array_append_new(steps, o);
}

static void
add_hook(json_t *steps, const struct hostd *hostd)
{
    bool ok = strcmp(hook_health_word(hostd), "ok") == 0;

    add(steps, "hook", ok ? "ok" : hook_health_is_bad(hostd) ? "bad" : "waiting", hook_health_seen(hostd),
        ok ? NULL : "libvirt calls qemu.d/virtid in every start", ok ? NULL : hook_health_repair(hostd));
}

static void
add_libvirt(json_t *steps, const struct hostd *hostd)
{
    if (libvirt_watch_connected(hostd->watch))
        add(steps, "libvirt", "ok", "connected", NULL, NULL);
    else
        add(steps, "libvirt", "bad", "no connection", "libvirtd's read-only socket",
            "start libvirtd; see libvirt_uri in hostd.conf");
}

static void
add_service(json_t *steps, const struct hostd *hostd)
{
    if (!hostd->identity)
        add(steps, "service", "bad", "this host has not joined", "a certificate of the token service",
            "virtid host add NAME, then virtid-hostd join");
    else if (!hostd->service_up)
        add(steps, "service", "bad", hostd->service_problem[0] ? hostd->service_problem : "not asked yet",
            hostd->must_join ? "a certificate of the token service" : hostd->identity->service, service_repair(hostd));
    else
        add(steps, "service", "ok", hostd->identity->service, NULL, NULL);
}

static void
add_clock(json_t *steps, const struct hostd *hostd)
{
    int64_t ahead = hostd->channel_identity.clock_ahead_ms;
    char seen[120];

    if (ahead == 0)
        return;
    snprintf(seen, sizeof seen, "this host's clock is %lld s %s that of the token service",
             (long long)(ahead < 0 ? -ahead : ahead) / 1000, ahead > 0 ? "behind" : "ahead of");
    add(steps, "clock", "bad", seen, "clocks that agree", "set the wrong one; virtid host check shows the difference");
}

static void
add_domain(json_t *steps, const struct vm *vm)
{
    char seen[200];

    snprintf(seen, sizeof seen, "%s; tpm %s; channel %s; disk %s %s", vm_state_word(vm),
             domain_tpm_name(vm->domain.tpm), vm->domain.channel ? "yes" : "no",
             domain_disk_name(vm->domain.disk), vm->domain.disk_format);
    if (!vm->defined)
        add(steps, "domain", "bad", "libvirt does not know it", "a domain with this UUID", "virsh define");
    else if (vm->restart_pending)
        add(steps, "domain", "waiting", seen, "restart pending: it runs without the vTPM or channel that was added",
            "shut it down in the guest and start it again; a reboot in the guest is not enough");
    else if (!vm->domain.channel)
        add(steps, "domain", "bad", seen, "a channel org.virtid.0", "virtid enable DOMAIN, then restart it");
    else
        add(steps, "domain", "ok", seen, NULL, NULL);
}

static void
add_step(json_t *steps, const struct vm *vm, enum vm_step step, const char *name)
{
    const struct step_record *s = &vm->record.steps[step];
    const struct problem *problem = s->problem[0] ? problem_find(s->problem) : NULL;
    char seen[256], lost[NAME_DOMAIN_MAX + NAME_HOST_MAX + 120];
    const char *repair = problem ? problem->repair : NULL;

    if (s->state == STEP_OPEN) {
        add(steps, name, "waiting", "not done yet", NULL, NULL);
        return;
    }
    snprintf(seen, sizeof seen, "%s%s%s", s->problem, s->problem[0] && s->text[0] ? ": " : "", s->text);
    if (strcmp(s->problem, "ek-changed") == 0 && vm->hostd->identity) { /* of this very VM and host */
        snprintf(lost, sizeof lost, "start it with its own vTPM state; if that is lost: `virtid place %s %s --new-vtpm`",
                 vm->record.name, vm->hostd->identity->name);
        repair = lost;
    }
    add(steps, name, s->state == STEP_FAILED ? "bad" : s->state == STEP_BEGUN ? "waiting" : step_state_name(s->state),
        seen, s->state == STEP_FAILED && problem ? problem->title : NULL, repair);
}

/* What is in a save image goes on as it was: nothing is made for it, and nothing written. */
static void
add_saved(json_t *steps, const struct vm *vm)
{
    if (vm->managed_save && !vm->active)
        add(steps, "saved", "waiting", "managed-save: it has a saved state, so its disk and TPM are left alone", "no saved state",
            problem_find("managed-save")->repair);
}

/* Asked for after the disk was written. */
static void
add_agent_due(json_t *steps, const struct vm *vm)
{
    if (!vm->record.agent_due)
        return;
    if (strcmp(vm->record.account, "ok") == 0)
        add(steps, "install-agent", "bad", "the guest has proved itself already", "a VM without an identity yet",
            "it has an agent; install a newer one inside the guest");
    else if (vm->active || vm->record.run[0])
        add(steps, "install-agent", "waiting", "the VM runs", "the VM off", "shut it down in the guest, then start it again");
    else if (vm->record.ran && !vm->record.clean)
        add(steps, "install-agent", "waiting", "its last run did not end by a clean power-off", "a clean power-off",
            "start it and shut it down in the guest");
    else
        add(steps, "install-agent", "waiting", "it will be brought in now", NULL, NULL);
}

/* It runs, and another host has it: after a fence, a migration, or a definition that stayed behind. */
static void
add_no_right(json_t *steps, const struct vm *vm)
{
    char seen[300], repair[NAME_DOMAIN_MAX * 2 + NAME_HOST_MAX + 120];

    if (vm->answer == LEASE_RETIRED) {
        add(steps, "lease", "bad", "its identity was retired; it runs on here, without tokens", "an identity that goes on",
            problem_find("retired")->repair);
        return;
    }
    snprintf(seen, sizeof seen, "it must not go on here: %s holds the lease (%lld s left); %s",
             vm->holder[0] ? vm->holder : "another host", (long long)vm->holder_seconds,
             strcmp(vm->fence_done, "paused") == 0      ? "this host was fenced, and it was paused (fence_action)"
             : strcmp(vm->fence_done, "destroyed") == 0 ? "this host was fenced, and it was destroyed (fence_action)"
             : vm->fence_done[0]                        ? "this host was fenced; nothing is stopped (fence_action)"
                                                        : "nothing is stopped");
    snprintf(repair, sizeof repair, "virsh destroy %s here; if this is the one that is meant: virtid place %s %s --force",
             vm->record.name, vm->record.name, vm->hostd->identity ? vm->hostd->identity->name : "HOST");
    add(steps, "lease", "bad", seen, "the lease of this VM", repair);
}

static void
add_lease(json_t *steps, const struct vm *vm)
{
    const char *reason = "";
    char seen[300];
    bool may = vm_may_sign(vm, clock_monotonic_ms(), &reason) != 0;

    if ((vm->active || vm->record.run[0]) && !vm->start &&
        (vm->answer == LEASE_FOREIGN || vm->answer == LEASE_RETIRED)) {
        add_no_right(steps, vm);
    } else if (may) {
        snprintf(seen, sizeof seen, "epoch %llu, %lld s left", (unsigned long long)vm->record.e,
                 (long long)((vm->lease_until_ms - clock_monotonic_ms()) / 1000));
        add(steps, "lease", "ok", seen, NULL, NULL);
    } else if (!vm_needs_lease(vm) && vm->record.steps[STEP_LEASE].state == STEP_FAILED) {
        add_step(steps, vm, STEP_LEASE, "lease"); /* refused when it was to be provisioned */
    } else if (!vm_needs_lease(vm)) {
        add(steps, "lease", "waiting", vm->record.n_ends ? "off; its last end is not reported yet" : "off; the next start asks for it",
            NULL, NULL);
    } else {
        snprintf(seen, sizeof seen, "%s; the service's last answer: %s%s%s", reason,
                 vm->answer ? lease_answer_name(vm->answer) : "none", vm->holder[0] ? ", held by " : "",
                 vm->holder);
        add(steps, "lease", "bad", seen, "the lease of this VM",
            vm->answer == LEASE_FOREIGN ? "virtid place DOMAIN HOST says which host is meant"
                                        : "it is asked for again every 15 s");
    }
    if (vm->start_problem[0])
        add(steps, "start", "skipped", vm->start_problem, "a lease at start", NULL);
}

static void
add_channel(json_t *steps, const struct vm *vm)
{
    struct host_channel_status s;
    char seen[400];

    if (!vm->active) {
        add(steps, "channel", "waiting", "the VM does not run", NULL, NULL);
        return;
    }
    if (!vm->channel) {
        add(steps, "channel", "bad", vm->channel_problem[0] ? vm->channel_problem : "not connected",
            "a connection to the domain's QEMU, opened by virtid-privd", "see that virtid-privd runs; virtid enable DOMAIN adds a missing channel");
        return;
    }
    host_channel_status(vm->channel, &s);
    snprintf(seen, sizeof seen, "%s; %u signatures, %u connections%s%s", host_channel_state_name(s.state),
             s.signatures, s.opens, s.refusal[0] ? "; last refusal " : "", s.refusal);
    if (s.state == HOST_CHANNEL_READY)
        add(steps, "channel", "ok", seen, NULL, NULL);
    else if (s.state == HOST_CHANNEL_SILENT && vm->domain.channel_connected)
        add(steps, "channel", "bad", "channel-busy: the guest has the port open and does not answer us", "READY within 5 s",
            "another libvirt client may hold it; restart virtid-agent in the guest");
    else
        add(steps, "channel", "waiting", seen, "virtid-agent in the guest", "install and start virtid-agent: virtid enable --install-agent DOMAIN");
    if (s.word[0]) { /* the guest's own words; the repair is ours */
        const struct problem *p = problem_find(s.word);

        snprintf(seen, sizeof seen, "the guest says: %s %s", s.word, s.text);
        add(steps, "agent", p ? "bad" : "ok", seen, p ? "a proof" : NULL, p ? p->repair : NULL);
    }
}

json_t *
vm_walk(const struct vm *vm)
{
    json_t *o = vm_walk_summary(vm), *steps = json_array();

    add_hook(steps, vm->hostd);
    add_libvirt(steps, vm->hostd);
    add_service(steps, vm->hostd);
    add_clock(steps, vm->hostd);
    add_domain(steps, vm);
    if (vm_is_observed(vm)) {
        add(steps, "mode", "skipped", "observe: nothing is done with it and nothing refused", "loose or strict",
            "virtid report says what would have been; virtid set --mode loose DOMAIN");
        json_object_set_new(o, "steps", steps);
        return o;
    }
    add_saved(steps, vm);
    add_step(steps, vm, STEP_VTPM, "vtpm");
    if (vm->record.steps[STEP_VTPM].state != STEP_SKIPPED || vm->record.steps[STEP_PLACE].state != STEP_OPEN)
        add_step(steps, vm, STEP_PLACE, "place"); /* there is one to be placed */
    add_step(steps, vm, STEP_INJECT, "inject");
    add_agent_due(steps, vm);
    add_step(steps, vm, STEP_ACCOUNT, "account");
    add_lease(steps, vm);
    add_channel(steps, vm);
    json_object_set_new(o, "steps", steps);
    if (vm->service_steps)
        json_object_set(o, "service_steps", vm->service_steps);
    return o;
}

json_t *
vm_walk_status(const struct hostd *hostd)
{
    unsigned managed = 0, running = 0;
    json_t *o;

    for (const struct vm *vm = hostd->vms; vm; vm = vm->next) {
        managed += vm->record.managed;
        running += vm->record.managed && vm->active;
    }
    o = json_pack("{s:s,s:s,s:s,s:s,s:s,s:b,s:b,s:s,s:s,s:s,s:i,s:i,s:i,s:s,s:I,s:I,s:s,s:s,s:s,s:s,s:s}", "version",
                     PACKAGE_VERSION, "host", hostd->identity ? hostd->identity->name : "", "service",
                     lease_service_word(hostd), "service_problem", hostd->service_problem, "service_repair",
                     hostd->identity ? service_repair(hostd) : "", "libvirt",
                     libvirt_watch_connected(hostd->watch), "swept", hostd->swept, "hook",
                     hook_health_word(hostd), "hook_seen", hook_health_seen(hostd), "hook_repair",
                     hook_health_repair(hostd), "managed", (int)managed, "running", (int)running,
                     "journal_bad", (int)hostd->journal_bad, "issuer",
                     hostd->identity ? hostd->identity->issuer : "", "certificate_begins",
                     hostd->identity ? (json_int_t)hostd->identity->not_before : 0, "certificate_ends",
                     hostd->identity ? (json_int_t)hostd->identity->not_after : 0, "state_dir",
                     hostd->settings.state_dir, "swtpm_dir", hostd->settings.swtpm_dir, "priv_socket",
                     hostd->settings.priv_socket, "hook_dir", hostd->settings.hook_dir, "libvirt_run_dir",
                     hostd->settings.libvirt_run_dir);
    if (o && hostd->has_clock)
        json_object_set_new(o, "clock_ahead_ms", json_integer((json_int_t)hostd->clock_ahead_ms));
    return o;
}
