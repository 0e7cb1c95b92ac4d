#include "config.h"

#include "lib/crypto/sealed.h"

#include <string.h>

#include <openssl/cms.h>
#include <openssl/pem.h>

#include "lib/crypto/crypto_error.h"

DEFINE_CLEANUP(CMS_ContentInfo *, CMS_ContentInfo_free);

enum { ROUNDS = 1000000, FLAGS = CMS_BINARY | CMS_STREAM };

/* No file asks on a terminal for the passphrase of a key. */
static int
no_passphrase(char *into, int size, int writing, void *context)
{
    (void)into;
    (void)size;
    (void)writing;
    (void)context;
    return -1;
}

static int
add_recipient(CMS_ContentInfo *cms, const struct sealed_for *who, struct error *err)
{
    CLEANUP(BIO_free_all) BIO *pem = NULL;
    CLEANUP(X509_free) X509 *certificate = NULL;

    if (who->passphrase) {
        unsigned char *copy = (unsigned char *)OPENSSL_strdup(who->passphrase); /* the message's from here on */

        if (copy && CMS_add0_recipient_password(cms, ROUNDS, NID_undef, NID_undef, copy,
                                                (ossl_ssize_t)strlen(who->passphrase), EVP_aes_256_cbc()))
            return 0;
        OPENSSL_free(copy);
        return crypto_error(err, ERROR_SYSTEM, "a key from the passphrase");
    }
    pem = BIO_new_mem_buf(who->pem, -1);
    certificate = pem ? PEM_read_bio_X509(pem, NULL, no_passphrase, NULL) : NULL;
    if (!certificate)
        return crypto_error(err, ERROR_INPUT, "the recipient's certificate");
    if (!CMS_add1_recipient_cert(cms, certificate, 0))
        return crypto_error(err, ERROR_INPUT, "the recipient's key");
    return 0;
}

int
sealed_write(const struct sealed_for *who, int from, int to, struct error *err)
{
    CLEANUP(BIO_free_all) BIO *in = BIO_new_fd(from, BIO_NOCLOSE), *out = BIO_new_fd(to, BIO_NOCLOSE);
    CLEANUP(CMS_ContentInfo_free) CMS_ContentInfo *cms = NULL;

    cms = CMS_encrypt(NULL, NULL, EVP_aes_256_gcm(), FLAGS | CMS_PARTIAL);
    if (!in || !out || !cms)
        return crypto_error(err, ERROR_SYSTEM, "sealing");
    if (add_recipient(cms, who, err) < 0)
        return -1;
    if (!i2d_CMS_bio_stream(out, cms, in, FLAGS))
        return crypto_error(err, ERROR_SYSTEM, "sealing");
    return 0;
}

static int
take_key(CMS_ContentInfo *cms, const struct sealed_for *who, struct error *err)
{
    CLEANUP(BIO_free_all) BIO *pem = NULL;
    CLEANUP(EVP_PKEY_free) EVP_PKEY *key = NULL;

    if (who->passphrase) {
        if (!CMS_decrypt_set1_password(cms, (unsigned char *)(uintptr_t)who->passphrase,
                                       (ossl_ssize_t)strlen(who->passphrase)))
            return crypto_error(err, ERROR_DENIED, "it does not open with this passphrase");
        return 0;
    }
    pem = BIO_new_mem_buf(who->pem, -1);
    key = pem ? PEM_read_bio_PrivateKey(pem, NULL, no_passphrase, NULL) : NULL;
    if (!key)
        return crypto_error(err, ERROR_INPUT, "the private key");
    if (!CMS_decrypt_set1_pkey(cms, key, NULL))
        return crypto_error(err, ERROR_DENIED, "it does not open with this key");
    return 0;
}

int
sealed_read(const struct sealed_for *who, int from, int to, struct error *err)
{
    CLEANUP(BIO_free_all) BIO *in = BIO_new_fd(from, BIO_NOCLOSE), *out = BIO_new_fd(to, BIO_NOCLOSE);
    CLEANUP(CMS_ContentInfo_free) CMS_ContentInfo *cms = NULL;

    if (!in || !out)
        return crypto_error(err, ERROR_SYSTEM, "opening");
    cms = d2i_CMS_bio(in, NULL);
    if (!cms || OBJ_obj2nid(CMS_get0_type(cms)) != NID_id_smime_ct_authEnvelopedData)
        return crypto_error(err, ERROR_INPUT, "it is no sealed file, or only a part of one");
    if (take_key(cms, who, err) < 0)
        return -1;
    if (!CMS_decrypt(cms, NULL, NULL, NULL, out, CMS_BINARY))
        return crypto_error(err, ERROR_DENIED, "it was changed, or is not for this passphrase or key");
    return 0;
}
