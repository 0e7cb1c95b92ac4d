/*
 * issuer_fixture.h - an issuer of keys over HTTPS, in a thread of its own; a test changes what it answers
 */
#pragma once

#include <stdatomic.h>

#include "lib/crypto/key.h"

struct issuer_fixture {
    char url[64], ca_file[64];
    const char *cache_control; /* set before the first question */
    struct key *key;           /* in every set */
    struct key *second;        /* in every other set, where there is one */
    atomic_bool away;          /* 503 */
    atomic_int fetched;        /* sets given out or refused */
};
extern struct issuer_fixture the_issuer;

/* For cmocka's group. */
int issuer_fixture_set_up(void **state);
int issuer_fixture_tear_down(void **state);
