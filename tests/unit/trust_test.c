#include "config.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include <cmocka.h>

#include "guestagent/trust.h"
#include "lib/common/fdio.h"
#include "lib/crypto/x509.h"

static char folder[32];
static struct key *ca_key, *other_key;
static struct buf ca = BUF(BUNDLE_CA_MAX), other_ca = BUF(BUNDLE_CA_MAX);

static void
new_ca(struct key **ret_key, struct buf *into)
{
    CLEANUP(buf_clear) struct buf spki = BUF(256);
    uint8_t point[KEY_POINT_LEN], serial[16] = { 0x41 };
    struct x509_request request = { .kind = X509_CA_HOST, .name = "test CA", .serial = serial,
                                    .now = 1760000000 };
    struct error err = { 0 };

    assert_int_equal(key_generate(ret_key, &err), 0);
    key_point(*ret_key, point);
    assert_int_equal(x509_spki_of_point(point, &spki, &err), 0);
    request.spki = spki.data;
    request.spki_len = spki.len;
    assert_int_equal(x509_compose(&request, *ret_key, NULL, 0, into, &err), 0);
}

static int
set_up(void **state)
{
    strcpy(folder, "/tmp/trustXXXXXX");
    *state = mkdtemp(folder);
    new_ca(&ca_key, &ca);
    new_ca(&other_key, &other_ca);
    return *state ? 0 : -1;
}

static int
tear_down(void **state)
{
    char path[128];

    (void)state;
    snprintf(path, sizeof path, "%s/bundle", folder);
    (void)unlink(path);
    snprintf(path, sizeof path, "%s/bundle.bad", folder);
    (void)unlink(path);
    key_free(ca_key);
    key_free(other_key);
    buf_clear(&ca);
    buf_clear(&other_ca);
    return rmdir(folder);
}

/* A HELLO that offers bundle `serial` with `authority`, signed by `signer`. Free it. */
static struct hello *
hello(uint64_t serial, const struct buf *authority, const struct key *signer,
      const char *issuer)
{
    CLEANUP(buf_clear) struct buf bytes = BUF(BUNDLE_MAX);
    CLEANUP(mem_free) struct bundle *b = calloc(1, sizeof *b);
    struct hello *h = calloc(1, sizeof *h);
    uint8_t signature[KEY_SIGNATURE_LEN];
    struct error err = { 0 };

    strcpy(b->issuer, issuer);
    strcpy(h->issuer, issuer);
    strcpy(b->guest_listener, "guests.example.test:8445");
    b->serial = serial;
    memcpy(b->ca_now, authority->data, authority->len);
    b->ca_now_len = authority->len;
    assert_int_equal(bundle_message(b, &bytes, &err), 0);
    assert_int_equal(key_sign(signer, bytes.data, bytes.len, signature, &err), 0);
    buf_add(&bytes, signature, sizeof signature);
    memcpy(h->bundle, bytes.data, bytes.len);
    h->bundle_len = bytes.len;
    h->uuid.bytes[0] = 1;
    return h;
}

static const char ISSUER[] = "https://id.example.test";

/* Offer and free; the serial held, or -1. */
static int64_t
offer(struct trust *t, struct hello *take_hello, struct error *err)
{
    CLEANUP(mem_free) struct hello *h = take_hello;
    uint64_t serial = 0;

    return trust_offer(t, h, &serial, err) < 0 ? -1 : (int64_t)serial;
}

static struct trust *
opened(void)
{
    struct trust *t = NULL;
    struct error err = { 0 };

    assert_int_equal(trust_open(folder, &t, &err), 0);
    return t;
}

static void
the_first_bundle_is_taken_and_kept(void **state)
{
    CLEANUP(trust_free) struct trust *t = opened();
    struct bundle b;
    struct error err = { 0 };

    (void)state;
    assert_int_equal(trust_bundle(t, &b, &err), -1);
    assert_int_equal(err.code, ERROR_MISSING);
    assert_int_equal(offer(t, hello(3, &ca, ca_key, ISSUER), &err), 3);
    trust_free(STEAL(t));
    t = opened();
    assert_int_equal(trust_bundle(t, &b, &err), 0);
    assert_int_equal(b.serial, 3);
}

static void
a_first_bundle_that_is_not_signed_by_itself_is_not_taken(void **state)
{
    CLEANUP(trust_free) struct trust *t = opened();
    struct error err = { 0 };

    (void)state;
    assert_int_equal(offer(t, hello(1, &ca, other_key, ISSUER), &err), -1);
    assert_string_equal(err.problem, "bundle-missing");
}

static void
only_a_higher_serial_signed_under_the_held_one_is_taken(void **state)
{
    CLEANUP(trust_free) struct trust *t = opened();
    struct error err = { 0 };

    (void)state;
    assert_int_equal(offer(t, hello(3, &ca, ca_key, ISSUER), &err), 3);
    assert_int_equal(offer(t, hello(2, &ca, ca_key, ISSUER), &err), 3);
    assert_int_equal(offer(t, hello(9, &other_ca, other_key, ISSUER), &err), 3);
    assert_int_equal(offer(t, hello(9, &ca, other_key, ISSUER), &err), 3);
    assert_int_equal(offer(t, hello(4, &other_ca, ca_key, ISSUER), &err), 4);
    assert_int_equal(offer(t, hello(5, &ca, ca_key, ISSUER), &err), 4);
    assert_int_equal(offer(t, hello(5, &ca, other_key, ISSUER), &err), 5);
}

static void
another_issuer_or_uuid_is_not_answered(void **state)
{
    CLEANUP(trust_free) struct trust *t = opened();
    struct hello *moved;
    struct error err = { 0 };

    (void)state;
    assert_int_equal(offer(t, hello(3, &ca, ca_key, ISSUER), &err), 3);
    assert_int_equal(offer(t, hello(4, &ca, ca_key, "https://other.test"), &err), -1);
    assert_string_equal(err.problem, "issuer-changed");
    moved = hello(3, &ca, ca_key, ISSUER);
    moved->uuid.bytes[0] = 2;
    assert_int_equal(offer(t, moved, &err), -1);
    assert_string_equal(err.problem, "uuid-changed");
    assert_int_equal(offer(t, hello(3, &ca, ca_key, ISSUER), &err), 3);
}

static void
a_hello_without_bundle_is_enough_for_who_has_one(void **state)
{
    CLEANUP(trust_free) struct trust *t = opened();
    struct hello *bare = hello(3, &ca, ca_key, ISSUER);
    struct error err = { 0 };

    (void)state;
    bare->bundle_len = 0;
    assert_int_equal(offer(t, bare, &err), -1);
    assert_int_equal(offer(t, hello(3, &ca, ca_key, ISSUER), &err), 3);
    bare = hello(3, &ca, ca_key, ISSUER);
    bare->bundle_len = 0;
    assert_int_equal(offer(t, bare, &err), 3);
}

static void
a_damaged_file_is_set_aside_and_the_next_one_taken(void **state)
{
    CLEANUP(trust_free) struct trust *t = NULL;
    struct error err = { 0 };
    char path[128];

    (void)state;
    snprintf(path, sizeof path, "%s/bundle", folder);
    assert_int_equal(file_replace(path, "junk", 4, 0644, &err), 0);
    t = opened();
    snprintf(path, sizeof path, "%s/bundle.bad", folder);
    assert_int_equal(access(path, F_OK), 0);
    assert_int_equal(offer(t, hello(3, &ca, ca_key, ISSUER), &err), 3);
}

#define IN_FOLDER(name) cmocka_unit_test_setup_teardown(name, set_up, tear_down)

int
main(void)
{
    const struct CMUnitTest tests[] = {
        IN_FOLDER(the_first_bundle_is_taken_and_kept),
        IN_FOLDER(a_first_bundle_that_is_not_signed_by_itself_is_not_taken),
        IN_FOLDER(only_a_higher_serial_signed_under_the_held_one_is_taken),
        IN_FOLDER(another_issuer_or_uuid_is_not_answered),
        IN_FOLDER(a_hello_without_bundle_is_enough_for_who_has_one),
        IN_FOLDER(a_damaged_file_is_set_aside_and_the_next_one_taken),
    };

    return cmocka_run_group_tests_name("trust", tests, NULL, NULL);
}
