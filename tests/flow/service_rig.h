/*
 * service_rig.h - a real virtid-tokend with its real virtid-signer, on free ports, as
 * an ordinary user
 *
 * One host and one software-only VM act against it over real TLS.  Everything asserts.
 */
#pragma once

#include <stdbool.h>
#include <stdint.h>
#include <sys/types.h>

#include "lib/common/json.h"
#include "lib/crypto/key.h"
#include "lib/crypto/tls.h"
#include "lib/http/http_client.h"
#include "lib/wire/lease_msg.h"
#include "lib/wire/proof_msg.h"

struct service_rig {
    char folder[64];
    pid_t pid;
    char public_[64], hosts[64], guests[64], admin[128];
    struct buf ca; /* DER */
    int status;    /* of the last answer */
    char problem[64];

    /* the host */
    struct key *tls, *proof;
    struct buf cert;
    struct http_client *host;
    uint64_t seq;

    /* the VM */
    struct vm_uuid uuid;
    char uuid_text[VM_UUID_TEXT];
    uint64_t epoch;
    struct key *secret;
    struct prove p;
    struct answer answer;
};

void service_rig_new(struct service_rig *r); /* keys and configuration; started */
void service_rig_free(struct service_rig *r);
void service_rig_start(struct service_rig *r);
/* SIGTERM or SIGKILL; the exit status, or -signal. */
int service_rig_end(struct service_rig *r, int sig);
/* Exit status of `virtid-tokend` with one more option; its descriptors are closed. */
int service_rig_run(struct service_rig *r, const char *option);

/* Requests: *ret_answer (may be NULL) is the caller's. Returns the status. */
int service_rig_admin(struct service_rig *r, const char *method, const char *path,
                      json_t *take_body, json_t **ret_answer);
int service_rig_public(struct service_rig *r, const char *path, struct buf *into);
int service_rig_host(struct service_rig *r, const char *method, const char *path,
                     json_t *take_body, json_t **ret_answer);
int64_t service_rig_audit(struct service_rig *r);

void service_rig_join(struct service_rig *r);
/* A new client, as after a restart of the service on other ports. */
void service_rig_host_connect(struct service_rig *r);
struct lease_result service_rig_report(struct service_rig *r, enum lease_view view,
                                       bool acquire);
int service_rig_account(struct service_rig *r);

/* A connection to the guest listener; one request over it (status 0: it was closed). */
struct tls *service_rig_guest(struct service_rig *r);
int service_rig_guest_post(struct service_rig *r, struct tls *tls, const char *path,
                           const void *body, size_t len, struct buf *into);
/* A whole proof over `tls`: challenge, signatures; r->p is what is sent by
 * service_rig_send(). */
void service_rig_prove(struct service_rig *r, struct tls *tls, const char *audience);
int service_rig_send(struct service_rig *r, struct tls *tls);
