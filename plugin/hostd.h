/*
 * hostd.h - the host daemon's own state, all of it the main loop's
 *
 * Other threads (libvirt, enroll, up to PROVISIONS_MAX workers, HTTP) post to
 * the mailbox and never look in here.
 */
#pragma once

#include <stdbool.h>
#include <stdint.h>

#include "lib/common/conf.h"
#include "lib/common/hook_place.h"
#include "lib/common/json.h"
#include "lib/http/http_server.h"
#include "lib/wire/hook_msg.h"
#include "plugin/channel/host_channel.h"
#include "plugin/domain/domain.h"
#include "plugin/domain/libvirt_watch.h"
#include "plugin/enroll/enroll_thread.h"
#include "plugin/enroll/pull_thread.h"
#include "plugin/journal.h"
#include "plugin/mailbox.h"

struct event;
struct event_base;
struct hostd_conf;
struct arrival;
struct no_channel;
struct observed;
struct provision;
struct start;

enum {
    PROVISIONS_MAX = 4,
    VMS_MAX = 4096,          /* managed ones; the service's own limit is far below */
    ACQUIRE_MS = 450,        /* a start waits for it: hook's 500 ms of silence */
    HANDOVER_MS = 1800,      /* the service asks the source first, for at most a second */
    REPORT_MS = 3000,
    REPORT_EVERY_SECONDS = 15,
    LEASE_MS = 60000,
};

/* What the configuration says, as read. */
struct hostd_settings {
    const char *libvirt_uri, *state_dir, *run_dir, *priv_socket, *strict_dir, *user;
    const char *agent_program, *admin_group, *swtpm_dir, *hook_dir, *libvirt_run_dir;
    const char *metrics; /* where Prometheus asks; "" nowhere */
    int64_t start_wait_ms;
    enum lease_mode mode; /* of VMs for which nobody has set one */
    bool manage_all, inject;
};

/* One VM that is managed, or that the journal knows. */
struct vm {
    struct hostd *hostd;
    struct vm_record record;
    struct vm_record saved;    /* as it lies in the journal, if is_saved */
    bool is_saved;
    struct domain domain;      /* as last seen; name "" if never */
    bool seen;                 /* in the sweep that is under way */
    bool gone;                 /* undefined while it was provisioned */
    bool in_doubt, looking;    /* is its TPM the one that was placed? being asked about */
    int64_t next_look_ms;
    bool tpm_lost;             /* it was not there: a new one is made, inside its start too */
    bool defined, active, paused, managed_save, persistent;
    bool restart_pending;      /* it runs without what was added to its definition since */
    int id;
    uint64_t end_look;         /* number of the look at libvirt that is the first behind the last end */
    bool incoming;             /* `migrate` came before `prepare`, and its memory has not arrived */
    bool leaving;              /* a migration out of here is under way */
    uint64_t looked;           /* the hand-over that libvirt's job was looked at for; 0 none in this process */
    uint64_t look_asked;       /* number of the look at libvirt that is the first to judge the newest hand-over */
    uint64_t pull_look;        /* ... to answer the service's question */
    uint64_t pull;             /* the service's question that is to be answered when libvirt was looked at; 0 none */
    int64_t arrived_ms;        /* when its memory had arrived, 0 never */
    int64_t memory_ms;         /* when `migrate` or `restore` came last, 0 never */
    int64_t saw_ms;            /* when something of a state that was put back was seen last (reverted.h) */
    int64_t starting_since_ms; /* with RUN_STARTING */
    bool run_confirmed;        /* record.run was compared with what runs */
    bool started_event;        /* this process saw its run begin */
    bool unstarted;            /* the hook let its run begin, and libvirt's word of that is still to come */
    bool came_up;              /* the hook said `started` of the run that it let begin */
    bool start_owed;           /* that run is over, and libvirt's word of its begin is still to come */
    bool hook_seen;            /* libvirt called us for the run that is there */
    bool hook_judged;          /* it was said whether it did */
    unsigned generation;       /* steps with every end: an answer from before it changes nothing */
    int64_t lease_until_ms;    /* monotonic; may we sign? */
    int64_t not_before_ms;     /* next try to provision */
    int64_t inject_again_ms;   /* a disk that was left alone for what passes is looked at again */
    unsigned n_requests;       /* under way, that it is in */
    uint64_t epoch_seq;        /* of the request that the epoch is from, or is asked for with: older ones give none */
    bool dirty;                /* has news for the service */
    enum lease_answer answer;  /* last one, 0 none */
    char holder[NAME_HOST_MAX + 1];
    int64_t holder_seconds;
    bool show;                 /* the service wants our receipt of it */
    bool told_no_right;        /* that it runs here without right was said, and is so still */
    bool fence_asked;          /* whether that is since a fence, or to stop it then, is being asked */
    char fence_done[16];       /* by virtid-privd, as its configuration says: "report", "paused", "destroyed"; "" nothing */
    bool asking;               /* what the service knows of it is on the way */
    int64_t next_ask_ms;
    json_t *service_steps;     /* last heard, for `why`; NULL never */
    struct provision *provision;
    struct observed *observed; /* what would have been; NULL nothing yet */
    bool foreseen;             /* what would be done while it is off was looked at */
    struct start *start;
    struct arrival *arrival;   /* the hook's `migrate` that waits for an answer */
    struct event *ending;      /* the hook said stopped, libvirt's reason is awaited */
    struct host_channel *channel;
    struct event *channel_retry;
    bool connecting;
    bool stepping;             /* a bundle that its agent takes next is on the way */
    unsigned connect_failures;
    char channel_problem[200];
    char start_problem[HOOK_REASON_MAX + 1]; /* why the last start was refused or went without lease */
    struct vm *next;
};

/* Does libvirt call us? (hook_health.h) */
struct hook_state {
    struct hook_daemon daemon;           /* libvirtd as last seen */
    struct hook_place place;
    pid_t called_pid;                    /* the run of libvirtd that called us last */
    unsigned long long called_ticks;
    bool called_unknown, unkept;         /* by one without a pid file; not in run_dir yet */
    pid_t found_pid;                     /* the run of libvirtd that began behind our file */
    unsigned long long found_ticks;
    char silent[NAME_DOMAIN_MAX + 1];    /* a domain that started without a call */
    char said[LEASE_HOOK_MAX + 1];
    int64_t next_look_ms;
};

struct hostd {
    struct hostd_settings settings;
    struct hostd_conf *conf;           /* of which they are */
    struct event_base *base;
    struct mailbox *mailbox;
    struct journal *journal;
    char boot[37];
    struct vm *vms;
    struct no_channel *no_channel;     /* manage=all: domains that lack what that needs */
    unsigned n_vms, n_no_channel, provisions, asks, looks, stops;
    struct libvirt_watch *watch;
    bool swept;                        /* libvirt was looked at once */
    /* The token service; NULL until this host has joined. */
    struct host_identity *identity;
    struct host_channel_identity channel_identity;
    struct enroll_thread *enroll;
    struct pull_thread *pulls;
    bool service_up, renewing, resolving;
    bool must_join, told_end;          /* the service takes our certificate no more */
    bool dismissed;                    /* though it has not ended: an operator removed this host, or it was locked */
    char service_problem[300], service_problem_name[32]; /* the second as in lib/wire/problem.h, or "" */
    bool has_clock;                    /* how far the service's clock is ahead was measured */
    int64_t clock_ahead_ms;
    uint64_t told_serial;              /* of the newest bundle, that was fetched since */
    int64_t tokens_since_ms;           /* guests were told of this revocation */
    bool showing;              /* receipts are on their way */
    int64_t service_since_ms, next_report_ms, next_bundle_ms, next_renew_ms, next_resolve_ms;
    struct event *tick, *report_soon;
    struct event *drain;               /* SIGTERM has come: who waits is answered first */
    int64_t drain_until_ms;
    bool http_drained;
    /* Hook and operator. */
    struct hookd *hookd;
    struct http_server *http;
    struct hook_state hook;
    uint64_t hook_answers[HOOK_WAIT + 1]; /* of managed VMs, by verdict */
    int64_t started_ms;                /* UTC */
    unsigned journal_bad;
    bool journal_failed;               /* a write failed: we end rather than answer */
};
