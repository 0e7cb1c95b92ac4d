#include "config.h"

#include "tests/unit/host_world.h"

#include <event2/event.h>
#include <fcntl.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include <cmocka.h>

#include "lib/common/fdio.h"
#include "lib/common/log.h"
#include "plugin/lease.h"
#include "plugin/missed.h"
#include "plugin/provision.h"
#include "plugin/reconcile.h"
#include "plugin/starting.h"
#include "plugin/stopping.h"
#include "plugin/vms.h"

#define UUID_TEXT "6ba7b810-9dad-11d1-80b4-00c04fd430c8"

enum { NAME_ROOM = 120 };

struct world_host world_hosts[WORLD_HOSTS];
int64_t world_now_ms;
struct hook_call world_calls[WORLD_CALLS];
size_t world_n_calls;
static struct vm_uuid the_uuid;
const struct vm_uuid *world_vm = &the_uuid;
static struct event_base *the_base;
struct world_host *world_present;
static enum lease_mode the_mode;

static const char domain_xml[] =
    "<domain><name>web1</name><uuid>" UUID_TEXT "</uuid></domain>";

/* ---- a daemon ---- */

static void
drop_letters(struct world_host *host)
{
    for (size_t i = 0; i < host->n_letters; i++)
        free(host->letters[i].context);
    host->n_letters = 0;
    for (size_t i = 0; i < host->n_seen; i++)
        watch_report_free(host->seen[i]);
    host->n_seen = 0;
}

static void
drop_jobs(struct enroll_job *job)
{
    while (job) {
        struct enroll_job *next = job->next;

        free(job);
        job = next;
    }
}

static void
free_timers(struct world_host *host)
{
    for (size_t i = 0; i < WORLD_TIMERS; i++) {
        if (host->timers[i].event)
            event_free(host->timers[i].event);
    }
}

void
world_kill(struct world_host *host)
{
    if (!host->up)
        return;
    world_present = host;
    host->up = false;
    host->crashes++;
    for (size_t i = 0; i < world_n_calls; i++) {
        if (world_calls[i].host == host && world_calls[i].answer == CALL_WAITS)
            world_calls[i].answer = CALL_LOST;
    }
    for (struct vm *vm = host->hostd.vms; vm; vm = vm->next) {
        free(vm->start);
        free(vm->arrival);
    }
    vms_free(&host->hostd);
    host->vm = NULL;
    drop_letters(host);
    drop_jobs(host->urgent);
    drop_jobs(host->later);
    drop_jobs(host->sent);
    host->urgent = host->later = host->sent = NULL;
    free_timers(host);
    journal_close(host->hostd.journal);
    host->look = host->moving = host->full = false;
}

static void
report_is_due(int fd, short what, void *context)
{
    (void)fd;
    (void)what;
    lease_report_now(context);
}

void
world_boot(struct world_host *host)
{
    struct hostd *h = &host->hostd;
    char boot[sizeof h->boot];
    struct error err;

    memcpy(boot, h->boot, sizeof boot);
    memset(h, 0, sizeof *h);
    memcpy(h->boot, boot, sizeof boot);
    world_present = host;
    h->settings.state_dir = h->settings.run_dir = h->settings.hook_dir = h->settings.libvirt_run_dir = host->dir;
    h->settings.strict_dir = host->dir;
    h->settings.priv_socket = "/nowhere";
    h->settings.mode = the_mode;
    h->settings.start_wait_ms = 30000;
    h->base = the_base;
    h->mailbox = (struct mailbox *)host;
    h->enroll = (struct enroll_thread *)host;
    h->watch = (struct libvirt_watch *)host;
    h->identity = &host->identity;
    h->provisions = PROVISIONS_MAX; /* all of that was done */
    assert_int_equal(journal_open(host->dir, &h->journal, &err), 0);
    assert_int_equal(reconcile_load(h, &err), 0);
    assert_int_equal(h->journal_bad, 0);
    h->report_soon = evtimer_new(the_base, report_is_due, h);
    host->vm = vms_find(h, world_vm);
    host->up = true;
    host->next_tick_ms = world_now_ms + 1000;
    lease_tick(h, world_now_ms);
}

void
world_settle(struct world_host *host)
{
    world_present = host;
    while (host->up && host->n_letters > 0 && !host->hostd.journal_failed) {
        struct world_letter first = host->letters[0];

        host->n_letters--;
        memmove(host->letters, host->letters + 1, host->n_letters * sizeof first);
        first.run(first.context);
    }
    if (host->up)
        host->vm = vms_find(&host->hostd, world_vm);
    if (host->up && host->hostd.journal_failed)
        world_kill(host);
}

/* ---- libvirt ---- */

static void
put_mark(struct world_host *host, const char *op)
{
    char path[NAME_ROOM];
    FILE *file;

    snprintf(path, sizeof path, "%s/missed/" UUID_TEXT, host->dir);
    file = fopen(path, "a");
    assert_non_null(file);
    fprintf(file, "%s 100\n", op);
    fclose(file);
}

static bool
is_marked_strict(const struct world_host *host)
{
    char path[NAME_ROOM];
    struct stat st;

    snprintf(path, sizeof path, "%s/" UUID_TEXT, host->dir);
    return lstat(path, &st) == 0;
}

void
world_hook_alone(struct hook_call *call)
{
    call->answer = is_marked_strict(call->host) ? CALL_NO : CALL_GO;
    call->answers++;
    call->alone = true;
    put_mark(call->host, call->op);
}

static struct hook_call *
new_call(struct world_host *host, const char *op)
{
    struct hook_call *call = &world_calls[world_n_calls++];

    assert_true(world_n_calls <= WORLD_CALLS);
    *call = (struct hook_call){ .host = host, .answer = CALL_WAITS, .since_ms = world_now_ms };
    snprintf(call->op, sizeof call->op, "%s", op);
    return call;
}

/* As hostd_loop.c does. */
struct hook_call *
world_hook(struct world_host *host, const char *op)
{
    struct hook_msg msg = { .uuid = UUID_TEXT, .name = "web1", .xml = domain_xml, .xml_len = sizeof domain_xml - 1 };
    struct hook_call *call = hook_op_waits(op) ? new_call(host, op) : NULL;

    world_present = host;
    snprintf(msg.op, sizeof msg.op, "%s", op);
    if (!host->up && call)
        world_hook_alone(call);
    else if (!host->up)
        put_mark(host, op);
    else if (call)
        starting_begin(&host->hostd, call, &msg);
    else if (strcmp(op, "stopped") == 0 || strcmp(op, "release") == 0)
        stopping_hook(host->vm);
    else if (strcmp(op, "started") == 0)
        host->vm->hook_seen = host->vm->came_up = true;
    world_settle(host);
    return call;
}

void
world_tell_seen(struct world_host *host, struct watch_report *take_report)
{
    assert_true(host->n_seen < WORLD_LETTERS);
    take_report->uuid = the_uuid;
    strcpy(take_report->name, "web1");
    take_report->xml = strdup(domain_xml);
    host->seen[host->n_seen++] = take_report;
}

void
world_take_seen(struct world_host *host)
{
    struct watch_report *first;

    if (host->n_seen == 0 || !host->up)
        return;
    world_present = host;
    first = host->seen[0];
    host->n_seen--;
    memmove(host->seen, host->seen + 1, host->n_seen * sizeof host->seen[0]);
    reconcile_take(&host->hostd, first);
    world_settle(host);
}

/* ---- the service's end ---- */

struct enroll_job *
world_job(struct world_host *host)
{
    struct enroll_job **from = host->urgent ? &host->urgent : &host->later;

    if (!host->sent && *from) {
        host->sent = *from;
        *from = host->sent->next;
        host->sent->next = NULL;
        host->sent->sent_ms = world_now_ms;
    }
    return host->sent;
}

void
world_job_done(struct world_host *host)
{
    struct enroll_job *job = host->sent;

    world_present = host;
    host->sent = NULL;
    job->done(job);
    world_settle(host);
}

/* ---- time ---- */

static void
fail_job(struct world_host *host)
{
    host->sent->failed = error_problem(&host->sent->error, ERROR_BUSY, "timeout", "no answer in time");
    world_job_done(host);
}

static int64_t
job_due_ms(struct world_host *host)
{
    struct enroll_job *job = world_job(host);
    long timeout = job && job->timeout_ms ? job->timeout_ms : REPORT_MS;

    return job ? job->sent_ms + timeout : INT64_MAX;
}

static int64_t
next_due_ms(struct world_host *host)
{
    int64_t due = host->up ? host->next_tick_ms : INT64_MAX, job;

    if (!host->up)
        return due;
    for (size_t i = 0; i < WORLD_TIMERS; i++) {
        if (host->timers[i].set && host->timers[i].due_ms < due)
            due = host->timers[i].due_ms;
    }
    job = job_due_ms(host);
    return job < due ? job : due;
}

static void
tick(struct world_host *host)
{
    host->next_tick_ms = world_now_ms + 1000;
    lease_tick(&host->hostd, world_now_ms);
    for (struct vm *vm = host->hostd.vms; vm; vm = vm->next)
        provision_consider(vm);
    host->look |= host->moving;
}

/* One thing that is due now. */
static void
run_due(struct world_host *host)
{
    world_present = host;
    for (size_t i = 0; i < WORLD_TIMERS; i++) {
        struct event *event = host->timers[i].event;

        if (!host->timers[i].set || host->timers[i].due_ms > world_now_ms)
            continue;
        host->timers[i].set = false;
        event_get_callback(event)(-1, EV_TIMEOUT, event_get_callback_arg(event));
        world_settle(host);
        return;
    }
    if (job_due_ms(host) <= world_now_ms) {
        fail_job(host);
        return;
    }
    tick(host);
    world_settle(host);
}

void
world_pass(int64_t ms, void (*each)(void))
{
    int64_t until = world_now_ms + ms;

    for (;;) {
        struct world_host *first = NULL;
        int64_t due = until;

        for (size_t i = 0; i < WORLD_HOSTS; i++) {
            if (next_due_ms(&world_hosts[i]) <= due) {
                due = next_due_ms(&world_hosts[i]);
                first = &world_hosts[i];
            }
        }
        if (!first)
            break;
        if (due > world_now_ms)
            world_now_ms = due;
        run_due(first);
        if (each)
            each();
    }
    world_now_ms = until;
}

/* ---- all of it ---- */

void
world_open(bool loud)
{
    struct error err;

    log_open("host_model_test", loud ? LOG_LEVEL_NOTICE : LOG_LEVEL_ERROR);
    assert_int_equal(vm_uuid_parse(UUID_TEXT, &the_uuid, &err), 0);
    the_base = event_base_new();
    for (int i = 0; i < WORLD_HOSTS; i++) {
        struct world_host *host = &world_hosts[i];

        snprintf(host->name, sizeof host->name, "%c", 'a' + i);
        strcpy(host->identity.name, host->name);
        strcpy(host->identity.service, "service");
        host->identity.not_after = INT64_MAX / 4;
        strcpy(host->dir, access("/dev/shm", W_OK) == 0 ? "/dev/shm/virtid-model-XXXXXX" : "/tmp/virtid-model-XXXXXX");
        assert_non_null(mkdtemp(host->dir));
        assert_int_equal(missed_open(host->dir, &err), 0);
    }
}

static void
forget_files(const struct world_host *host)
{
    static const char *const files[] = { "vms/" UUID_TEXT ".json", "missed/" UUID_TEXT, UUID_TEXT, "seq" };
    char path[NAME_ROOM];

    for (size_t i = 0; i < sizeof files / sizeof *files; i++) {
        snprintf(path, sizeof path, "%s/%s", host->dir, files[i]);
        (void)unlink(path);
    }
}

void
world_close(void)
{
    static const char *const folders[] = { "/vms", "/missed", "" };
    char path[NAME_ROOM];

    for (int i = 0; i < WORLD_HOSTS; i++) {
        forget_files(&world_hosts[i]);
        for (size_t k = 0; k < sizeof folders / sizeof *folders; k++) {
            snprintf(path, sizeof path, "%s%s", world_hosts[i].dir, folders[k]);
            (void)rmdir(path);
        }
    }
    event_base_free(the_base);
}

/* Enrolled long ago, and off. */
static void
write_record(const struct world_host *host)
{
    static struct vm_record record;
    struct journal *journal;
    struct error err;

    memset(&record, 0, sizeof record);
    record.uuid = the_uuid;
    strcpy(record.name, "web1");
    strcpy(record.account, "ok");
    record.managed = record.known = record.ran = true;
    for (int i = 0; i < STEP_COUNT; i++)
        record.steps[i].state = STEP_DONE;
    assert_int_equal(journal_open(host->dir, &journal, &err), 0);
    assert_int_equal(journal_save(journal, &record, &err), 0);
    journal_close(journal);
}

void
world_begin(enum lease_mode mode)
{
    the_mode = mode;
    world_n_calls = 0;
    world_now_ms = 1000000;
    for (int i = 0; i < WORLD_HOSTS; i++) {
        struct world_host *host = &world_hosts[i];

        world_present = NULL;
        write_record(host);
        snprintf(host->hostd.boot, sizeof host->hostd.boot, "00000000-0000-4000-8000-%012d", i);
        host->stops = host->crashes = 0;
        world_boot(host);
    }
}

void
world_end(void)
{
    for (int i = 0; i < WORLD_HOSTS; i++) {
        world_kill(&world_hosts[i]);
        forget_files(&world_hosts[i]);
    }
    world_present = NULL;
}
