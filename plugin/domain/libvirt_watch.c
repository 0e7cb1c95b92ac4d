#include "config.h"

#include "plugin/domain/libvirt_watch.h"

#include <errno.h>
#include <libvirt/libvirt.h>
#include <libvirt/virterror.h>
#include <pthread.h>
#include <stdatomic.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>

#include "lib/common/clock.h"
#include "plugin/domain/domain.h"

enum {
    TICK_MS = 1000,
    CHANGED_MAX = 4096, /* domains waiting to be looked at; more: one sweep instead */
    MOVING_MAX = 64,    /* domains whose job is looked at, too */
};

struct libvirt_watch {
    char *uri;
    watch_handler *handler;
    void *context;
    pthread_t thread;
    virConnectPtr connection;
    int timer;
    struct vm_uuid changed[CHANGED_MAX];
    size_t n_changed;
    struct vm_uuid moving[MOVING_MAX]; /* leaving, or asked for */
    size_t n_moving;
    pthread_mutex_t lock;
    struct vm_uuid asked[MOVING_MAX]; /* by libvirt_watch_look(), under the lock */
    size_t n_asked;
    atomic_uint_least64_t looks;
    int64_t next_sweep_ms;
    atomic_bool sweep_wanted, connected, ending, lost;
};

void
watch_report_free(struct watch_report *report)
{
    if (report) {
        free(report->xml);
        free(report->next_xml);
    }
    free(report);
}

static void
tell(struct libvirt_watch *watch, const struct watch_report *what)
{
    struct watch_report *copy = malloc(sizeof *copy);

    if (!copy) { /* the next sweep says it again */
        free(what->xml);
        free(what->next_xml);
        return;
    }
    *copy = *what;
    watch->handler(watch->context, copy);
}

static void
tell_kind(struct libvirt_watch *watch, enum watch_kind kind)
{
    struct watch_report report = { .kind = kind };

    tell(watch, &report);
}

static bool
read_who(virDomainPtr domain, struct watch_report *ret)
{
    const char *name = virDomainGetName(domain);

    if (virDomainGetUUID(domain, ret->uuid.bytes) < 0 || !name)
        return false;
    strncpy(ret->name, name, sizeof ret->name - 1);
    return true;
}

/* What `virtid enable` adds to a running domain is in its next definition only; a <genid> may be another there. */
static bool
is_all(const char *xml)
{
    return strstr(xml, DOMAIN_MARKER_NAMESPACE) && strstr(xml, DOMAIN_CHANNEL_NAME) && !strstr(xml, "<genid>");
}

static bool
is_moving(const struct libvirt_watch *watch, const struct vm_uuid *uuid)
{
    for (size_t i = 0; i < watch->n_moving; i++) {
        if (vm_uuid_equal(&watch->moving[i], uuid))
            return true;
    }
    return false;
}

static void
drop_moving(struct libvirt_watch *watch, const struct vm_uuid *uuid)
{
    for (size_t i = 0; i < watch->n_moving; i++) {
        if (vm_uuid_equal(&watch->moving[i], uuid)) {
            watch->moving[i] = watch->moving[--watch->n_moving];
            return;
        }
    }
}

/* Only of those for which it matters: libvirt may make this wait for another operation on the domain. */
static void
look_at_job(struct libvirt_watch *watch, virDomainPtr domain, struct watch_report *report)
{
    virTypedParameterPtr params = NULL;
    int type = VIR_DOMAIN_JOB_NONE, operation = 0, n = 0;

    if (!is_moving(watch, &report->uuid))
        return;
    if (report->active && virDomainGetJobStats(domain, &type, &params, &n, 0) < 0) {
        /* "Only on the source host": what it has is an incoming one. */
        report->arriving = virGetLastErrorCode() == VIR_ERR_OPERATION_UNSUPPORTED;
        if (!report->arriving)
            return;
    }
    (void)virTypedParamsGetInt(params, n, VIR_DOMAIN_JOB_OPERATION, &operation);
    virTypedParamsFree(params, n);
    report->job_known = true;
    report->leaving = type != VIR_DOMAIN_JOB_NONE && operation == VIR_DOMAIN_JOB_OPERATION_MIGRATION_OUT;
    if (!report->leaving)
        drop_moving(watch, &report->uuid);
}

static bool
is_of_a_start(int reason)
{
    return reason == VIR_DOMAIN_RUNNING_BOOTED || reason == VIR_DOMAIN_RUNNING_RESTORED ||
           reason == VIR_DOMAIN_RUNNING_FROM_SNAPSHOT;
}

/* -1: it could not be looked at, and is not gone either. */
static int
tell_domain(struct libvirt_watch *watch, virDomainPtr domain)
{
    struct watch_report report = { .kind = WATCH_DOMAIN, .looks = watch->looks };
    int state, reason;
    unsigned id;

    if (!read_who(domain, &report) || virDomainGetState(domain, &state, &reason, 0) < 0)
        return virGetLastErrorCode() == VIR_ERR_NO_DOMAIN ? 0 : -1;
    id = virDomainGetID(domain);
    report.id = id == (unsigned)-1 ? -1 : (int)id;
    report.active = virDomainIsActive(domain) == 1;
    report.paused = state == VIR_DOMAIN_PAUSED;
    report.persistent = virDomainIsPersistent(domain) == 1;
    report.managed_save = report.persistent && virDomainHasManagedSaveImage(domain, 0) == 1;
    report.came_in = state == VIR_DOMAIN_RUNNING && reason == VIR_DOMAIN_RUNNING_MIGRATED;
    report.began_here = state == VIR_DOMAIN_RUNNING && is_of_a_start(reason);
    report.left_migrated = state == VIR_DOMAIN_SHUTOFF && reason == VIR_DOMAIN_SHUTOFF_MIGRATED;
    report.stopped_to_move = report.paused && reason == VIR_DOMAIN_PAUSED_MIGRATION;
    report.left_saved = state == VIR_DOMAIN_SHUTOFF && reason == VIR_DOMAIN_SHUTOFF_SAVED;
    report.xml = virDomainGetXMLDesc(domain, 0);
    if (!report.xml)
        return virGetLastErrorCode() == VIR_ERR_NO_DOMAIN ? 0 : -1;
    look_at_job(watch, domain, &report);
    if (report.active && report.persistent && !is_all(report.xml))
        report.next_xml = virDomainGetXMLDesc(domain, VIR_DOMAIN_XML_INACTIVE);
    tell(watch, &report);
    return 0;
}

static void
sweep(struct libvirt_watch *watch)
{
    virDomainPtr *domains = NULL;
    int n = virConnectListAllDomains(watch->connection, &domains, 0);
    int failed = n > WATCH_DOMAINS_MAX ? -1 : 0;

    watch->next_sweep_ms = clock_monotonic_ms() + WATCH_SWEEP_SECONDS * 1000;
    watch->n_changed = 0;
    if (n < 0)
        return;
    tell_kind(watch, WATCH_SWEEP_BEGINS);
    for (int i = 0; i < n; i++) {
        if (i < WATCH_DOMAINS_MAX && tell_domain(watch, domains[i]) < 0)
            failed = -1;
        virDomainFree(domains[i]);
    }
    free(domains);
    /* What was not looked at is not gone: libvirtd may have ended in the middle. */
    if (failed == 0)
        tell_kind(watch, WATCH_SWEEP_ENDS);
    else
        watch->next_sweep_ms = clock_monotonic_ms() + WATCH_RETRY_SECONDS * 1000;
}

static void
look_again(struct libvirt_watch *watch, const struct vm_uuid *uuid)
{
    virDomainPtr domain = virDomainLookupByUUID(watch->connection, uuid->bytes);
    struct watch_report gone = { .kind = WATCH_GONE, .uuid = *uuid };

    if (domain) {
        if (tell_domain(watch, domain) < 0)
            watch->sweep_wanted = true;
        virDomainFree(domain);
    } else if (virGetLastErrorCode() == VIR_ERR_NO_DOMAIN) {
        drop_moving(watch, uuid);
        tell(watch, &gone);
    }
}

/* Inside a callback libvirt is not asked: its answer would come through the loop we are in. */
static void
remember(struct libvirt_watch *watch, const struct vm_uuid *uuid)
{
    for (size_t i = 0; i < watch->n_changed; i++) {
        if (vm_uuid_equal(&watch->changed[i], uuid))
            return;
    }
    if (watch->n_changed < CHANGED_MAX)
        watch->changed[watch->n_changed++] = *uuid;
    else
        watch->sweep_wanted = true;
}

static enum watch_event
translate_stop(int detail)
{
    if (detail == VIR_DOMAIN_EVENT_STOPPED_SHUTDOWN)
        return WATCH_STOPPED_SHUTDOWN;
    if (detail == VIR_DOMAIN_EVENT_STOPPED_MIGRATED)
        return WATCH_STOPPED_MIGRATED;
    if (detail == VIR_DOMAIN_EVENT_STOPPED_SAVED)
        return WATCH_STOPPED_SAVED;
    return WATCH_STOPPED_OTHER;
}

static enum watch_event
translate(int event, int detail)
{
    if (event == VIR_DOMAIN_EVENT_DEFINED)
        return WATCH_DEFINED;
    if (event == VIR_DOMAIN_EVENT_STARTED)
        return detail == VIR_DOMAIN_EVENT_STARTED_MIGRATED ? WATCH_STARTED_MIGRATED : WATCH_STARTED;
    if (event == VIR_DOMAIN_EVENT_RESUMED && detail == VIR_DOMAIN_EVENT_RESUMED_MIGRATED)
        return WATCH_RESUMED_MIGRATED;
    if (event == VIR_DOMAIN_EVENT_SUSPENDED && detail == VIR_DOMAIN_EVENT_SUSPENDED_MIGRATED)
        return WATCH_SUSPENDED_MIGRATED;
    if (event == VIR_DOMAIN_EVENT_RESUMED)
        return WATCH_RESUMED;
    if (event == VIR_DOMAIN_EVENT_STOPPED)
        return translate_stop(detail);
    return WATCH_OTHER;
}

/* Resumed and Suspended have that detail after a restore, too. */
static bool
is_from_snapshot(int event, int detail)
{
    return (event == VIR_DOMAIN_EVENT_DEFINED && detail == VIR_DOMAIN_EVENT_DEFINED_FROM_SNAPSHOT) ||
           (event == VIR_DOMAIN_EVENT_STARTED && detail == VIR_DOMAIN_EVENT_STARTED_FROM_SNAPSHOT) ||
           (event == VIR_DOMAIN_EVENT_STOPPED && detail == VIR_DOMAIN_EVENT_STOPPED_FROM_SNAPSHOT);
}

static int
on_lifecycle(virConnectPtr connection, virDomainPtr domain, int event, int detail, void *opaque)
{
    struct libvirt_watch *watch = opaque;
    struct watch_report report = { .kind = WATCH_EVENT, .event = translate(event, detail),
                                   .from_snapshot = is_from_snapshot(event, detail) };

    (void)connection;
    if (!read_who(domain, &report))
        return 0;
    tell(watch, &report);
    remember(watch, &report.uuid);
    return 0;
}

static void
on_metadata(virConnectPtr connection, virDomainPtr domain, int type, const char *uri, void *opaque)
{
    struct watch_report who = { 0 };

    (void)connection;
    (void)type;
    (void)uri;
    if (read_who(domain, &who))
        remember(opaque, &who.uuid);
}

static void
on_close(virConnectPtr connection, int reason, void *opaque)
{
    struct libvirt_watch *watch = opaque;

    (void)connection;
    (void)reason;
    watch->lost = true;
}

/* Comes out of virEventRunDefaultImpl(). */
static void
on_tick(int timer, void *opaque)
{
    struct libvirt_watch *watch = opaque;

    virEventUpdateTimeout(timer, TICK_MS);
    for (size_t i = 0; i < watch->n_moving; i++)
        remember(watch, &watch->moving[i]);
}

static void
take_asked(struct libvirt_watch *watch)
{
    pthread_mutex_lock(&watch->lock);
    for (size_t i = 0; i < watch->n_asked; i++) {
        if (!is_moving(watch, &watch->asked[i]) && watch->n_moving < MOVING_MAX)
            watch->moving[watch->n_moving++] = watch->asked[i];
        remember(watch, &watch->asked[i]);
    }
    watch->n_asked = 0;
    pthread_mutex_unlock(&watch->lock);
}

static void
disconnect(struct libvirt_watch *watch)
{
    if (watch->connection)
        virConnectClose(watch->connection);
    watch->connection = NULL;
    if (watch->connected)
        tell_kind(watch, WATCH_LOST);
    watch->connected = false;
}

static bool
subscribe(struct libvirt_watch *watch)
{
    virConnectPtr c = watch->connection;

    /* A silent peer is gone after 15 s; drivers without keepalive say so and are taken as they are. */
    (void)virConnectSetKeepAlive(c, 5, 3);
    (void)virConnectRegisterCloseCallback(c, on_close, watch, NULL);
    return virConnectDomainEventRegisterAny(c, NULL, VIR_DOMAIN_EVENT_ID_LIFECYCLE,
                                            VIR_DOMAIN_EVENT_CALLBACK(on_lifecycle), watch,
                                            NULL) >= 0 &&
           virConnectDomainEventRegisterAny(c, NULL, VIR_DOMAIN_EVENT_ID_METADATA_CHANGE,
                                            VIR_DOMAIN_EVENT_CALLBACK(on_metadata), watch, NULL) >= 0;
}

static void
connect_again(struct libvirt_watch *watch)
{
    watch->lost = false;
    watch->connection = virConnectOpenReadOnly(watch->uri);
    if (!watch->connection)
        return;
    if (!subscribe(watch)) {
        disconnect(watch);
        return;
    }
    watch->connected = true;
    tell_kind(watch, WATCH_FOUND);
    watch->next_sweep_ms = 0; /* events first, then the list: nothing falls in between */
}

static void
look_at_changes(struct libvirt_watch *watch)
{
    struct vm_uuid uuid;

    take_asked(watch);
    while (watch->n_changed > 0 && !watch->lost && !watch->ending) {
        uuid = watch->changed[--watch->n_changed];
        look_again(watch, &uuid);
    }
    if (atomic_exchange(&watch->sweep_wanted, false) || clock_monotonic_ms() >= watch->next_sweep_ms)
        sweep(watch);
}

static void *
watch_thread(void *opaque)
{
    struct libvirt_watch *watch = opaque;
    int64_t retry_ms = 0;

    pthread_mutex_lock(&watch->lock);
    watch->timer = virEventAddTimeout(TICK_MS, on_tick, watch, NULL);
    pthread_mutex_unlock(&watch->lock);
    while (!watch->ending) {
        if (watch->lost || (watch->connection && virConnectIsAlive(watch->connection) != 1))
            disconnect(watch);
        if (!watch->connection && clock_monotonic_ms() >= retry_ms) {
            connect_again(watch);
            retry_ms = clock_monotonic_ms() + WATCH_RETRY_SECONDS * 1000;
        }
        if (watch->connection && !watch->lost)
            look_at_changes(watch);
        if (virEventRunDefaultImpl() < 0)
            break;
    }
    if (watch->connection)
        virConnectClose(watch->connection);
    watch->connection = NULL;
    return NULL;
}

static void
say_nothing(void *opaque, virErrorPtr error)
{
    (void)opaque;
    (void)error;
}

int
libvirt_watch_start(const char *uri, watch_handler *handler, void *context,
                    struct libvirt_watch **ret, struct error *err)
{
    struct libvirt_watch *watch = calloc(1, sizeof *watch);
    int failed;

    if (!watch || !(watch->uri = strdup(uri))) {
        free(watch);
        return error_sys(err, ENOMEM, "watching libvirt");
    }
    watch->handler = handler;
    watch->context = context;
    watch->timer = -1;
    pthread_mutex_init(&watch->lock, NULL);
    virSetErrorFunc(NULL, say_nothing);
    if (virInitialize() < 0 || virEventRegisterDefaultImpl() < 0) {
        free(watch->uri);
        free(watch);
        return error_set(err, ERROR_SYSTEM, "libvirt's client library does not start");
    }
    failed = pthread_create(&watch->thread, NULL, watch_thread, watch);
    if (failed) {
        free(watch->uri);
        free(watch);
        return error_sys(err, failed, "thread that watches libvirt");
    }
    *ret = watch;
    return 0;
}

void
libvirt_watch_sweep(struct libvirt_watch *watch)
{
    watch->sweep_wanted = true;
}

uint64_t
libvirt_watch_look(struct libvirt_watch *watch, const struct vm_uuid *uuid)
{
    uint64_t number;

    pthread_mutex_lock(&watch->lock);
    number = ++watch->looks;
    if (watch->n_asked < MOVING_MAX)
        watch->asked[watch->n_asked++] = *uuid;
    else
        watch->sweep_wanted = true;
    if (watch->timer >= 0)
        virEventUpdateTimeout(watch->timer, 0);
    pthread_mutex_unlock(&watch->lock);
    return number;
}

bool
libvirt_watch_connected(struct libvirt_watch *watch)
{
    return watch->connected;
}

void
libvirt_watch_stop(struct libvirt_watch *watch)
{
    struct timespec until;

    if (!watch)
        return;
    watch->ending = true;
    clock_gettime(CLOCK_REALTIME, &until);
    until.tv_sec += 3;
    /* A libvirtd that hangs must not hold our end; its thread then still uses the struct. */
    if (pthread_timedjoin_np(watch->thread, NULL, &until) != 0)
        return;
    free(watch->uri);
    free(watch);
}
