#include "config.h"

#include "plugin/provision_steps.h"

#include <errno.h>
#include <fcntl.h>
#include <limits.h>
#include <stdio.h>
#include <string.h>

#include "lib/common/clock.h"
#include "lib/common/fdio.h"
#include "plugin/payload.h"
#include "plugin/priv_client.h"
#include "plugin/vtpm/vtpm.h"

enum {
    VTPM_MS = 10000,
    INJECT_MS = 120 * 1000, /* while the VM is off nobody waits */
    INJECT_GRACE_MS = 10 * 1000,
};

/* ---- noting ---- */

static void
note(struct provision_work *w, enum vm_step step, enum step_state state, const char *problem,
     const char *text)
{
    struct step_record *s = &w->record.steps[step];

    s->state = state;
    snprintf(s->problem, sizeof s->problem, "%s", problem);
    snprintf(s->text, sizeof s->text, "%.199s", text);
    w->note(w->context);
}

static void
skip(struct provision_work *w, enum vm_step step, const char *problem, const char *text)
{
    note(w, step, STEP_SKIPPED, problem, text);
}

static bool
is_settled(const struct provision_work *w, enum vm_step step)
{
    return w->record.steps[step].state == STEP_DONE || w->record.steps[step].state == STEP_SKIPPED;
}

/*
 * Something is away.  In a start the step is skipped: the VM comes up without that factor, for now.
 * Otherwise it is kept for the next try.
 */
static int
fail(struct provision_work *w, enum vm_step step, const struct error *why)
{
    const char *problem = why->problem[0] ? why->problem : "unavailable";

    if (w->inside_start) {
        skip(w, step, problem, why->text);
        return 0;
    }
    note(w, step, STEP_FAILED, problem, why->text);
    return -1;
}

/* ---- vTPM ---- */

static int
ask_privd(struct provision_work *w, struct priv_request *request, int fd, int64_t wait_ms,
          struct priv_answer *ret, struct error *err)
{
    request->uuid = w->record.uuid;
    return priv_client_ask(w->settings.priv_socket, request, fd, clock_monotonic_ms() + wait_ms,
                           ret, NULL, 0, err);
}

struct certifier {
    struct enroll *enroll;
    uint64_t e;
};

static int
certify(void *self, const struct vm_uuid *uuid, const uint8_t *ek, size_t ek_len,
        uint8_t *ret_der, size_t *ret_len, struct error *err)
{
    struct certifier *c = self;

    if (!c->enroll)
        return error_set(err, ERROR_BUSY, "no token service");
    return enroll_ek_cert(c->enroll, uuid, c->e, ek, ek_len, ret_der, ret_len, err);
}

static int
make_vtpm(struct provision_work *w, struct enroll *enroll, struct vtpm_made *made,
          struct error *err)
{
    struct certifier certifier = { enroll, w->e };
    char folder[PATH_MAX];

    snprintf(folder, sizeof folder, "%s/vtpm", w->settings.state_dir);
    if (dir_make(folder, 0700, err) < 0)
        return -1;
    return vtpm_make(folder, &w->record.uuid, NULL, certify, &certifier, VTPM_MS, made, err);
}

/* It holds the TPM's seeds: none is kept once one is in its place.  A start does not wait for that, the next try does. */
static int
forget_vtpm(struct provision_work *w, struct error *err)
{
    char folder[PATH_MAX];
    struct error why;

    snprintf(folder, sizeof folder, "%s/vtpm", w->settings.state_dir);
    if (vtpm_forget(folder, &w->record.uuid, &why) == 0 || w->inside_start)
        return 0;
    *err = why;
    return -1;
}

/* Whoever's TPM is there: its EK is registered at first proof. */
static void
forget_ek(struct provision_work *w)
{
    w->record.ek_len = 0;
    w->record.has_x0 = false;
}

static bool
is_vtpm_there(struct provision_work *w)
{
    struct priv_request request = { .op = PRIV_VTPM_STATE };
    struct priv_answer answer;
    struct error err;

    return ask_privd(w, &request, -1, PRIV_CLIENT_MS, &answer, &err) == 0 &&
           strcmp(answer.result, "present") == 0;
}

static int
place_vtpm(struct provision_work *w, const struct vtpm_made *made, struct error *err)
{
    struct priv_request request = { .op = PRIV_PLACE_VTPM };
    CLEANUP(fd_close) int fd = open(made->path, O_RDONLY | O_CLOEXEC | O_NOFOLLOW);
    const char *text = made->ek_cert ? "with EK certificate" : "without EK certificate";
    struct priv_answer answer;

    if (fd < 0)
        return error_sys(err, errno, "%s", made->path);
    /* What we place is journalled first: a crash behind the rename still knows the EK. */
    memcpy(w->record.ek, made->ek, made->ek_len);
    w->record.ek_len = made->ek_len;
    memcpy(w->record.x0, made->x0, sizeof w->record.x0);
    w->record.has_x0 = true;
    note(w, STEP_PLACE, STEP_BEGUN, "", "");
    if (ask_privd(w, &request, fd, PRIV_CLIENT_MS, &answer, err) < 0) {
        /* An answer that was lost: there was none before, and nobody else makes one under the lease. */
        if (!is_vtpm_there(w)) {
            forget_ek(w);
            return -1;
        }
        snprintf(answer.result, sizeof answer.result, "placed");
    }
    if (strcmp(answer.result, "placed") == 0) {
        note(w, STEP_PLACE, STEP_DONE, "", text);
        return 0;
    }
    forget_ek(w);
    skip(w, STEP_PLACE, "tpm-exists", "a TPM state is there already; it is used as it is");
    return 0;
}

/* What the domain says of its TPM; true: it is one for us to make. */
static bool
tpm_is_ours(struct provision_work *w)
{
    if (w->domain.tpm == DOMAIN_TPM_EMULATOR)
        return true;
    forget_ek(w); /* of an earlier try, when it had one */
    switch (w->domain.tpm) {
    case DOMAIN_TPM_ENCRYPTED:
        skip(w, STEP_VTPM, "tpm-encrypted", "libvirt encrypts its state");
        return false;
    case DOMAIN_TPM_EMULATOR:
    case DOMAIN_TPM_NONE:
    case DOMAIN_TPM_OTHER:
        break;
    }
    skip(w, STEP_VTPM, "no-tpm", domain_tpm_name(w->domain.tpm));
    return false;
}

static int
step_vtpm(struct provision_work *w, struct enroll *enroll, struct error *err)
{
    struct priv_request request = { .op = PRIV_VTPM_STATE };
    struct vtpm_made made = { 0 };
    struct priv_answer answer;
    int failed;

    if (is_settled(w, STEP_VTPM) && is_settled(w, STEP_PLACE))
        return forget_vtpm(w, err); /* of a run that was cut behind its last note */
    if (!tpm_is_ours(w))
        return 0;
    if (ask_privd(w, &request, -1, PRIV_CLIENT_MS, &answer, err) < 0)
        return fail(w, STEP_VTPM, err);
    if (strcmp(answer.result, "absent") != 0) {
        bool ours = w->record.steps[STEP_PLACE].state == STEP_BEGUN &&
                    (!w->record.ran || strcmp(w->record.account, "ok") == 0); /* then it has not since: made_ran() */

        if (!ours)
            forget_ek(w);
        note(w, STEP_VTPM, ours ? STEP_DONE : STEP_SKIPPED, ours ? "" : "tpm-exists",
             ours ? "" : "its EK is registered at first proof");
        note(w, STEP_PLACE, ours ? STEP_DONE : STEP_SKIPPED, ours ? "" : "tpm-exists", "");
        return forget_vtpm(w, err); /* of a run that was cut */
    }
    note(w, STEP_VTPM, STEP_BEGUN, "", "");
    if (make_vtpm(w, enroll, &made, err) < 0)
        return fail(w, STEP_VTPM, err);
    note(w, STEP_VTPM, STEP_DONE, "", "P-384 and RSA-2048 EK, NV index");
    failed = place_vtpm(w, &made, err) < 0 ? fail(w, STEP_PLACE, err) : 0;
    return failed < 0 ? failed : forget_vtpm(w, err);
}

/* ---- secret ---- */

/* The first reason not to touch the disk, or NULL. The rest is looked at where the image is open. */
static const char *
why_not_inject(const struct provision_work *w)
{
    const struct domain *d = &w->domain;

    if (!w->settings.inject)
        return "inject-off";
    if (d->disk == DOMAIN_DISK_NONE)
        return "no-disk";
    if (d->disk == DOMAIN_DISK_NETWORK)
        return "network-disk";
    if ((d->disk != DOMAIN_DISK_FILE && d->disk != DOMAIN_DISK_BLOCK) || !d->disk_path[0])
        return "image-layout";
    if (d->disk_readonly || d->disk_transient)
        return "image-read-only";
    if (d->disk_encrypted)
        return "image-encrypted";
    if (strcmp(d->disk_format, "raw") != 0 && strcmp(d->disk_format, "qcow2") != 0)
        return "image-format";
    if (w->record.ran && !w->record.clean)
        return "ran-before";
    return NULL;
}

static int
ask_inject(struct provision_work *w, int payload, struct priv_answer *ret, struct error *err)
{
    struct priv_request request = { .op = PRIV_INJECT };
    int64_t left = w->inside_start ? w->deadline_ms - clock_monotonic_ms() : INJECT_MS;

    if (left <= 0 || w->hurry)
        return error_problem(err, ERROR_BUSY, "took-too-long", "no time is left for the disk in this start");
    memcpy(request.path, w->domain.disk_path, sizeof request.path);
    memcpy(request.format, w->domain.disk_format, strlen(w->domain.disk_format) + 1);
    request.flags = (uint8_t)((w->record.install_agent ? PRIV_FLAG_AGENT : 0) |
                              (w->record.ran ? 0 : PRIV_FLAG_NEVER_RAN));
    request.deadline_ms = (uint32_t)left;
    snprintf(request.name, sizeof request.name, "%s", w->record.name);
    return ask_privd(w, &request, payload, left + INJECT_MS + INJECT_GRACE_MS, ret, err);
}

/* Without an answer the disk is left alone too. */
static int
look_for_managed_save(struct provision_work *w, bool *ret_there, struct error *err)
{
    struct priv_request request = { .op = PRIV_SAVE_STATE };
    struct priv_answer answer;

    snprintf(request.name, sizeof request.name, "%s", w->record.name);
    if (ask_privd(w, &request, -1, PRIV_CLIENT_MS, &answer, err) < 0)
        return -1;
    *ret_there = strcmp(answer.result, "none") != 0;
    return 0;
}

/* FNV-1a: only to tell one name from the next. */
static uint64_t
add_text(uint64_t number, const char *text)
{
    for (; *text; text++)
        number = (number ^ (uint8_t)*text) * UINT64_C(1099511628211);
    return number;
}

uint64_t
provision_disk_number(const struct domain *domain)
{
    uint64_t number = add_text(add_text(UINT64_C(14695981039346656037), domain->disk_format), domain->disk_path);

    return domain->disk_path[0] ? (number & INT64_MAX) | 1 : 0;
}

static void
take_inject_answer(struct provision_work *w, const struct priv_answer *a)
{
    if (strcmp(a->result, "injected") != 0 || a->point_len != sizeof w->record.point) {
        skip(w, STEP_INJECT, a->reason[0] ? a->reason : "inject-failed", a->text);
        return;
    }
    memcpy(w->record.point, a->point, sizeof w->record.point);
    w->record.has_point = true;
    w->record.disk = provision_disk_number(&w->domain);
    note(w, STEP_INJECT, STEP_DONE, "", w->record.install_agent ? "with the agent" : "");
}

static const struct error *
lease_lost(struct error *err)
{
    error_problem(err, ERROR_BUSY, "stale-epoch", "the lease ended before the disk was opened");
    return err;
}

/*
 * A VM that has proved itself keeps its secret, and this host may never have heard of it: it may have
 * run elsewhere.  Asked under the lease, so that the answer holds until the disk is written.
 */
static int
ask_enrolled(struct provision_work *w, struct enroll *enroll, bool *ret, struct error *err)
{
    CLEANUP(json_decref) json_t *known = NULL;
    const char *state;

    if (enroll_vm(enroll, &w->record.uuid, 0, &known, err) < 0 ||
        json_get_string(known, "state", false, RECORD_WORD_MAX, &state, err) < 0)
        return -1;
    *ret = strcmp(state, "pending") != 0;
    return 0;
}

static int
step_inject(struct provision_work *w, struct enroll *enroll, struct error *err)
{
    CLEANUP(fd_close) int payload = -1;
    const char *reason = why_not_inject(w);
    struct priv_answer answer;
    bool saved = false, enrolled = false;

    if (is_settled(w, STEP_INJECT))
        return 0;
    if (!reason && ask_enrolled(w, enroll, &enrolled, err) < 0)
        return fail(w, STEP_INJECT, err);
    if (enrolled) {
        skip(w, STEP_INJECT, "enrolled", "the token service knows its secret");
        return 0;
    }
    if (!reason && look_for_managed_save(w, &saved, err) < 0)
        return fail(w, STEP_INJECT, err);
    if (saved)
        reason = "managed-save";
    if (reason) {
        skip(w, STEP_INJECT, reason, "the secret is made in the guest at first contact");
        return 0;
    }
    if (payload_make(&w->settings, w->record.install_agent, &payload, err) < 0)
        return fail(w, STEP_INJECT, err);
    w->record.disk = 0;
    w->record.has_point = false; /* an earlier one is not what the disk has from here on */
    note(w, STEP_INJECT, STEP_BEGUN, "", "");
    if (w->lease_lost)
        return fail(w, STEP_INJECT, lease_lost(err));
    if (ask_inject(w, payload, &answer, err) < 0)
        return fail(w, STEP_INJECT, err);
    take_inject_answer(w, &answer);
    return 0;
}

/* ---- account ---- */

static int
step_account(struct provision_work *w, struct enroll *enroll, struct error *err)
{
    struct enroll_account account = { .uuid = w->record.uuid, .epoch = w->e, .name = w->record.name };
    bool again = w->record.steps[STEP_ACCOUNT].state == STEP_DONE;

    /* Once in each lease: a service that lost the account has it again. */
    if (is_settled(w, STEP_ACCOUNT) && w->record.account_e == w->e)
        return 0;
    memcpy(account.ek, w->record.ek, w->record.ek_len);
    account.ek_len = w->record.ek_len;
    account.has_x0 = w->record.has_x0;
    memcpy(account.x0, w->record.x0, sizeof account.x0);
    account.has_secret = w->record.has_point;
    memcpy(account.secret, w->record.point, sizeof account.secret);
    account.transient = w->domain.disk_transient;
    if (!again)
        note(w, STEP_ACCOUNT, STEP_BEGUN, "", "");
    if (enroll_account(enroll, &account, w->record.account, err) < 0) {
        if (!again || err->code == ERROR_DENIED)
            note(w, STEP_ACCOUNT, STEP_FAILED, err->problem, err->text);
        return -1;
    }
    w->record.account_e = w->e;
    note(w, STEP_ACCOUNT, STEP_DONE, "", w->record.account);
    return 0;
}

/* It runs: neither its TPM nor its disk is ours to touch. */
static void
skip_for_running(struct provision_work *w)
{
    if (!is_settled(w, STEP_VTPM))
        skip(w, STEP_VTPM, "tpm-exists", "it runs; its EK is registered at first proof");
    if (!is_settled(w, STEP_INJECT))
        skip(w, STEP_INJECT, "image-in-use", "it runs; the secret is made in the guest at first contact");
}

/* A connection for one step: certificates may be renewed during a long one. */
static int
run_step(int (*step)(struct provision_work *w, struct enroll *enroll, struct error *err),
         struct provision_work *w, struct error *err)
{
    CLEANUP(host_identity_free) struct host_identity *identity = NULL;
    CLEANUP(enroll_free) struct enroll *enroll = NULL;

    if (host_identity_load(w->settings.state_dir, &identity, err) < 0 ||
        enroll_new(identity, &enroll, err) < 0)
        return -1;
    return step(w, enroll, err);
}

int
provision_steps_run(struct provision_work *w, struct error *err)
{
    if (w->running)
        skip_for_running(w);
    else if (run_step(step_vtpm, w, err) < 0 || run_step(step_inject, w, err) < 0)
        return -1;
    return run_step(step_account, w, err);
}

/* ---- what would be ---- */

static void
note_nothing(void *context)
{
    (void)context;
}

static void
foresee_vtpm(struct provision_work *w)
{
    struct priv_request request = { .op = PRIV_VTPM_STATE };
    struct priv_answer answer;
    struct error err;

    if (!tpm_is_ours(w))
        return;
    if (ask_privd(w, &request, -1, PRIV_CLIENT_MS, &answer, &err) < 0)
        note(w, STEP_VTPM, STEP_FAILED, "unavailable", err.text);
    else if (strcmp(answer.result, "absent") != 0)
        skip(w, STEP_VTPM, "tpm-exists", "its EK would be registered at first proof");
    else
        note(w, STEP_VTPM, STEP_DONE, "", "a TPM state would be made, with EK certificates");
}

static void
foresee_inject(struct provision_work *w)
{
    const char *reason = why_not_inject(w);
    char text[256];
    bool saved = false;
    struct error err;

    if (!reason && look_for_managed_save(w, &saved, &err) < 0) {
        note(w, STEP_INJECT, STEP_FAILED, "unavailable", err.text);
        return;
    }
    snprintf(text, sizeof text, "a secret%s would be written into %.140s, if it is a clean ext4",
             w->record.install_agent ? " and the agent" : "", w->domain.disk_path);
    if (reason || saved)
        skip(w, STEP_INJECT, reason ? reason : "managed-save", "the secret would be made in the guest");
    else
        note(w, STEP_INJECT, STEP_DONE, "", text);
}

void
provision_steps_foresee(struct provision_work *w)
{
    w->note = note_nothing;
    foresee_vtpm(w);
    foresee_inject(w);
}
