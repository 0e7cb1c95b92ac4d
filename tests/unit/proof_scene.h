/*
 * proof_scene.h - a VM, its host, its service: everything one proof needs, all of it changeable
 *
 * scene_new() is a VM that was accepted before; scene_prove() builds the proof anew from p's plain
 * fields: transcript, host signature, quote, certify, secret signatures.
 */
#pragma once

#include "tests/unit/soft_tpm.h"
#include "tokenservice/attest/proof_check.h"

struct scene {
    struct soft_tpm tpm;
    struct key *host, *cur, *new_;
    uint8_t exporter[32], nonce_key[32], activate_key[32], random[16];
    struct proof_service service;
    struct proof_account account;
    struct prove p;
    struct proof_result result;
    struct error err;
};

enum { SCENE_HOST = 1, SCENE_QUOTE = 2, SCENE_CERTIFY = 4, SCENE_SECRET = 8, SCENE_ALL = 15 };

void scene_new(struct scene *s);
void scene_clear(struct scene *s);

/* A fresh challenge nonce into p. */
void scene_nonce(struct scene *s);
/* Sign these parts over the transcript that p's fields now give. */
void scene_sign(struct scene *s, int parts);
/* Nonce and all signatures. */
void scene_prove(struct scene *s);
/* The hash that the proof is over. */
void scene_h(struct scene *s, uint8_t ret[static 32]);
/* The activation secret for that hash, as a TPM would open it. */
void scene_activate(struct scene *s);

/* Judge; asserts that proof_check itself did not fail. */
enum proof_verdict scene_judge(struct scene *s);

/* For cmocka: *state is a struct scene. */
int scene_set_up(void **state);
int scene_tear_down(void **state);
#define SCENE_TEST(name) cmocka_unit_test_setup_teardown(name, scene_set_up, scene_tear_down)

/* An account before its first proof, with EK, secret and index registered. */
void scene_pending(struct scene *s);
/* Judge, and assert. */
void scene_accepted(struct scene *s);
void scene_refused(struct scene *s, const char *check, const char *problem);
/* Refused before anything of the VM was looked at: the one answer for strangers. */
void scene_refused_at_the_door(struct scene *s);
