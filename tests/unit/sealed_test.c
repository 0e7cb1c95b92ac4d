#include "config.h"

#include "lib/crypto/sealed.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <string.h>
#include <sys/mman.h>
#include <unistd.h>

#include <cmocka.h>
#include <openssl/evp.h>
#include <openssl/pem.h>
#include <openssl/x509.h>

#include "lib/common/fdio.h"

static const char text[] = "what must come back, to the last byte";
static char certificate[4096], private_key[4096], another_key[4096];

static void
write_pem(BIO *bio, char ret[static 4096])
{
    int len = BIO_read(bio, ret, 4095);

    assert_true(len > 0);
    ret[len] = '\0';
    BIO_free(bio);
}

static void
make_key(char ret_key[static 4096], char *ret_certificate)
{
    EVP_PKEY *key = EVP_EC_gen("P-256");
    BIO *bio = BIO_new(BIO_s_mem());

    assert_non_null(key);
    assert_true(PEM_write_bio_PrivateKey(bio, key, NULL, NULL, 0, NULL, NULL));
    write_pem(bio, ret_key);
    if (ret_certificate) {
        X509 *x = X509_new();

        ASN1_INTEGER_set(X509_get_serialNumber(x), 1);
        X509_gmtime_adj(X509_getm_notBefore(x), 0);
        X509_gmtime_adj(X509_getm_notAfter(x), 3600);
        X509_set_pubkey(x, key);
        assert_true(X509_sign(x, key, EVP_sha256()) > 0);
        bio = BIO_new(BIO_s_mem());
        assert_true(PEM_write_bio_X509(bio, x));
        write_pem(bio, ret_certificate);
        X509_free(x);
    }
    EVP_PKEY_free(key);
}

static int
file_of(const void *bytes, size_t len)
{
    int fd = memfd_create("sealed", MFD_CLOEXEC);
    struct error err = { 0 };

    assert_true(fd >= 0);
    assert_int_equal(fd_write_all(fd, bytes, len, &err), 0);
    assert_int_equal(lseek(fd, 0, SEEK_SET), 0);
    return fd;
}

/* The sealed text, rewound. */
static int
seal(const struct sealed_for *who)
{
    int plain = file_of(text, sizeof text), sealed = file_of("", 0);
    struct error err = { 0 };

    assert_int_equal(sealed_write(who, plain, sealed, &err), 0);
    close(plain);
    assert_int_equal(lseek(sealed, 0, SEEK_SET), 0);
    return sealed;
}

static enum error_code
open_with(const struct sealed_for *who, int sealed)
{
    CLEANUP(buf_clear) struct buf back = BUF(4096);
    struct error err = { 0 };
    int plain = file_of("", 0), failed;

    assert_int_equal(lseek(sealed, 0, SEEK_SET), 0);
    failed = sealed_read(who, sealed, plain, &err);
    if (failed == 0) {
        assert_int_equal(lseek(plain, 0, SEEK_SET), 0);
        assert_int_equal(fd_read_to_end(plain, &back, &err), 0);
        assert_int_equal(back.len, sizeof text);
        assert_memory_equal(back.data, text, sizeof text);
    }
    close(plain);
    return failed ? err.code : ERROR_NONE;
}

static void
the_passphrase_opens_it_and_no_other(void **state)
{
    int sealed = seal(&(struct sealed_for){ .passphrase = "correct horse" });

    (void)state;
    assert_int_equal(open_with(&(struct sealed_for){ .passphrase = "correct horse" }, sealed), ERROR_NONE);
    assert_int_equal(open_with(&(struct sealed_for){ .passphrase = "correct hors" }, sealed), ERROR_DENIED);
    assert_int_equal(open_with(&(struct sealed_for){ .pem = private_key }, sealed), ERROR_DENIED);
    close(sealed);
}

static void
the_recipients_key_opens_it_and_no_other(void **state)
{
    int sealed = seal(&(struct sealed_for){ .pem = certificate });

    (void)state;
    assert_int_equal(open_with(&(struct sealed_for){ .pem = private_key }, sealed), ERROR_NONE);
    assert_int_equal(open_with(&(struct sealed_for){ .pem = another_key }, sealed), ERROR_DENIED);
    assert_int_equal(open_with(&(struct sealed_for){ .passphrase = "correct horse" }, sealed), ERROR_DENIED);
    close(sealed);
}

static void
no_changed_byte_of_it_is_taken(void **state)
{
    CLEANUP(buf_clear) struct buf bytes = BUF(8192);
    const struct sealed_for who = { .pem = private_key };
    struct error err = { 0 };
    int sealed = seal(&(struct sealed_for){ .pem = certificate });

    (void)state;
    assert_int_equal(fd_read_to_end(sealed, &bytes, &err), 0);
    close(sealed);
    for (size_t i = 0; i < bytes.len; i++) {
        CLEANUP(buf_clear) struct buf back = BUF(8192);
        int changed, plain = file_of("", 0);

        bytes.data[i] ^= 0x20;
        changed = file_of(bytes.data, bytes.len);
        /* Names of algorithms' parameters and the like may be read in two ways; the text never is another. */
        if (sealed_read(&who, changed, plain, &err) == 0) {
            assert_int_equal(lseek(plain, 0, SEEK_SET), 0);
            assert_int_equal(fd_read_to_end(plain, &back, &err), 0);
            assert_int_equal(back.len, sizeof text);
            assert_memory_equal(back.data, text, sizeof text);
        }
        close(changed);
        close(plain);
        bytes.data[i] ^= 0x20;
    }
    for (size_t len = 0; len < bytes.len; len += 7) {
        int cut = file_of(bytes.data, len);

        assert_int_not_equal(open_with(&who, cut), ERROR_NONE);
        close(cut);
    }
}

static void
what_is_no_certificate_or_key_is_refused(void **state)
{
    int plain = file_of(text, sizeof text), sealed = file_of("", 0);
    struct error err = { 0 };

    (void)state;
    assert_int_equal(sealed_write(&(struct sealed_for){ .pem = "no certificate" }, plain, sealed, &err), -1);
    assert_int_equal(err.code, ERROR_INPUT);
    close(sealed);
    sealed = seal(&(struct sealed_for){ .pem = certificate });
    assert_int_equal(open_with(&(struct sealed_for){ .pem = certificate }, sealed), ERROR_INPUT);
    assert_int_equal(open_with(&(struct sealed_for){ .pem = private_key }, plain), ERROR_INPUT);
    close(plain);
    close(sealed);
}

static int
make_keys(void **state)
{
    (void)state;
    make_key(private_key, certificate);
    make_key(another_key, NULL);
    return 0;
}

int
main(void)
{
    const struct CMUnitTest t[] = {
        cmocka_unit_test(the_passphrase_opens_it_and_no_other),
        cmocka_unit_test(the_recipients_key_opens_it_and_no_other),
        cmocka_unit_test(no_changed_byte_of_it_is_taken),
        cmocka_unit_test(what_is_no_certificate_or_key_is_refused),
    };

    return cmocka_run_group_tests_name("sealed", t, make_keys, NULL);
}
