#include "config.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <dirent.h>
#include <sys/stat.h>
#include <sys/wait.h>
#include <unistd.h>

#include <cmocka.h>

#include "lib/common/encode.h"
#include "lib/common/fdio.h"
#include "lib/crypto/hash.h"
#include "lib/wire/fields.h"
#include "plugin/enroll/host_identity.h"
#include "plugin/enroll/join_message.h"

extern int crash_at_call; /* crash_at.c */

#define GOOD_HASH "9Tu_meFUzqG5nPWfy4wzqyOk52DXtXYYnAp81GZmL44"
#define GOOD_TOKEN "6oXDn8BHfpcctbCZ2Zvxpv45K7Uk_d-bAsBCInRhXJw"

static void
a_join_code_is_read(void **state)
{
    struct join_code code;
    struct error err;

    (void)state;
    assert_int_equal(join_code_parse("  virtid1,id.example:8444," GOOD_HASH "," GOOD_TOKEN "\r\n", &code, &err), 0);
    assert_string_equal(code.service, "id.example:8444");
    assert_int_equal(code.ca_sha256[0], 0xf5);
    assert_int_equal(code.token[0], 0xea);
}

static void
anything_else_is_no_join_code_and_is_not_repeated(void **state)
{
    static const char *const table[] = {
        "", "virtid1", "virtid2,a:1," GOOD_HASH "," GOOD_TOKEN, "virtid1,a:1," GOOD_HASH,
        "virtid1,a," GOOD_HASH "," GOOD_TOKEN, "virtid1,a:1/x," GOOD_HASH "," GOOD_TOKEN,
        "virtid1,u@a:1," GOOD_HASH "," GOOD_TOKEN, "virtid1,a:1," GOOD_HASH "," GOOD_TOKEN ",x",
        "virtid1,a:1," GOOD_HASH "," GOOD_TOKEN " x", "virtid1,a:1," GOOD_HASH "x," GOOD_TOKEN,
        "virtid1,a:1," GOOD_HASH ",6oXDn8BHfpcctbCZ2Zvxpv45K7Uk_d-bAsBCInRhXJ",
    };

    (void)state;
    for (size_t i = 0; i < sizeof table / sizeof table[0]; i++) {
        struct join_code code;
        struct error err;

        assert_int_equal(join_code_parse(table[i], &code, &err), -1);
        assert_int_equal(err.code, ERROR_INPUT);
        assert_null(strstr(err.text, "6oXD"));
    }
}

static void
both_keys_sign_the_same_words(void **state)
{
    CLEANUP(key_free) struct key *tls = NULL;
    CLEANUP(key_free) struct key *proof = NULL;
    CLEANUP(json_decref) json_t *body = json_object();
    CLEANUP(buf_clear) struct buf message = BUF(1024);
    uint8_t token[32] = { 1 }, point[65], sig_tls[64], sig_proof[64], digest[32];
    char fingerprint[33], hex[65];
    struct error err;
    size_t len;

    (void)state;
    assert_int_equal(key_generate(&tls, &err), 0);
    assert_int_equal(key_generate(&proof, &err), 0);
    assert_int_equal(join_message_sign(JOIN_LABEL_JOIN, "host-a", token, tls, proof, body, &err), 0);
    fields_add_text(&message, "virtid-join-1");
    fields_add_text(&message, "host-a");
    fields_add(&message, token, 32);
    key_point(tls, point);
    fields_add(&message, point, 65);
    key_point(proof, point);
    fields_add(&message, point, 65);
    assert_int_equal(json_get_bytes(body, "sig_tls", false, sig_tls, 64, &len, &err), 0);
    assert_int_equal(json_get_bytes(body, "sig_proof", false, sig_proof, 64, &len, &err), 0);
    assert_int_equal(key_verify(tls, message.data, message.len, sig_tls, &err), 0);
    assert_int_equal(key_verify(proof, message.data, message.len, sig_proof, &err), 0);
    assert_int_equal(key_verify(tls, message.data, message.len, sig_proof, &err), -1);
    assert_int_equal(join_fingerprint("host-a", token, tls, proof, fingerprint, &err), 0);
    assert_int_equal(hash_sha256(message.data, message.len, digest, &err), 0);
    hex_encode(digest, 32, hex);
    assert_memory_equal(fingerprint, hex, 32);
}

/* ---- a folder with an identity ---- */

static char dir[64];

static int
make_dir(void **state)
{
    (void)state;
    strcpy(dir, "/tmp/virtid-enroll-XXXXXX");
    return mkdtemp(dir) ? 0 : -1;
}

static int
remove_dir(void **state)
{
    DIR *d = opendir(dir);

    (void)state;
    for (struct dirent *e; d && (e = readdir(d));) {
        if (e->d_name[0] != '.' || strlen(e->d_name) > 2)
            (void)unlinkat(dirfd(d), e->d_name, 0);
    }
    if (d)
        closedir(d);
    return rmdir(dir);
}

static void
add_cert(json_t *answer, const char *member, const struct key *subject)
{
    CLEANUP(buf_clear) struct buf spki = BUF(512), der = BUF(4096), pem = BUF(8192);
    struct x509_request request = { .kind = X509_CA_HOST, .name = "test", .serial = (const uint8_t *)"0123456789abcdef", .now = 1760000000 };
    uint8_t point[65];
    struct error err;

    key_point(subject, point);
    assert_int_equal(x509_spki_of_point(point, &spki, &err), 0);
    request.spki = spki.data;
    request.spki_len = spki.len;
    assert_int_equal(x509_compose(&request, subject, NULL, 0, &der, &err), 0);
    assert_int_equal(x509_to_pem(der.data, der.len, &pem, &err), 0);
    assert_int_equal(json_object_set_new(answer, member, json_string(buf_text(&pem))), 0);
}

/* What the service answers a host with these keys. */
static json_t *
answer_to(const struct key *tls, const struct key *proof)
{
    const char *srcdir = getenv("srcdir");
    CLEANUP(buf_clear) struct buf bundle = BUF(BUNDLE_MAX);
    json_t *answer = json_pack("{s:s,s:s,s:s}", "issuer", "https://id.example.test", "trust_domain",
                               "example.test", "guest_listener", "id.example.test:8445");
    char path[512];
    struct error err;

    snprintf(path, sizeof path, "%s/tests/data/fuzz/bundle/first", srcdir ? srcdir : ".");
    assert_int_equal(file_read(path, &bundle, &err), 0);
    assert_int_equal(json_set_bytes(answer, "bundle", bundle.data, bundle.len), 0);
    add_cert(answer, "tls_cert", tls);
    add_cert(answer, "proof_cert", proof);
    add_cert(answer, "ca", tls);
    return answer;
}

/* The fingerprint of the CA in that answer, as in the join code. */
static void
find_pin(const json_t *answer, uint8_t ret[static SHA256_LEN])
{
    uint8_t bytes[BUNDLE_MAX];
    struct bundle bundle;
    struct error err;
    size_t len;

    assert_int_equal(json_get_bytes(answer, "bundle", false, bytes, sizeof bytes, &len, &err), 0);
    assert_int_equal(bundle_decode(bytes, len, &bundle, &err), 0);
    assert_int_equal(hash_sha256(bundle.ca_now, bundle.ca_now_len, ret, &err), 0);
}

static void
store(const struct key *tls, const struct key *proof)
{
    CLEANUP(json_decref) json_t *answer = answer_to(tls, proof);
    uint8_t pin[SHA256_LEN];
    struct error err;

    find_pin(answer, pin);
    if (host_identity_store(dir, "host-a", "id.example.test:8444", pin, tls, proof, answer, &err) < 0)
        fail_msg("%s", err.text);
}

static bool
is_key(const struct key *a, const struct key *b)
{
    uint8_t x[65], y[65];

    key_point(a, x);
    key_point(b, y);
    return memcmp(x, y, sizeof x) == 0;
}

static void
make_keys(struct key **ret_tls, struct key **ret_proof)
{
    struct error err;

    assert_int_equal(key_generate(ret_tls, &err), 0);
    assert_int_equal(key_generate(ret_proof, &err), 0);
}

static void
a_join_takes_the_bundle_of_the_ca_in_its_code_alone(void **state)
{
    CLEANUP(key_free) struct key *tls = NULL, *proof = NULL;
    CLEANUP(json_decref) json_t *answer = NULL;
    CLEANUP(host_identity_free) struct host_identity *id = NULL;
    uint8_t pin[SHA256_LEN], bytes[BUNDLE_MAX];
    struct error err;
    size_t len;

    (void)state;
    make_keys(&tls, &proof);
    answer = answer_to(tls, proof);
    find_pin(answer, pin);
    pin[31] ^= 1;
    assert_int_equal(host_identity_store(dir, "host-a", "id.example.test:8444", pin, tls, proof, answer, &err), -1);
    assert_string_equal(err.problem, "bundle-refused");
    assert_int_equal(host_identity_load(dir, &id, &err), -1);
    assert_int_equal(err.code, ERROR_MISSING); /* nothing of it was kept */
    /* And by that CA's own word. */
    pin[31] ^= 1;
    assert_int_equal(json_get_bytes(answer, "bundle", false, bytes, sizeof bytes, &len, &err), 0);
    bytes[len - 1] ^= 1;
    assert_int_equal(json_set_bytes(answer, "bundle", bytes, len), 0);
    assert_int_equal(host_identity_store(dir, "host-a", "id.example.test:8444", pin, tls, proof, answer, &err), -1);
    assert_string_equal(err.problem, "bundle-refused");
}

static void
a_renewal_leaves_alone_whom_the_host_trusts(void **state)
{
    CLEANUP(key_free) struct key *tls = NULL, *proof = NULL, *next_tls = NULL, *next_proof = NULL;
    CLEANUP(host_identity_free) struct host_identity *id = NULL, *after = NULL;
    CLEANUP(json_decref) json_t *answer = NULL;
    uint8_t bytes[BUNDLE_MAX];
    struct error err;
    size_t len;

    (void)state;
    make_keys(&tls, &proof);
    store(tls, proof);
    assert_int_equal(host_identity_load(dir, &id, &err), 0);
    make_keys(&next_tls, &next_proof);
    answer = answer_to(next_tls, next_proof);
    assert_int_equal(json_get_bytes(answer, "bundle", false, bytes, sizeof bytes, &len, &err), 0);
    bytes[len - 1] ^= 1; /* another one */
    assert_int_equal(json_set_bytes(answer, "bundle", bytes, len), 0);
    assert_int_equal(host_identity_renew(dir, id, next_tls, next_proof, answer, &err), 0);
    assert_true(host_identity_is_old(dir, id));
    assert_int_equal(host_identity_load(dir, &after, &err), 0);
    assert_true(is_key(after->tls_key, next_tls));
    assert_int_equal(after->bundle.len, id->bundle.len);
    assert_memory_equal(after->bundle.data, id->bundle.data, id->bundle.len);
    /* Nor is it led to another trust domain. */
    for (int i = 0; i < 2; i++) {
        CLEANUP(json_decref) json_t *elsewhere = answer_to(tls, proof);

        json_object_set_new(elsewhere, i == 0 ? "issuer" : "trust_domain",
                            json_string(i == 0 ? "https://other.example.test" : "other.test"));
        assert_int_equal(host_identity_renew(dir, after, tls, proof, elsewhere, &err), -1);
        assert_string_equal(err.problem, "issuer-changed");
        assert_false(host_identity_is_old(dir, after));
    }
}

static bool
fits(const struct buf *cert, const struct key *key)
{
    struct x509_info info;
    uint8_t point[65];
    struct error err;

    key_point(key, point);
    return x509_read(cert->data, cert->len, &info, &err) == 0 && memcmp(info.point, point, sizeof point) == 0;
}

static void
keys_of_a_join_are_kept_until_they_are_used_and_for_their_owner_alone(void **state)
{
    CLEANUP(key_free) struct key *tls = NULL, *proof = NULL, *tls2 = NULL, *proof2 = NULL;
    CLEANUP(key_free) struct key *tls3 = NULL, *proof3 = NULL;
    CLEANUP(host_identity_free) struct host_identity *id = NULL;
    char path[96];
    struct error err;
    struct stat st;

    (void)state;
    assert_int_equal(host_identity_join_keys(dir, &tls, &proof, &err), 0);
    assert_false(is_key(tls, proof));
    snprintf(path, sizeof path, "%s/join-tls.key", dir);
    assert_int_equal(stat(path, &st), 0);
    assert_int_equal(st.st_mode & 0777, 0600);
    assert_int_equal(host_identity_join_keys(dir, &tls2, &proof2, &err), 0);
    assert_true(is_key(tls, tls2) && is_key(proof, proof2));
    store(tls, proof);
    assert_int_equal(host_identity_load(dir, &id, &err), 0);
    assert_true(is_key(id->tls_key, tls) && is_key(id->proof_key, proof));
    snprintf(path, sizeof path, "%s/tls.pem", dir);
    assert_int_equal(stat(path, &st), 0);
    assert_int_equal(st.st_mode & 0777, 0600);
    /* The next join is with others: these may be why it is needed. */
    assert_int_equal(host_identity_join_keys(dir, &tls3, &proof3, &err), 0);
    assert_false(is_key(tls, tls3) || is_key(proof, proof3));
}

static void
a_join_beside_an_identity_leaves_it_alone(void **state)
{
    CLEANUP(key_free) struct key *tls = NULL, *proof = NULL, *next_tls = NULL, *next_proof = NULL;
    CLEANUP(host_identity_free) struct host_identity *id = NULL, *after = NULL;
    struct error err;

    (void)state;
    assert_int_equal(host_identity_join_keys(dir, &tls, &proof, &err), 0);
    store(tls, proof);
    assert_int_equal(host_identity_load(dir, &id, &err), 0);
    assert_int_equal(host_identity_join_keys(dir, &next_tls, &next_proof, &err), 0);
    assert_false(host_identity_is_old(dir, id));
    assert_int_equal(host_identity_load(dir, &after, &err), 0);
    assert_true(is_key(after->tls_key, tls));
    store(next_tls, next_proof);
    assert_true(host_identity_is_old(dir, id));
}

/* After a loss of power at any write, the host is who it was or who it became, with no key that
 * has another's certificate. */
static void
a_renewal_cut_anywhere_leaves_keys_that_fit(void **state)
{
    CLEANUP(key_free) struct key *tls = NULL, *proof = NULL;
    bool was_old = false, was_new = false;
    struct error err;
    int status = 42;

    (void)state;
    assert_int_equal(host_identity_join_keys(dir, &tls, &proof, &err), 0);
    for (int n = 1; status == 42; n++) {
        CLEANUP(key_free) struct key *next_tls = NULL, *next_proof = NULL;
        CLEANUP(host_identity_free) struct host_identity *id = NULL;
        pid_t pid;

        store(tls, proof);
        assert_int_equal(key_generate(&next_tls, &err), 0);
        assert_int_equal(key_generate(&next_proof, &err), 0);
        pid = fork();
        if (pid == 0) {
            crash_at_call = n;
            store(next_tls, next_proof);
            _exit(0);
        }
        assert_int_equal(waitpid(pid, &status, 0), pid);
        assert_true(WIFEXITED(status));
        status = WEXITSTATUS(status);
        assert_int_equal(host_identity_load(dir, &id, &err), 0);
        assert_true(fits(&id->tls_cert, id->tls_key));
        assert_true(fits(&id->proof_cert, id->proof_key));
        was_old |= is_key(id->tls_key, tls);
        was_new |= is_key(id->tls_key, next_tls);
        assert_true(is_key(id->tls_key, tls) || is_key(id->tls_key, next_tls));
        /* The service takes a renewed proof key before its TLS key is used, not the other way round. */
        assert_true(is_key(id->proof_key, next_proof) || is_key(id->tls_key, tls));
    }
    assert_int_equal(status, 0);
    assert_true(was_old && was_new);
}

/* A crash behind the last rename of a join: its keys lie there still, and are in use. */
static void
keys_that_are_in_use_are_not_joined_with_again(void **state)
{
    CLEANUP(key_free) struct key *tls = NULL, *proof = NULL, *again = NULL, *again_proof = NULL;
    char from[96], to[96];
    struct error err;

    (void)state;
    assert_int_equal(host_identity_join_keys(dir, &tls, &proof, &err), 0);
    snprintf(from, sizeof from, "%s/join-tls.key", dir);
    snprintf(to, sizeof to, "%s/kept", dir);
    assert_int_equal(rename(from, to), 0);
    store(tls, proof);
    assert_int_equal(rename(to, from), 0);
    assert_int_equal(host_identity_join_keys(dir, &again, &again_proof, &err), 0);
    assert_false(is_key(tls, again));
}

static void
a_host_that_has_not_joined_says_so(void **state)
{
    struct host_identity *id = NULL;
    struct error err;

    (void)state;
    assert_int_equal(host_identity_load("/nonexistent", &id, &err), -1);
    assert_int_equal(err.code, ERROR_MISSING);
}

static void
a_certificate_for_another_key_is_not_kept(void **state)
{
    CLEANUP(key_free) struct key *ours = NULL;
    CLEANUP(key_free) struct key *other = NULL;
    CLEANUP(buf_clear) struct buf spki = BUF(512), der = BUF(4096), pem = BUF(8192);
    CLEANUP(json_decref) json_t *answer = NULL;
    struct x509_request request = { .kind = X509_CA_HOST, .name = "test", .serial = (const uint8_t *)"0123456789abcdef", .now = 1760000000 };
    uint8_t point[65], pin[SHA256_LEN];
    struct error err;

    (void)state;
    assert_int_equal(key_generate(&ours, &err), 0);
    assert_int_equal(key_generate(&other, &err), 0);
    key_point(other, point);
    assert_int_equal(x509_spki_of_point(point, &spki, &err), 0);
    request.spki = spki.data;
    request.spki_len = spki.len;
    assert_int_equal(x509_compose(&request, other, NULL, 0, &der, &err), 0);
    assert_int_equal(x509_to_pem(der.data, der.len, &pem, &err), 0);
    answer = answer_to(ours, ours);
    find_pin(answer, pin);
    json_object_set_new(answer, "proof_cert", json_string(buf_text(&pem)));
    assert_int_equal(host_identity_store("/nonexistent", "host-a", "a:1", pin, ours, ours, answer, &err), -1);
    assert_int_equal(err.code, ERROR_DENIED);
    assert_non_null(strstr(err.text, "for another key"));
}

int
main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(a_join_code_is_read),
        cmocka_unit_test(anything_else_is_no_join_code_and_is_not_repeated),
        cmocka_unit_test(both_keys_sign_the_same_words),
        cmocka_unit_test_setup_teardown(keys_of_a_join_are_kept_until_they_are_used_and_for_their_owner_alone,
                                        make_dir, remove_dir),
        cmocka_unit_test_setup_teardown(a_join_takes_the_bundle_of_the_ca_in_its_code_alone, make_dir, remove_dir),
        cmocka_unit_test_setup_teardown(a_renewal_leaves_alone_whom_the_host_trusts, make_dir, remove_dir),
        cmocka_unit_test_setup_teardown(a_join_beside_an_identity_leaves_it_alone, make_dir, remove_dir),
        cmocka_unit_test_setup_teardown(a_renewal_cut_anywhere_leaves_keys_that_fit, make_dir, remove_dir),
        cmocka_unit_test_setup_teardown(keys_that_are_in_use_are_not_joined_with_again, make_dir, remove_dir),
        cmocka_unit_test(a_host_that_has_not_joined_says_so),
        cmocka_unit_test(a_certificate_for_another_key_is_not_kept),
    };

    return cmocka_run_group_tests_name("enroll", tests, NULL, NULL);
}
