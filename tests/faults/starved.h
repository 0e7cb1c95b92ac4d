/*
 * starved.h - the token service without memory, at each allocation of a request in turn
 *
 * Counted is what happens between a request and its answer, with what SQLite, OpenSSL and jansson allocate for it.
 * A lack of memory is said as such: nobody is told that he is wrong.
 */
#pragma once

#include "tests/faults/alloc_fault.h"
#include "tests/unit/api_fixture.h"

/* A host, and a VM that has an account and whose lease it holds. */
extern struct sim_host holder;
extern struct sim_vm vm;
extern unsigned starved_wrong; /* answers that blame the asker */

/* Setup and teardown of cmocka's group. */
int starved_set_up(void **state);
int starved_tear_down(void **state);

/* Each try is a new minute for those who count. */
void starved_begin(void);
/* the_api.answer for the request that is counted. */
void starved_answer(void *context, const struct http_request *request, struct http_reply *reply);
/* Of the last answer: 0 the one that is wanted; -1 another, which must not blame the asker. */
int starved_verdict(int wanted);
/* All three; a host's request is the holder's. */
int starved_ask(enum route_listener on, const char *method, const char *target, json_t *take_body, int wanted);
/* struct alloc_case's check: the database is as good as before, its chain of records too. */
void starved_goes_on(bool done);
/* Fails by assertion on a violation, and on an answer that blames. */
void starved_run(const struct alloc_case *cases, size_t n);
