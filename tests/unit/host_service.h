/*
 * host_service.h - the token service of the host model: the rules of tokenservice/lease for one VM, and who speaks to it
 *
 * Reports are encoded and decoded as on the wire. What api_report.c does around the rules (numbers, ends before what
 * is present, asking the source) stands here once more; the rules themselves are the service's own.
 *
 * The ghosts (why, truth) are those of tests/model/lease.pml: no program sees them.
 */
#pragma once

#include "tests/unit/host_world.h"
#include "tokenservice/lease/lease_record.h"

/* Why a copy's proof may be accepted or the true host refused; docs/PROTOCOL-lease.md, 6 and the model's `why`. */
enum { WHY_LEFT = 2, WHY_DOUBT = 4, WHY_ORDER = 8, WHY_FIRST = 64 };

enum { NOBODY = -1 };

struct host_service {
    struct lease_record lease;
    struct host_seq {
        char boot[37];
        uint64_t report, ended;
    } seq[WORLD_HOSTS];
    bool up, grace, heard[WORLD_HOSTS];
    uint64_t no_answer[WORLD_HOSTS]; /* number of the request whose answer is lost, or that is on a long way */
    struct lease_report late[WORLD_HOSTS]; /* that one; seq 0: none */
    bool cut[WORLD_HOSTS]; /* its network to this host */
    int64_t since_ms, grace_until_ms;
    struct {
        int asker, source;
        uint64_t number;
        bool asked, answered, told;
        int64_t until_ms;
    } pull;
    uint64_t last_pull;
    /* ghosts */
    int truth; /* where the guest is that is not a copy */
    unsigned why;
    bool arriving[WORLD_HOSTS]; /* libvirt there: it comes by migration, and its memory has not arrived */
    int last_prover;
    uint64_t last_epoch;
    /* what happened */
    size_t answers[LEASE_NOT_MIGRATING + 1], proofs, refused_proofs, pulls, repeats;
};

extern struct host_service the_service;

void host_service_begin(void);
void host_service_start(void); /* after an outage: in grace */
/* Time and hosts end the grace. */
void host_service_look(void);

/*
 * The request of this host's daemon, if one is under way, arrives and is judged. `answered`: the answer arrives too;
 * if not the request waits for its timeout. False: nothing was done, a hand-over waits for its source's word.
 */
bool host_service_take(int host, bool answered);
/* The request gets lost; `late`: or comes later, when nobody waits for its answer. */
void host_service_lose(int host, bool late);
void host_service_take_late(int host);
/* The source hears that a report is wanted. */
void host_service_pull(void);
/* The guest on this host proves itself, if its host signs; returns whether that was accepted. `copy`: it is one. */
bool host_service_prove(int host, bool copy);
struct lease_now host_service_now(void);
