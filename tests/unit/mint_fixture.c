#include "config.h"

#include "tests/unit/mint_fixture.h"

#include <dirent.h>
#include <pthread.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <unistd.h>

#include <cmocka.h>

#include <openssl/core_names.h>
#include <openssl/ec.h>
#include <openssl/evp.h>
#include <openssl/rsa.h>

#include "lib/common/clock.h"
#include "lib/common/fdio.h"
#include "lib/wire/transcript.h"
#include "tokenservice/mint/signer.h"
#include "tokenservice/mint/signer_turn.h"

#define AUDIENCE "https://db.example"

struct mint_fixture the_mint;

static int signer_end;
static pthread_t signer_thread;

static void *
serve(void *arg)
{
    uint8_t packet[MINT_PACKET_MAX];

    (void)arg;
    for (;;) {
        CLEANUP(buf_clear) struct buf answer = BUF(MINT_PACKET_MAX);
        struct error end = { 0 };
        size_t len, n;

        if (fd_receive(signer_end, packet, sizeof packet, &len, NULL, 0, &n, &end) < 0)
            return NULL;
        memcpy(the_mint.asked, packet, len);
        the_mint.asked_len = len;
        signer_tick(the_mint.keys, clock_realtime_ms() / 1000, clock_monotonic_ms() / 1000);
        signer_answer(the_mint.keys, packet, len, clock_realtime_ms() / 1000, &answer);
        if (fd_send(signer_end, answer.data, answer.len, NULL, 0, &end) < 0)
            return NULL;
    }
}

struct signer_init
mint_fixture_domain(const char *dir)
{
    return (struct signer_init){ .key_dir = dir,
                                 .trust_domain = "example.test",
                                 .issuer = "https://id.example.test:8443",
                                 .names = "localhost 127.0.0.1",
                                 .guests = "id.example.test:8445",
                                 .test = true };
}

int
mint_fixture_connect(void)
{
    int pair[2];

    if (signer_keys_load(the_mint.key_dir, &the_mint.keys, &the_mint.err) < 0 ||
        socketpair(AF_UNIX, SOCK_SEQPACKET | SOCK_CLOEXEC, 0, pair) < 0)
        return -1;
    signer_end = pair[1];
    return pthread_create(&signer_thread, NULL, serve, NULL) != 0 ||
                   mint_new(pair[0], &the_mint.client, &the_mint.err) < 0 ||
                   mint_ask_info(the_mint.client, &the_mint.info, &the_mint.err) < 0
               ? -1
               : 0;
}

void
mint_fixture_disconnect(void)
{
    mint_free(the_mint.client);
    the_mint.client = NULL;
    pthread_join(signer_thread, NULL);
    close(signer_end);
    signer_keys_free(the_mint.keys);
    the_mint.keys = NULL;
}

int
mint_fixture_start(void **state)
{
    struct signer_init init;

    (void)state;
    the_mint.now = clock_realtime_ms() / 1000;
    strcpy(the_mint.key_dir, "/tmp/virtid-mint-XXXXXX");
    init = mint_fixture_domain(the_mint.key_dir);
    return !mkdtemp(the_mint.key_dir) ||
                   signer_init(&init, the_mint.now, &the_mint.err) < 0 ||
                   mint_fixture_connect() < 0
               ? -1
               : 0;
}

static void
remove_folder(const char *path)
{
    DIR *list = opendir(path);
    const struct dirent *entry;
    char file[400];

    while (list && (entry = readdir(list)) != NULL) {
        snprintf(file, sizeof file, "%s/%s", path, entry->d_name);
        unlink(file);
    }
    if (list)
        closedir(list);
    rmdir(path);
}

int
mint_fixture_stop(void **state)
{
    (void)state;
    mint_fixture_disconnect();
    remove_folder(the_mint.key_dir);
    return 0;
}

struct identity_row
mint_fixture_row(void)
{
    struct identity_row row = {
        .uuid = { { 0x11, 0x22, 0x33, 0x44, 0x55, 0x66, 0x47, 0x88, 0x89, 1, 2, 3, 4, 5,
                    6, 7 } },
        .name = "web1",
        .gen = 3,
        .state = ROW_OK,
        .floor = FACTOR_HOST | FACTOR_SECRET,
        .labels = "{\"tier\":\"db\"}",
        .host = "one.example",
        .epoch = 1700000000001,
        .has_ak = true,
        .has_ek = true,
        .has_cur = true,
        .ek_origin = ROW_EK_HOST,
    };

    return row;
}

void
mint_fixture_seal(const struct identity_row *row, struct buf *into,
                  uint8_t mac[static ROW_MAC_LEN])
{
    assert_int_equal(mint_row_seal(the_mint.client, row, into, mac, &the_mint.err), 0);
}

struct mint_token_request
mint_fixture_request(void)
{
    return (struct mint_token_request){ .audience = AUDIENCE,
                                        .factors =
                                            FACTOR_HOST | FACTOR_SECRET | FACTOR_VTPM,
                                        .now = clock_realtime_ms() / 1000 };
}

/* The answer to raw bytes: status and text. */
enum error_code
mint_fixture_ask(const void *bytes, size_t len)
{
    CLEANUP(buf_clear) struct buf answer = BUF(MINT_PACKET_MAX);
    const uint8_t *rest;
    size_t rest_len;
    bool broken;

    signer_answer(the_mint.keys, bytes, len, the_mint.now, &answer);
    assert_true(buf_ok(&answer));
    memset(&the_mint.err, 0, sizeof the_mint.err);
    if (mint_answer_decode(answer.data, answer.len, &rest, &rest_len, &broken,
                           &the_mint.err) == 0)
        return ERROR_NONE;
    assert_false(broken);
    return the_mint.err.code;
}

/* An RSA modulus and a point on P-384, as a TPM would have them. */
void
mint_fixture_eks(struct credential_ek *rsa, struct credential_ek *p384)
{
    EVP_PKEY *key = EVP_RSA_gen(2048);
    BIGNUM *n = NULL;
    uint8_t point[97];
    size_t len;

    assert_true(key && EVP_PKEY_get_bn_param(key, "n", &n) == 1);
    *rsa = (struct credential_ek){ .kind = CREDENTIAL_EK_RSA2048 };
    assert_int_equal(BN_bn2binpad(n, rsa->modulus, 256), 256);
    BN_free(n);
    EVP_PKEY_free(key);
    key = EVP_EC_gen("P-384");
    assert_true(
        key &&
        EVP_PKEY_get_octet_string_param(key, "pub", point, sizeof point, &len) == 1 &&
        len == sizeof point);
    *p384 = (struct credential_ek){ .kind = CREDENTIAL_EK_P384 };
    memcpy(p384->x, point + 1, 48);
    memcpy(p384->y, point + 49, 48);
    EVP_PKEY_free(key);
}
