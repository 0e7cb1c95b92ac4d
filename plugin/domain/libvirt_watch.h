/*
 * libvirt_watch.h - what libvirt's domains are doing, told as it happens
 *
 * A thread of its own with a read-only connection: lifecycle and metadata
 * events, reconnecting for ever, and a full sweep at start, after each
 * reconnect and every 60 s.  libvirt may block here as long as it likes
 * (while a hook runs it does): nobody who answers a hook ever waits for it.
 *
 * The only file of the host daemon that includes libvirt.
 */
#pragma once

#include <stdbool.h>
#include <stdint.h>

#include "lib/common/cleanup.h"
#include "lib/common/error.h"
#include "lib/wire/names.h"
#include "lib/wire/vm_uuid.h"

enum { WATCH_SWEEP_SECONDS = 60, WATCH_RETRY_SECONDS = 2, WATCH_DOMAINS_MAX = 16384 };

enum watch_kind {
    WATCH_SWEEP_BEGINS, /* a list of all domains follows, one WATCH_DOMAIN each */
    WATCH_DOMAIN,       /* present state of one domain */
    WATCH_SWEEP_ENDS,   /* who was not named since WATCH_SWEEP_BEGINS is not defined here */
    WATCH_GONE,         /* undefined and not running */
    WATCH_EVENT,        /* something happened; a WATCH_DOMAIN or WATCH_GONE follows */
    WATCH_FOUND,        /* the connection stands: what libvirt has told before was told to nobody; a sweep follows */
    WATCH_LOST,         /* it is gone */
};

enum watch_event {
    WATCH_DEFINED,
    WATCH_STARTED,          /* came up by itself: booted, restored, from a snapshot */
    WATCH_STARTED_MIGRATED, /* memory has not arrived yet */
    WATCH_RESUMED_MIGRATED, /* now it has */
    WATCH_SUSPENDED_MIGRATED,
    WATCH_STOPPED_SHUTDOWN, /* the guest powered off by itself: its disk is clean */
    WATCH_STOPPED_MIGRATED,
    WATCH_STOPPED_SAVED,
    WATCH_STOPPED_OTHER,
    WATCH_RESUMED,          /* goes on, and has not come from elsewhere */
    WATCH_OTHER,
};

struct watch_report {
    enum watch_kind kind;
    enum watch_event event;
    bool from_snapshot; /* WATCH_EVENT: libvirt says that it was reverted to a snapshot */
    struct vm_uuid uuid;
    char name[NAME_DOMAIN_MAX + 1];
    /* WATCH_DOMAIN: */
    bool active, paused, persistent, managed_save, came_in; /* came_in: libvirt's reason is "migrated" */
    bool began_here; /* runs since it was booted, restored or reverted here, and was not paused since */
    bool left_migrated, left_saved;                         /* shut off, with that reason */
    bool stopped_to_move;                                   /* paused, and not by its user: by a migration */
    bool job_known, leaving, arriving; /* was it looked at; is a migration out of here, or to here, under way */
    uint64_t looks; /* calls of libvirt_watch_look() before this was looked at: what is older than one does not answer it */
    int id;
    char *xml; /* owned by the report; live when active */
    char *next_xml; /* what it will be when started again, if it runs without marker or channel, or with a <genid>; or NULL */
};

/* Takes the report; called on the watching thread. End it with watch_report_free(). */
typedef void watch_handler(void *context, struct watch_report *take_report);

void watch_report_free(struct watch_report *report);
DEFINE_CLEANUP(struct watch_report *, watch_report_free);

struct libvirt_watch;

/* Start the thread.  libvirt need not be there yet. `uri` is copied. */
int libvirt_watch_start(const char *uri, watch_handler *handler, void *context,
                        struct libvirt_watch **ret, struct error *err);
/* Ask for a sweep soon. Any thread. */
void libvirt_watch_sweep(struct libvirt_watch *watch);
/*
 * Look at one domain now, its job included; a WATCH_DOMAIN or WATCH_GONE follows. While a migration out of here is
 * under way that comes again every second. Any thread. Returns this call's number: reports whose `looks` is not less
 * were looked at behind it.
 */
uint64_t libvirt_watch_look(struct libvirt_watch *watch, const struct vm_uuid *uuid);
/* Whether the connection stands (for `virtid why`). Any thread. */
bool libvirt_watch_connected(struct libvirt_watch *watch);
/* Ends the thread, but for one that libvirt holds: that dies with the process. */
void libvirt_watch_stop(struct libvirt_watch *watch);
