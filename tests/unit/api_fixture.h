/*
 * api_fixture.h - the token service's endpoints without its process: a signer in a
 * thread, a fresh store for each test, a clock that the test moves, hosts and VMs of a
 * few lines
 */
#pragma once

#include "lib/common/json.h"
#include "lib/crypto/key.h"
#include "tests/unit/mint_fixture.h"
#include "tests/unit/soft_tpm.h"
#include "tokenservice/api/route.h"

struct api_fixture {
    char folder[64]; /* of the database */
    struct service service;
    void (*broken)(const struct error *err); /* NULL: the test fails */
    http_handler *answer; /* NULL: route_answer() */
    int64_t frozen_ms;    /* the service's clock stands still here, if not 0 */
    bool accept_clock;    /* at the next start */
    bool recovery;        /* likewise */
    int64_t skew_ms;      /* the service's clock is this far from the real one */
    uint8_t exporter[32]; /* of the next requests */
    uid_t uid;            /* of the admin socket's peer */
    const char *host_header; /* of the next requests; NULL: id.example.test */
    int status;           /* of the answer last got */
    struct buf body;
    char headers[512];
    char problem[64]; /* its problem's name, or "" */
    unsigned park_ms;     /* of the answer last got: it is still to come */
    bool again;           /* the next request was parked before */
    uint64_t seq;
};
extern struct api_fixture the_api;

int api_fixture_start(void **state); /* group */
int api_fixture_stop(void **state);
int api_fixture_new(void **state); /* each test */
int api_fixture_free(void **state);
#define API_TEST(name) \
    cmocka_unit_test_setup_teardown(name, api_fixture_new, api_fixture_free)

/* The service of the database in the_api.folder alone, for tests that let it fail. */
int api_fixture_open(struct error *err);
void api_fixture_close(void);

/* Close the store and open it again, as after a restart. */
void api_restart(void);

/* A request; `take_body` may be NULL.  Returns the status; the_api holds the rest. */
int api_ask_raw(enum route_listener on, const char *method, const char *target,
                const void *body, size_t len, const uint8_t *cert, size_t cert_len);
int api_ask_json(enum route_listener on, const char *method, const char *target,
                 json_t *take_body, const uint8_t *cert, size_t cert_len);
int api_admin(const char *method, const char *target, json_t *take_body);
/* The last answer. */
json_t *api_answer(void);
int64_t api_audit_count(void);

struct sim_host {
    char name[64];
    struct key *tls, *proof;
    uint8_t token[32];
    uint8_t cert[2048];
    size_t cert_len;
};
/* Two keys; a join code of the service. */
void sim_host_invite(struct sim_host *h, const char *name, bool automatic);
/* Status of the join request; 200: the certificate is in h. */
int sim_host_join(struct sim_host *h);
void sim_host_new(struct sim_host *h, const char *name); /* invited, joined */
void sim_host_clear(struct sim_host *h);
#define sim_host_clear_at sim_host_clear
/* New keys and certificates, into h. */
int sim_host_renew(struct sim_host *h);
int sim_host_ask(struct sim_host *h, const char *method, const char *target,
                 json_t *take_body);
/* A report of one VM. */
struct lease_result sim_host_say(struct sim_host *h, const struct vm_uuid *uuid,
                                 enum lease_view view, uint64_t e, bool acquire);

/* The same with all that a report may say. */
struct sim_word {
    enum lease_view view;
    bool k, same_seq; /* same_seq: the report before, once more */
    uint64_t e, kk, pull, ver, row_ver;
    enum lease_op op;
    const char *boot; /* NULL: the one of all of them */
    unsigned saw;
    uint64_t saw_seq;
};
struct lease_result sim_host_say_all(struct sim_host *h, const struct vm_uuid *uuid, const struct sim_word *word);

/* An operator places the VM there; the host is asked first, and says that it is not there. Status. */
int sim_host_placed(struct sim_host *h, const struct vm_uuid *uuid, json_t *take_body);

enum { SIM_TPM = 1, SIM_SECRET = 2 };
struct sim_vm {
    struct vm_uuid uuid;
    char text[VM_UUID_TEXT];
    uint64_t epoch;
    int has; /* SIM_TPM | SIM_SECRET */
    struct key *secret;
    struct soft_tpm tpm;
    char audience[64];
    bool has_activation;
    struct prove p; /* the proof last made */
};
void sim_vm_new(struct sim_vm *vm, uint8_t number, int has);
void sim_vm_clear(struct sim_vm *vm);
#define sim_vm_clear_at sim_vm_clear
/* Account with all it has; returns the status. */
int sim_vm_account(struct sim_vm *vm, struct sim_host *h);
/* A proof with everything right, not sent; change vm->p and sign again with
 * sim_vm_sign(). */
void sim_vm_prove(struct sim_vm *vm, const struct sim_host *h);
void sim_vm_sign(struct sim_vm *vm, const struct sim_host *h);
int sim_vm_send(struct sim_vm *vm, struct answer *ret);
/* Prove, answering ACTIVATE. */
int sim_vm_token(struct sim_vm *vm, const struct sim_host *h, struct answer *ret);
/* Acquire, account, first token: asserts all of it. */
void sim_vm_enrolled(struct sim_vm *vm, uint8_t number, int has, struct sim_host *h);

/* The answer is a token of this VM in its epoch, for `audience`, with so many factors. */
void sim_vm_check_token(const struct sim_vm *vm, const struct answer *answer, const char *audience,
                        int factors);
