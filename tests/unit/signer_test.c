/*
 * The signer: its folder, its certificates, what it refuses; and the real program
 * behind its filter.
 */
#include "config.h"

#include "tests/unit/mint_fixture.h"

#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <signal.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/prctl.h>
#include <sys/ptrace.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/wait.h>
#include <unistd.h>

#include <cmocka.h>

#include "lib/common/clock.h"
#include "lib/common/encode.h"
#include "lib/common/fdio.h"
#include "lib/common/json.h"
#include "lib/common/process.h"
#include "lib/crypto/x509.h"
#include "lib/wire/bundle.h"
#include "lib/wire/fields.h"
#include "lib/wire/token.h"
#include "lib/wire/transcript.h"
#include "tokenservice/mint/signer.h"
#include "tokenservice/mint/signer_sandbox.h"

static void
init_makes_files_for_its_owner_alone(void **state)
{
    DIR *list = opendir(the_mint.key_dir);
    const struct dirent *entry;
    struct stat st;
    unsigned n = 0;

    (void)state;
    assert_int_equal(stat(the_mint.key_dir, &st), 0);
    assert_int_equal(st.st_mode & 07777, 0700);
    while ((entry = readdir(list)) != NULL) {
        if (entry->d_name[0] == '.')
            continue;
        assert_int_equal(fstatat(dirfd(list), entry->d_name, &st, 0), 0);
        assert_int_equal(st.st_mode & 07777, 0600);
        n++;
    }
    closedir(list);
    assert_int_equal(n, 10);
}

static void
init_overwrites_nothing(void **state)
{
    struct signer_init init = mint_fixture_domain(the_mint.key_dir);

    (void)state;
    assert_int_equal(signer_init(&init, the_mint.now, &the_mint.err), -1);
    assert_int_equal(the_mint.err.code, ERROR_DENIED);
}

static void
init_with_names_that_make_no_certificate_writes_nothing(void **state)
{
    static const char *const bad[] = {
        "a.", "-a", "a,b", "a_b", "UPPER", "1 2 3 4 5 6 7 8 9 10 11 12 13 14 15 16 17"
    };
    char dir[] = "/tmp/virtid-none-XXXXXX";
    struct signer_init init = mint_fixture_domain(dir);

    (void)state;
    assert_non_null(mkdtemp(dir));
    for (size_t i = 0; i < sizeof bad / sizeof bad[0]; i++) {
        init.names = bad[i];
        assert_int_equal(signer_init(&init, the_mint.now, &the_mint.err), -1);
    }
    init = mint_fixture_domain(dir), init.issuer = "http://id.example.test";
    assert_int_equal(signer_init(&init, the_mint.now, &the_mint.err), -1);
    init = mint_fixture_domain(dir), init.guests = "id.example.test";
    assert_int_equal(signer_init(&init, the_mint.now, &the_mint.err), -1);
    init = mint_fixture_domain(dir), init.trust_domain = "Example.test";
    assert_int_equal(signer_init(&init, the_mint.now, &the_mint.err), -1);
    assert_int_equal(rmdir(dir), 0); /* it is empty */
}

static void
keys_that_others_can_read_are_not_used(void **state)
{
    CLEANUP(signer_keys_free) struct signer_keys *again = NULL;
    char path[128];

    (void)state;
    snprintf(path, sizeof path, "%s/%s", the_mint.key_dir, SIGNER_FILE_TOKENS);
    assert_int_equal(chmod(path, 0640), 0);
    assert_int_equal(signer_keys_load(the_mint.key_dir, &again, &the_mint.err), -1);
    assert_int_equal(the_mint.err.code, ERROR_DENIED);
    assert_int_equal(chmod(path, 0600), 0);
}

static void
one_key_for_two_purposes_is_not_used(void **state)
{
    CLEANUP(signer_keys_free) struct signer_keys *again = NULL;
    CLEANUP(buf_clear)
    struct buf token = BUF(SIGNER_PEM_MAX), receipt = BUF(SIGNER_PEM_MAX);
    char receipt_path[128];

    (void)state;
    snprintf(receipt_path, sizeof receipt_path, "%s/%s", the_mint.key_dir,
             SIGNER_FILE_RECEIPT);
    assert_int_equal(key_to_pem(the_mint.keys->signs[RING_TOKEN], &token, &the_mint.err), 0);
    assert_int_equal(file_read(receipt_path, &receipt, &the_mint.err), 0);
    assert_int_equal(file_replace(receipt_path, token.data, token.len, 0600, &the_mint.err), 0);
    assert_int_equal(signer_keys_load(the_mint.key_dir, &again, &the_mint.err), -1);
    assert_int_equal(the_mint.err.code, ERROR_DENIED);
    assert_int_equal(file_replace(receipt_path, receipt.data, receipt.len, 0600, &the_mint.err), 0);
}

/* A folder without signer.conf is a broken init: nothing is loaded. */
static void
half_a_trust_domain_is_none(void **state)
{
    CLEANUP(signer_keys_free) struct signer_keys *again = NULL;
    char path[128], aside[128];

    (void)state;
    snprintf(path, sizeof path, "%s/%s", the_mint.key_dir, SIGNER_FILE_CONF);
    snprintf(aside, sizeof aside, "%s/aside", the_mint.key_dir);
    assert_int_equal(rename(path, aside), 0);
    assert_int_equal(signer_keys_load(the_mint.key_dir, &again, &the_mint.err), -1);
    assert_int_equal(the_mint.err.code, ERROR_MISSING);
    assert_int_equal(rename(aside, path), 0);
}

static void
assert_not_in(const struct buf *answer, const uint8_t *secret, size_t len)
{
    assert_null(memmem(answer->data, answer->len, secret, len));
}

static void
no_answer_holds_a_private_key(void **state)
{
    const struct key *all[] = { the_mint.keys->signs[RING_TOKEN], the_mint.keys->host_ca,
                                the_mint.keys->ek_ca, the_mint.keys->receipt };
    const struct secret *masters[] = { the_mint.keys->nonce, the_mint.keys->activate,
                                       the_mint.keys->row };
    CLEANUP(buf_clear) struct buf all_answers = BUF(8 * MINT_PACKET_MAX);
    struct mint_keys keys;
    struct identity_row row = mint_fixture_row();
    struct mint_token_request request = mint_fixture_request();
    uint8_t mac[ROW_MAC_LEN], scalar[KEY_PRIVATE_LEN], subkey[MINT_SUBKEY_LEN];
    CLEANUP(buf_clear) struct buf sealed = BUF(ROW_MAX);

    (void)state;
    assert_int_equal(mint_info_encode(&the_mint.info, &all_answers, &the_mint.err), 0);
    assert_int_equal(mint_receipt(the_mint.client, "r", 1, &all_answers, &the_mint.err), 0);
    mint_fixture_seal(&row, &sealed, mac);
    buf_add(&all_answers, mac, sizeof mac);
    assert_int_equal(mint_token(the_mint.client, sealed.data, sealed.len, mac, &request,
                                &all_answers, &the_mint.err),
                     0);
    assert_int_equal(mint_certify_host_tls(the_mint.client, "one",
                                           the_mint.info.receipt_point, &all_answers,
                                           &the_mint.err),
                     0);
    assert_int_equal(mint_subkey(the_mint.client, MINT_PURPOSE_NONCE,
                                 (uint64_t)the_mint.now / 3600, subkey, &the_mint.err),
                     0);
    buf_add(&all_answers, subkey, sizeof subkey);
    assert_int_equal(mint_keys(the_mint.client, &keys, &the_mint.err), 0);
    assert_int_equal(mint_keys_encode(&keys, &all_answers, &the_mint.err), 0);
    for (size_t k = 0; k < KEY_RINGS; k++) {
        assert_int_equal(the_mint.keys->rings.of[k].n, 2);
        for (size_t i = 0; i < the_mint.keys->rings.of[k].n; i++)
            assert_not_in(&all_answers, the_mint.keys->rings.of[k].keys[i].scalar, KEY_PRIVATE_LEN);
    }
    for (size_t i = 0; i < 4; i++) {
        key_private(all[i], scalar);
        assert_not_in(&all_answers, scalar, sizeof scalar);
    }
    for (size_t i = 0; i < 3; i++)
        assert_not_in(&all_answers, masters[i]->bytes, masters[i]->len);
}

static void
each_certificate_is_of_its_kind_and_no_other(void **state)
{
    static const enum x509_kind kinds[] = { X509_SERVER, X509_HOST_TLS, X509_HOST_PROOF,
                                            X509_ADMIN,  X509_CA_HOST,  X509_CA_EK,
                                            X509_EK };
    CLEANUP(key_free) struct key *key = NULL;
    struct x509_der cas[] = { { the_mint.info.host_ca, the_mint.info.host_ca_len } };
    struct buf certs[3] = { BUF(MINT_CERT_MAX), BUF(MINT_CERT_MAX),
                            BUF(MINT_CERT_MAX) };
    uint8_t point[KEY_POINT_LEN];
    struct x509_info said;

    (void)state;
    assert_int_equal(key_generate(&key, &the_mint.err), 0);
    key_point(key, point);
    assert_int_equal(mint_certify_server(the_mint.client, point, &certs[0], &the_mint.err), 0);
    assert_int_equal(mint_certify_host_tls(the_mint.client, "one.example", point, &certs[1], &the_mint.err), 0);
    assert_int_equal(mint_certify_host_proof(the_mint.client, "one.example", point, &certs[2], &the_mint.err), 0);
    for (size_t c = 0; c < 3; c++) {
        for (size_t k = 0; k < sizeof kinds / sizeof kinds[0]; k++) {
            int rc = x509_verify(certs[c].data, certs[c].len, kinds[k], cas, 1,
                                 the_mint.now, &said, &the_mint.err);

            assert_int_equal(rc, c == k ? 0 : -1);
            if (rc == 0 && k > 0)
                assert_string_equal(said.uri, "spiffe://example.test/host/one.example");
            if (rc == 0)
                assert_memory_equal(said.point, point, sizeof point);
        }
        buf_clear(&certs[c]);
    }
}

static void
an_ek_certificate_is_by_the_ek_ca_alone(void **state)
{
    struct x509_der host_ca = { the_mint.info.host_ca, the_mint.info.host_ca_len },
                    ek_ca = { the_mint.info.ek_ca, the_mint.info.ek_ca_len };
    struct vm_uuid uuid = mint_fixture_row().uuid;
    struct credential_ek eks[2];
    struct x509_info said;

    (void)state;
    mint_fixture_eks(&eks[0], &eks[1]);
    for (size_t i = 0; i < 2; i++) {
        CLEANUP(buf_clear) struct buf cert = BUF(MINT_CERT_MAX);

        assert_int_equal(mint_certify_ek(the_mint.client, &uuid, &eks[i], &cert, &the_mint.err), 0);
        assert_int_equal(x509_verify(cert.data, cert.len, X509_EK, &ek_ca, 1, the_mint.now, &said, &the_mint.err), 0);
        assert_int_equal(x509_verify(cert.data, cert.len, X509_EK, &host_ca, 1,
                                     the_mint.now, &said, &the_mint.err),
                         -1);
        assert_int_equal(x509_verify(cert.data, cert.len, X509_HOST_TLS, &ek_ca, 1,
                                     the_mint.now, &said, &the_mint.err),
                         -1);
    }
}

static void
no_kind_makes_an_administrator_or_a_ca(void **state)
{
    (void)state;
    for (unsigned kind = 0; kind < 256; kind++) {
        CLEANUP(buf_clear) struct buf request = BUF(MINT_PACKET_MAX);

        if (kind >= MINT_KIND_SERVER && kind <= MINT_KIND_EK)
            continue;
        fields_add_u8(&request, MINT_CERTIFY);
        fields_add_u8(&request, (uint8_t)kind);
        fields_add_text(&request, "root");
        fields_add(&request, the_mint.info.receipt_point,
                   sizeof the_mint.info.receipt_point);
        assert_int_equal(mint_fixture_ask(request.data, request.len), ERROR_DENIED);
    }
}

static void
no_name_makes_an_administrator_or_another_server(void **state)
{
    static const struct {
        uint8_t kind;
        const char *name;
    } bad[] = {
        { MINT_KIND_SERVER, "evil.example" },
        { MINT_KIND_HOST_TLS, "" },
        { MINT_KIND_HOST_TLS, "../admin/root" },
        { MINT_KIND_HOST_TLS, "a/b" },
        { MINT_KIND_HOST_TLS, "spiffe://example.test/admin/root" },
        { MINT_KIND_HOST_TLS, "a,b" },
        { MINT_KIND_HOST_PROOF, "UPPER" },
        { MINT_KIND_EK, "one.example" },
        { MINT_KIND_EK, "" },
    };

    (void)state;
    for (size_t i = 0; i < sizeof bad / sizeof bad[0]; i++) {
        CLEANUP(buf_clear) struct buf request = BUF(MINT_PACKET_MAX);

        fields_add_u8(&request, MINT_CERTIFY);
        fields_add_u8(&request, bad[i].kind);
        fields_add_text(&request, bad[i].name);
        fields_add(&request, the_mint.info.receipt_point,
                   sizeof the_mint.info.receipt_point);
        assert_int_not_equal(mint_fixture_ask(request.data, request.len), ERROR_NONE);
    }
}

static void
a_subject_key_off_the_curve_is_refused(void **state)
{
    CLEANUP(buf_clear) struct buf cert = BUF(MINT_CERT_MAX);
    uint8_t point[KEY_POINT_LEN];

    (void)state;
    memcpy(point, the_mint.info.receipt_point, sizeof point);
    point[40] ^= 1;
    assert_int_equal(mint_certify_host_tls(the_mint.client, "one", point, &cert, &the_mint.err), -1);
    assert_int_equal(cert.len, 0);
}

/* What a key of the signer has signed: the last 64 bytes, or of a token those behind its last dot. */
struct signed_bytes {
    const uint8_t *bytes;
    size_t len;
    uint8_t signature[64];
};

static struct signed_bytes
of_token(struct buf *into, uint8_t flags)
{
    struct mint_token_request request = mint_fixture_request();
    CLEANUP(buf_clear) struct buf sealed = BUF(ROW_MAX);
    struct identity_row row = mint_fixture_row();
    struct signed_bytes made = { .bytes = NULL };
    uint8_t mac[ROW_MAC_LEN];
    const char *dot;
    size_t len;

    request.flags |= flags;
    request.has_cnf = true;
    mint_fixture_seal(&row, &sealed, mac);
    assert_int_equal(mint_token(the_mint.client, sealed.data, sealed.len, mac, &request, into, &the_mint.err), 0);
    dot = memrchr(into->data, '.', into->len);
    made.bytes = into->data;
    made.len = (size_t)(dot - (const char *)into->data);
    assert_int_equal(b64url_decode(dot + 1, into->len - made.len - 1, made.signature, 64, &len, &the_mint.err), 0);
    return made;
}

static struct signed_bytes
of_bytes(const uint8_t *bytes, size_t len)
{
    struct signed_bytes made = { .bytes = bytes, .len = len - 64 };

    memcpy(made.signature, bytes + made.len, 64);
    return made;
}

static void
each_key_verifies_its_own_signatures_only(void **state)
{
    CLEANUP(buf_clear) struct buf token = BUF(MINT_TOKEN_MAX), bound = BUF(MINT_TOKEN_MAX),
                                  receipt = BUF(MINT_RECEIPT_MAX);
    const struct key *verifiers[] = { the_mint.keys->signs[RING_TOKEN], the_mint.keys->receipt,
                                      the_mint.keys->host_ca, the_mint.keys->signs[RING_BOUND],
                                      the_mint.keys->ek_ca };
    struct signed_bytes made[4];

    (void)state;
    assert_int_equal(mint_receipt(the_mint.client, "record", 6, &receipt, &the_mint.err), 0);
    made[0] = of_token(&token, 0);
    made[1] = of_bytes(receipt.data, receipt.len);
    made[2] = of_bytes(the_mint.info.bundle, the_mint.info.bundle_len);
    made[3] = of_token(&bound, MINT_BOUND);
    for (size_t m = 0; m < 4; m++) {
        for (size_t v = 0; v < 5; v++)
            assert_int_equal(key_verify(verifiers[v], made[m].bytes, made[m].len, made[m].signature, &the_mint.err),
                             m == v ? 0 : -1);
    }
}

static void
the_bundle_is_accepted_by_a_guest(void **state)
{
    struct bundle bundle;

    (void)state;
    assert_int_equal(bundle_accept(NULL, the_mint.info.bundle, the_mint.info.bundle_len, &bundle, &the_mint.err), 0);
    assert_int_equal(bundle.serial, 1);
    assert_string_equal(bundle.guest_listener, "id.example.test:8445");
    assert_string_equal(bundle.issuer, the_mint.info.issuer);
}

/* docs/PROTOCOL-signer.md, Example. */
static void
the_example_of_the_protocol_page_is_right(void **state)
{
    static const uint8_t request[] = "\0\1\6\0\3rec";
    static const uint8_t answer[] = "\0\1\0\0\0\0\0\0\x57\0\x10virtid-receipt-1\0\3rec";
    CLEANUP(buf_clear) struct buf said = BUF(MINT_PACKET_MAX);

    (void)state;
    signer_answer(the_mint.keys, request, sizeof request - 1, the_mint.now, &said);
    assert_int_equal(said.len, sizeof answer - 1 + KEY_SIGNATURE_LEN);
    assert_memory_equal(said.data, answer, sizeof answer - 1);
    assert_int_equal(key_verify(the_mint.keys->receipt, said.data + 9,
                                said.len - 9 - 64, said.data + said.len - 64,
                                &the_mint.err),
                     0);
}

static void
unknown_operations_and_trailing_bytes_are_refused(void **state)
{
    (void)state;
    for (unsigned op = 0; op < 256; op++) {
        uint8_t packet[4] = { 0, 1, (uint8_t)op, 0 };

        if (op != MINT_INFO && op != MINT_KEYS && op != MINT_CA_PUBLISH && op != MINT_SIGNED)
            assert_int_equal(mint_fixture_ask(packet, 3), ERROR_INPUT);
        assert_int_equal(mint_fixture_ask(packet, 4), ERROR_INPUT);
    }
    assert_int_equal(mint_fixture_ask("", 0), ERROR_INPUT);
}

/* 0: each try was refused; else the number of the one that was not. */
static int
try_to_break_out(const char *key_dir, int other_file)
{
    struct error err = { 0 };
    char *argv[] = { NULL };

    if (signer_sandbox((const int[]){ the_mint.keys->file.fd, the_mint.keys->cas_file.fd, the_mint.keys->head.fd },
                       the_mint.keys->cas_file.fd, &err) < 0)
        return 1;
    if (open(key_dir, O_RDONLY) >= 0 || errno != EPERM)
        return 2;
    if (socket(AF_INET, SOCK_STREAM, 0) >= 0 || errno != EPERM)
        return 3;
    if (execve("/bin/true", argv, argv) == 0 || errno != EPERM)
        return 4;
    if (fork() >= 0 || errno != EPERM)
        return 5;
    if (mmap(NULL, 4096, PROT_READ | PROT_WRITE | PROT_EXEC,
             MAP_PRIVATE | MAP_ANONYMOUS, -1, 0) != MAP_FAILED)
        return 6;
    if (pwrite(other_file, "x", 1, 0) >= 0 || errno != EPERM)
        return 8;
    if (kill(getppid(), 0) == 0 || ptrace(PTRACE_TRACEME, 0, NULL, NULL) == 0)
        return 7;
    return 0;
}

static void
behind_the_filter_nothing_can_be_opened_or_started(void **state)
{
    int status;
    pid_t pid = fork();

    (void)state;
    if (pid == 0)
        _exit(prctl(PR_SET_NO_NEW_PRIVS, 1, 0, 0, 0) < 0
                  ? 9
                  : try_to_break_out(the_mint.key_dir, open("/dev/null", O_WRONLY | O_CLOEXEC)));
    assert_true(pid > 0 && waitpid(pid, &status, 0) == pid && WIFEXITED(status));
    assert_int_equal(WEXITSTATUS(status), 0);
}

/* The real program, beside this test in the build folder. */
static int
start_program(pid_t *ret_pid, int *ret_fd)
{
    char program[4096], *end;
    ssize_t n = readlink("/proc/self/exe", program, sizeof program - 32);
    const char *argv[] = { program, "--fd", "3", "--key-dir", the_mint.key_dir, NULL };
    struct process_spawn spawn = PROCESS_SPAWN(argv);
    int pair[2];

    assert_true(n > 0);
    program[n] = '\0';
    end = strstr(program, "/tests/unit/");
    assert_non_null(end);
    strcpy(end, "/virtid-signer");
    assert_int_equal(socketpair(AF_UNIX, SOCK_SEQPACKET | SOCK_CLOEXEC, 0, pair), 0);
    spawn.fds = &pair[1];
    spawn.n_fds = 1;
    spawn.stderr_fd = STDERR_FILENO;
    if (process_start(&spawn, ret_pid, &the_mint.err) < 0)
        fail_msg("%s", the_mint.err.text);
    close(pair[1]);
    *ret_fd = pair[0];
    return 0;
}

static bool
is_filtered(pid_t pid)
{
    char path[64], line[256];
    bool yes = false;
    FILE *f;

    snprintf(path, sizeof path, "/proc/%d/status", (int)pid);
    f = fopen(path, "re");
    while (f && fgets(line, sizeof line, f))
        yes = yes || strcmp(line, "Seccomp:\t2\n") == 0;
    if (f)
        fclose(f);
    return yes;
}

static void
the_program_does_all_of_it_behind_its_filter(void **state)
{
    CLEANUP(buf_clear)
    struct buf sealed = BUF(ROW_MAX), token = BUF(MINT_TOKEN_MAX),
               cert = BUF(4 * MINT_CERT_MAX);
    CLEANUP(mint_free) struct mint *real = NULL;
    CLEANUP(signer_keys_free) struct signer_keys *again = NULL;
    struct mint_token_request request = mint_fixture_request();
    struct mint_keys keys;
    struct identity_row row = mint_fixture_row();
    uint8_t mac[ROW_MAC_LEN], subkey[MINT_SUBKEY_LEN];
    struct credential_ek rsa, p384;
    struct mint_info seen;
    pid_t pid;
    int fd;

    (void)state;
    start_program(&pid, &fd);
    assert_int_equal(mint_new(fd, &real, &the_mint.err), 0);
    if (mint_ask_info(real, &seen, &the_mint.err) < 0)
        fail_msg("%s", the_mint.err.text);
    assert_string_equal(seen.kid, the_mint.info.kid);
    assert_true(is_filtered(pid));
    mint_fixture_eks(&rsa, &p384);
    assert_int_equal(mint_row_seal(real, &row, &sealed, mac, &the_mint.err), 0);
    assert_int_equal(mint_token(real, sealed.data, sealed.len, mac, &request, &token, &the_mint.err), 0);
    assert_int_equal(mint_certify_server(real, the_mint.info.receipt_point, &cert, &the_mint.err), 0);
    assert_int_equal(mint_certify_ek(real, &row.uuid, &rsa, &cert, &the_mint.err), 0);
    assert_int_equal(mint_certify_ek(real, &row.uuid, &p384, &cert, &the_mint.err), 0);
    assert_int_equal(mint_subkey(real, MINT_PURPOSE_ACTIVATE,
                                 (uint64_t)the_mint.now / 3600, subkey, &the_mint.err),
                     0);
    /* Its keys too: this one is written to its file, and another is made. */
    assert_int_equal(mint_keys_revoke(real, seen.kid, &keys, &the_mint.err), 0);
    assert_string_not_equal(keys.kid, seen.kid);
    mint_free(STEAL(real));
    assert_int_equal(process_wait(pid, clock_monotonic_ms() + 30000, &the_mint.err), 0);
    assert_int_equal(signer_keys_load(the_mint.key_dir, &again, &the_mint.err), 0);
    assert_string_equal(again->info.kid, keys.kid);
}

static void
the_program_outlives_packets_that_are_too_long(void **state)
{
    static uint8_t packet[MINT_PACKET_MAX + 1];
    uint8_t answer[MINT_PACKET_MAX];
    CLEANUP(mint_free) struct mint *real = NULL;
    struct mint_info seen;
    pid_t pid;
    int fd;

    (void)state;
    start_program(&pid, &fd);
    assert_int_equal(send(fd, packet, sizeof packet, 0), sizeof packet);
    assert_true(recv(fd, answer, sizeof answer, 0) > 3);
    assert_int_equal(answer[2], ERROR_INPUT);
    assert_int_equal(mint_new(fd, &real, &the_mint.err), 0);
    assert_int_equal(mint_ask_info(real, &seen, &the_mint.err), 0);
    mint_free(STEAL(real));
    assert_int_equal(process_wait(pid, clock_monotonic_ms() + 30000, &the_mint.err), 0);
}

int
main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(init_makes_files_for_its_owner_alone),
        cmocka_unit_test(init_overwrites_nothing),
        cmocka_unit_test(init_with_names_that_make_no_certificate_writes_nothing),
        cmocka_unit_test(keys_that_others_can_read_are_not_used),
        cmocka_unit_test(one_key_for_two_purposes_is_not_used),
        cmocka_unit_test(half_a_trust_domain_is_none),
        cmocka_unit_test(no_answer_holds_a_private_key),
        cmocka_unit_test(each_certificate_is_of_its_kind_and_no_other),
        cmocka_unit_test(an_ek_certificate_is_by_the_ek_ca_alone),
        cmocka_unit_test(no_kind_makes_an_administrator_or_a_ca),
        cmocka_unit_test(no_name_makes_an_administrator_or_another_server),
        cmocka_unit_test(a_subject_key_off_the_curve_is_refused),
        cmocka_unit_test(each_key_verifies_its_own_signatures_only),
        cmocka_unit_test(the_bundle_is_accepted_by_a_guest),
        cmocka_unit_test(the_example_of_the_protocol_page_is_right),
        cmocka_unit_test(unknown_operations_and_trailing_bytes_are_refused),
        cmocka_unit_test(behind_the_filter_nothing_can_be_opened_or_started),
        cmocka_unit_test(the_program_does_all_of_it_behind_its_filter),
        cmocka_unit_test(the_program_outlives_packets_that_are_too_long),
    };

    return cmocka_run_group_tests_name("signer", tests, mint_fixture_start,
                                       mint_fixture_stop);
}
