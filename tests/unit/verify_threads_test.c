/*
 * Many threads verify with one verifier while the issuer's keys are fetched, changed and cannot be had.  The
 * thread sanitizer finds here what the others do not.
 */
#include "config.h"

#include <pthread.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stdatomic.h>
#include <stddef.h>
#include <stdint.h>
#include <string.h>
#include <time.h>
#include <unistd.h>
#include <cmocka.h>

#include "lib/common/clock.h"
#include "lib/wire/token.h"
#include "tests/unit/issuer_fixture.h"
#include "tests/unit/verify_fixture.h"
#include "verify/virtid-verify.h"

enum { THREADS = 6, MOVES = 40 };

static struct virtid_verifier *verifier;
static struct buf tokens[3]; /* by a key of every set, of every other set, of none */
static atomic_llong ahead_ms;
static atomic_bool done;
static atomic_int wrong, valid, later;

/* clock_monotonic_ms of this test's own objects, the library's among them. */
int64_t
moved_clock_ms(void)
{
    struct timespec t;

    clock_gettime(CLOCK_MONOTONIC, &t);
    return (int64_t)t.tv_sec * 1000 + t.tv_nsec / 1000000 + ahead_ms;
}

static enum virtid_result
verify(const struct buf *token)
{
    struct virtid_identity *vm = NULL;
    struct virtid_error error;
    enum virtid_result result =
        virtid_verify(verifier, (const char *)token->data, token->len, &vm, &error);

    if (result == VIRTID_VALID && strcmp(virtid_identity_uuid(vm), FIXTURE_UUID) != 0)
        wrong++;
    virtid_identity_free(vm);
    return result;
}

static void *
verify_all(void *context)
{
    while (!done) {
        enum virtid_result second;

        if (verify(&tokens[0]) != VIRTID_VALID || verify(&tokens[2]) != VIRTID_KEY)
            wrong++;
        second = verify(&tokens[1]);
        if (second == VIRTID_VALID)
            later++;
        else if (second != VIRTID_KEY)
            wrong++;
        valid++;
    }
    return context;
}

static void
sign(const struct key *key, struct buf *into)
{
    CLEANUP(json_decref) json_t *claims =
        fixture_claims("shop", clock_realtime_ms() / 1000, NULL);
    struct error err;

    assert_int_equal(json_object_set_new(claims, "iss", json_string(the_issuer.url)), 0);
    *into = (struct buf)BUF(TOKEN_TEXT_MAX);
    assert_int_equal(token_sign(claims, key, into, &err), 0);
}

static void
threads_verify_while_keys_are_fetched(void **state)
{
    CLEANUP(key_free) struct key *stranger = NULL;
    struct virtid_options options = VIRTID_OPTIONS(the_issuer.url, "shop");
    struct virtid_error error;
    struct error err;
    pthread_t threads[THREADS];

    (void)state;
    assert_int_equal(key_generate(&the_issuer.second, &err), 0);
    assert_int_equal(key_generate(&stranger, &err), 0);
    the_issuer.cache_control = "max-age=30";
    options.ca_file = the_issuer.ca_file;
    assert_int_equal(virtid_verifier_new(&options, &verifier, &error), VIRTID_VALID);
    sign(the_issuer.key, &tokens[0]);
    sign(the_issuer.second, &tokens[1]);
    sign(stranger, &tokens[2]);
    for (int i = 0; i < THREADS; i++)
        assert_int_equal(pthread_create(&threads[i], NULL, verify_all, NULL), 0);
    while (valid == 0)
        usleep(1000);
    for (int i = 0; i < MOVES; i++) {
        the_issuer.away = i % 7 == 3;
        ahead_ms += 31000;
        usleep(25000);
    }
    done = true;
    for (int i = 0; i < THREADS; i++)
        pthread_join(threads[i], NULL);
    for (int i = 0; i < 3; i++)
        buf_clear(&tokens[i]);
    virtid_verifier_free(verifier);
    assert_int_equal(wrong, 0);
    assert_true(later > 0);
    assert_true(the_issuer.fetched > 5);
}

int
main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(threads_verify_while_keys_are_fetched),
    };

    return cmocka_run_group_tests_name("verify_threads", tests, issuer_fixture_set_up,
                                       issuer_fixture_tear_down);
}
