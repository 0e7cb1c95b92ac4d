/*
 * agent_rig.h - a host and a token service around one real virtid-agent, with a real swtpm
 *
 * The host side speaks frames over a Unix socket and signs with a key of its own; behind OPEN is a small token
 * service with the real judge (tokenservice/attest).  Both misbehave on request: set the fields of
 * `struct rig_wish` at any time.
 */
#pragma once

#include <pthread.h>
#include <stdatomic.h>
#include <stdbool.h>
#include <stdint.h>
#include <sys/types.h>

#include "lib/crypto/key.h"
#include "lib/wire/bundle.h"
#include "lib/wire/frame.h"
#include "tokenservice/attest/proof_check.h"
#include "tpmsim/swtpm_box.h"

#define RIG_ISSUER "https://id.example.test"

/* What the other side does wrong. */
struct rig_wish {
    atomic_bool silent;        /* the channel is held by another: no HELLO, no answer */
    atomic_bool no_signature;  /* SIGN is answered by NO */
    atomic_bool deaf_to_sign;  /* SIGN is not answered at all */
    atomic_int kill_at_sign;   /* this process, when the next SIGN comes */
    atomic_bool service_away;  /* OPEN is answered by CLOSE */
    atomic_bool false_service; /* a service whose certificate is by another CA */
    atomic_bool garbage;       /* random bytes before every frame */
    atomic_int stale;          /* so many proofs are answered "stale" */
    atomic_bool hang_up;       /* the service closes before it answers a proof */
    atomic_bool resolve;       /* the next proof is answered by RESOLVE{cur} */
    atomic_bool no_steps;      /* the service knows of no ratchets */
    atomic_bool no_sync;       /* SYNC is answered by NO{no-sync}: a host of before there were ratchets */
    atomic_int refuse_sync;    /* so many SYNCs are answered by NO{sync-failed} */
    atomic_bool wrong_from;    /* the next EXTEND is from another content */
    atomic_bool lose_answer;   /* the next PROVE is judged and stored, its answer is not sent */
    atomic_int kill_agent_at;  /* the agent, at its n-th SYNC, SIGN, or PROVE that was judged, from now */
    atomic_int life;           /* seconds of a token; 0: 300 */
    atomic_int host_ahead;     /* the host's UTC in a HELLO is so many seconds ahead */
    atomic_int ahead;          /* the service's clock is so many seconds ahead */
};

struct rig {
    char folder[64];           /* holds state/, run/, channel socket, agent.conf */
    struct rig_wish wish;
    struct swtpm_box *tpm;     /* NULL: a VM without TPM */
    struct key *ca_key, *other_ca_key, *server_key, *host_key;
    uint8_t ca[BUNDLE_CA_MAX], other_ca[BUNDLE_CA_MAX], server[2048], other_server[2048];
    size_t ca_len, other_ca_len, server_len, other_server_len;
    uint8_t nonce_key[32], activate_key[32];

    pthread_mutex_t lock;
    pthread_cond_t changed;
    /* Under the lock. */
    struct vm_uuid uuid;
    uint64_t epoch;
    uint8_t bundle[BUNDLE_MAX]; /* offered in HELLO */
    size_t bundle_len;
    struct proof_account account;
    unsigned hellos, readies, signs, syncs, opens, challenges, proofs, accepted, activations, tokens, cleared;
    unsigned extends, resolves, steps;
    unsigned stepped;           /* halves that the last token calls fresh */
    uint64_t serial_held;       /* of the last READY */
    char status_word[32], status_text[301];
    char refusal[128];          /* the judge's last one: check and problem */
    struct proof_shown shown;   /* by the last proof that was refused as behind */
    unsigned granted;           /* proofs that an operator's word let in */
    uint64_t token_count;

    int port;                   /* of the guest listener that the bundle names; 0: nobody listens there */
    int listener, stop[2];
    pthread_t thread;
    atomic_int services;
    int peer;                   /* the agent's connection; -1 */
    uint64_t session;
    pid_t agent;
};

/* Everything but the agent. Asserts. */
void rig_new(struct rig *r, bool with_tpm);
void rig_free(struct rig *r);

/* More lines for agent.conf; the agent reads them when it starts. */
void rig_configure(struct rig *r, const char *lines);

/* `virtid-agent run`; returns when it is ready. */
void rig_start_agent(struct rig *r);
void rig_stop_agent(struct rig *r); /* asserts exit status 0 */
void rig_kill_agent(struct rig *r);
/* Exit status of `virtid-agent token -a audience --wait=seconds`; the token into ret (NULL: not wanted). */
int rig_token(struct rig *r, const char *audience, int seconds, char *ret, size_t size);
/* A token, and it says that what it shows has stepped in this run. */
bool rig_fresh_token(struct rig *r, const char *audience);
/* Any other request to the running program: exit status and what it printed. */
int rig_run(struct rig *r, const char *const *words, char *ret, size_t size);

/* `virtid-agent WORDS...` that stays, ready; kill and wait for it yourself. */
pid_t rig_start(struct rig *r, const char *const *words);

/* What the programs of this rig wrote to stderr: does it have these words?  All of it to ours. */
bool rig_log_has(struct rig *r, const char *words);
void rig_show_log(struct rig *r);

/* A bundle of this rig, signed by `signer` (NULL: our CA), into what HELLO offers. */
void rig_offer(struct rig *r, uint64_t serial, const struct key *signer, bool other_ca);
/* The same into the guest's disk. */
void rig_install_bundle(struct rig *r);
/* A HELLO now, with a new session. */
void rig_hello(struct rig *r);
/* Cut the agent's connection (host side restarts). */
void rig_cut(struct rig *r);
/*
 * The host loses its power: the agent is gone, and the vTPM is as the last SYNC left it (before the first: as it was
 * made).  Then it is there again, and the VM has another epoch.
 */
void rig_power_loss(struct rig *r);
/* The vTPM's state file, kept or put back (the TPM starts anew) under a name of the test's. */
void rig_keep_tpm(struct rig *r, const char *name);
void rig_put_back_tpm(struct rig *r, const char *name);
/* The same of the agent's slots. */
void rig_keep_slots(struct rig *r, const char *name);
void rig_put_back_slots(struct rig *r, const char *name);
/* Is there such a file of the agent's, e.g. "state/slots/new"? */
bool rig_has(const struct rig *r, const char *name);
/* Another epoch, and a HELLO if an agent listens. */
void rig_new_epoch(struct rig *r);
/* An operator accepts what was refused last: another epoch, in which exactly that is let in. */
void rig_accept(struct rig *r);
/* Something that the agent did has arrived: wish.kill_agent_at. */
void rig_event(struct rig *r);
/* Bytes into the channel. */
void rig_inject(struct rig *r, const void *bytes, size_t len);

/* Wait at most `seconds` until *counter is at least `least`; false if not. */
bool rig_wait(struct rig *r, const unsigned *counter, unsigned least, int seconds);
/* Wait for the agent's STATUS word. */
bool rig_wait_status(struct rig *r, const char *word, int seconds);
