/*
 * The CAs of a trust domain turn: in order, through restarts, from a folder of an earlier version; whoever holds a
 * bundle of whatever age comes to the newest, one step after the other, and nobody else does.
 */
#include "config.h"

#include "tests/unit/mint_fixture.h"

#include <fcntl.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <time.h>
#include <unistd.h>

#include <cmocka.h>

#include "lib/common/fdio.h"
#include "lib/crypto/x509.h"
#include "tokenservice/mint/signer.h"
#include "tokenservice/mint/signer_ca.h"
#include "tokenservice/mint/signer_keys.h"
#include "tokenservice/mint/signer_turn.h"

enum { TURNS = 9, HELD_ROOM = 2 * TURNS + 2, T0 = 1700000000 };

static struct signer_keys *keys;

static void
assert_done(int rc)
{
    if (rc < 0)
        fail_msg("%s", the_mint.err.text);
}

static void
load(void)
{
    signer_keys_free(keys);
    keys = NULL;
    assert_done(signer_keys_load(the_mint.key_dir, &keys, &the_mint.err));
}

static const struct ca_pair *
pair(enum mint_key_state state)
{
    const struct ca_pair *found = ca_set_find(&keys->cas, state);

    assert_non_null(found);
    return found;
}

static struct bundle
newest(void)
{
    struct bundle bundle;

    assert_done(bundle_decode(keys->cas.bundle, keys->cas.bundle_len, &bundle, &the_mint.err));
    return bundle;
}

/* A folder of its own for each test. */
static int
fresh_folder(void **state)
{
    struct signer_init init = mint_fixture_domain(the_mint.key_dir);

    (void)state;
    strcpy(the_mint.key_dir, "/tmp/virtid-mint-XXXXXX");
    if (!mkdtemp(the_mint.key_dir) || signer_init(&init, T0, &the_mint.err) < 0)
        return -1;
    load();
    return 0;
}

static int
drop_folder(void **state)
{
    char command[128];

    (void)state;
    signer_keys_free(keys);
    keys = NULL;
    snprintf(command, sizeof command, "rm -rf '%s'", the_mint.key_dir);
    return system(command) == 0 ? 0 : -1;
}

static void
publish(int64_t now)
{
    assert_done(signer_ca_publish(keys, now, &the_mint.err));
}

static void
turn(int64_t now)
{
    char kid[MINT_KID_MAX + 1];

    strcpy(kid, pair(MINT_KEY_NEXT)->kid);
    assert_done(signer_ca_turn(keys, kid, now, &the_mint.err));
}

static void
a_ca_is_published_issues_and_is_dropped_in_order(void **state)
{
    struct ca_pair first = *pair(MINT_KEY_ACTIVE), second;
    struct bundle bundle;

    (void)state;
    publish(T0 + 10);
    second = *pair(MINT_KEY_NEXT);
    assert_memory_equal(pair(MINT_KEY_ACTIVE)->host.der, first.host.der, first.host.len);
    bundle = newest();
    assert_int_equal(bundle.serial, T0 + 10);
    assert_memory_equal(bundle.ca_now, first.host.der, first.host.len);
    assert_memory_equal(bundle.ca_next, second.host.der, second.host.len);

    turn(T0 + 20);
    bundle = newest();
    assert_int_equal(bundle.serial, T0 + 20);
    assert_memory_equal(bundle.ca_now, second.host.der, second.host.len);
    assert_int_equal(bundle.ca_next_len, 0);
    assert_int_equal(keys->info.n_host_before, 1);
    assert_int_equal(keys->info.n_ek_before, 1);
    assert_memory_equal(keys->info.host_ca, second.host.der, second.host.len);
    assert_memory_equal(keys->info.ek_ca, second.ek.der, second.ek.len);

    assert_done(signer_ca_tick(keys, T0 + 20 + CA_RETIRE_SECONDS - 1, &the_mint.err));
    assert_int_equal(keys->info.n_host_before, 1);
    assert_done(signer_ca_tick(keys, T0 + 20 + CA_RETIRE_SECONDS, &the_mint.err));
    assert_int_equal(keys->info.n_host_before, 0);
    assert_int_equal(keys->info.n_ek_before, 1); /* vTPMs have their certificates for ever */
    load();
    assert_int_equal(keys->info.n_host_before, 0);
    assert_int_equal(keys->info.n_ek_before, 1);
}

/* As if a request came while the time of day was wrong. */
static void
a_clock_that_is_set_drops_no_ca(void **state)
{
    static const int64_t SET = CA_RETIRE_SECONDS * 2;

    (void)state;
    signer_tick(keys, T0, 0);
    publish(T0);
    turn(T0);
    signer_tick(keys, T0 + SET, 1);
    assert_int_equal(keys->info.n_host_before, 1);
    load(); /* it is known over a restart */
    signer_tick(keys, T0 + SET + 1, 1);
    assert_int_equal(keys->info.n_host_before, 1);
    signer_tick(keys, T0 + 2, 2);
    assert_int_equal(keys->info.n_host_before, 1);
    signer_tick(keys, T0 + CA_RETIRE_SECONDS - 9, CA_RETIRE_SECONDS - 9);
    assert_int_equal(keys->info.n_host_before, 1);
    signer_tick(keys, T0 + CA_RETIRE_SECONDS + 2, CA_RETIRE_SECONDS + 2);
    assert_int_equal(keys->info.n_host_before, 0);
}

/* The longest trust domain's generations have names, each one of its own. */
static void
each_generation_has_a_name_that_fits(void **state)
{
    struct ca_names names = signer_keys_names(keys);
    char domain[NAME_TRUST_DOMAIN_MAX + 1], wanted[16];
    struct ca_set set;

    (void)state;
    memset(domain, 'a', sizeof domain - 1);
    domain[sizeof domain - 1] = '\0';
    names.trust_domain = domain;
    assert_done(ca_set_begin(&names, T0, &set, &the_mint.err));
    for (unsigned i = 2; i <= 12; i++) {
        CLEANUP(buf_clear) struct buf link = BUF(BUNDLE_MAX);
        int64_t now = T0 + (int64_t)i * CA_RETIRE_SECONDS;
        const struct ca_pair *next;

        ca_set_drop(&set, now);
        assert_done(ca_set_publish(&set, &names, now, &the_mint.err));
        next = ca_set_find(&set, MINT_KEY_NEXT);
        snprintf(wanted, sizeof wanted, "a hosts %u", i);
        assert_non_null(memmem(next->host.der, next->host.len, wanted, strlen(wanted)));
        assert_done(ca_set_turn(&set, &names, next->kid, now, &link, &the_mint.err));
    }
    explicit_bzero(&set, sizeof set);
}

static void
what_is_said_twice_is_done_once(void **state)
{
    char first[MINT_KID_MAX + 1], second[MINT_KID_MAX + 1];

    (void)state;
    strcpy(first, pair(MINT_KEY_ACTIVE)->kid);
    assert_int_equal(signer_ca_turn(keys, "nobodys", T0, &the_mint.err), -1);
    assert_int_equal(the_mint.err.code, ERROR_MISSING);
    publish(T0);
    strcpy(second, pair(MINT_KEY_NEXT)->kid);
    publish(T0);
    assert_string_equal(pair(MINT_KEY_NEXT)->kid, second);
    assert_int_equal(keys->cas.serial, T0);
    assert_done(signer_ca_turn(keys, first, T0, &the_mint.err)); /* it issues already */
    assert_int_equal(keys->cas.serial, T0);
    assert_done(signer_ca_turn(keys, second, T0, &the_mint.err));
    assert_done(signer_ca_turn(keys, second, T0, &the_mint.err));
    assert_int_equal(keys->cas.serial, T0 + 2);
    assert_int_equal(signer_ca_turn(keys, first, T0, &the_mint.err), -1); /* it comes not back */
}

/* As a guest does: from the bundle that it holds to the newest; how many it took. */
static size_t
walk(const uint8_t *held_bytes, size_t held_len)
{
    struct bundle held, next;
    size_t taken = 0;

    assert_done(bundle_decode(held_bytes, held_len, &held, &the_mint.err));
    while (held.serial != keys->cas.serial) {
        CLEANUP(buf_clear) struct buf step = BUF(BUNDLE_MAX);

        assert_done(signer_ca_bundle(keys, held.serial, &step, &the_mint.err));
        assert_done(bundle_accept(&held, step.data, step.len, &next, &the_mint.err));
        held = next;
        assert_true(++taken <= TURNS + 1);
    }
    return taken;
}

static void
whoever_holds_an_old_bundle_comes_to_the_newest(void **state)
{
    static uint8_t held[HELD_ROOM][BUNDLE_MAX];
    size_t len[HELD_ROOM], n = 0;

    (void)state;
    for (int i = 0; i <= TURNS; i++) {
        memcpy(held[n], keys->cas.bundle, keys->cas.bundle_len);
        len[n++] = keys->cas.bundle_len;
        if (i == TURNS)
            break;
        publish(T0 + i * CA_RETIRE_SECONDS);
        memcpy(held[n], keys->cas.bundle, keys->cas.bundle_len);
        len[n++] = keys->cas.bundle_len;
        turn(T0 + i * CA_RETIRE_SECONDS);
        assert_done(signer_ca_tick(keys, T0 + (i + 1) * CA_RETIRE_SECONDS, &the_mint.err));
        if (i % 3 == 0)
            load();
    }
    assert_int_equal(keys->cas.links, TURNS);
    assert_int_equal(keys->cas.n, MINT_CAS_MAX);
    for (size_t i = 0; i < n; i++)
        assert_int_equal(walk(held[i], len[i]), i / 2 == TURNS ? 0 : TURNS - i / 2 + 1); /* the links, and the newest */
    publish(T0 + TURNS * CA_RETIRE_SECONDS); /* and one that is next now is behind the last link */
    assert_int_equal(walk(held[0], len[0]), TURNS + 1);
}

static void
a_ca_that_is_trusted_still_is_not_forgotten_for_another(void **state)
{
    struct ca_pair first = *pair(MINT_KEY_ACTIVE);

    (void)state;
    for (int i = 1; i < MINT_CAS_MAX; i++) {
        publish(T0);
        turn(T0);
    }
    assert_int_equal(signer_ca_publish(keys, T0, &the_mint.err), -1);
    assert_string_equal(the_mint.err.problem, "ca-young");
    assert_int_equal(keys->info.n_host_before, MINT_CAS_MAX - 1);
    assert_memory_equal(keys->info.host_before[0].der, first.host.der, first.host.len);
    assert_done(signer_warm_up(keys, T0, &the_mint.err)); /* and the signer starts */
    assert_done(signer_ca_tick(keys, T0 + CA_RETIRE_SECONDS, &the_mint.err));
    publish(T0 + CA_RETIRE_SECONDS);
}

static void
a_folder_that_was_restored_gives_no_serial_twice(void **state)
{
    struct ca_set backup = keys->cas;
    struct bundle held, next;

    (void)state;
    publish(T0);
    held = newest();
    assert_done(ca_file_write(&keys->cas_file, NULL, &backup, &the_mint.err));
    explicit_bzero(&backup, sizeof backup);
    load();
    publish(T0 + 60);
    /* Who holds what was lost takes what is there now. */
    assert_done(bundle_accept(&held, keys->cas.bundle, keys->cas.bundle_len, &next, &the_mint.err));
}

/* The copy knew the CA that issues as the next one: it issues again, and who had heard of it goes on. */
static void
a_turn_is_done_again_in_a_folder_that_was_restored(void **state)
{
    CLEANUP(buf_clear) struct buf link = BUF(BUNDLE_MAX);
    struct ca_set backup, lost;

    (void)state;
    publish(T0);
    backup = keys->cas;
    turn(T0 + 60);
    assert_done(signer_ca_bundle(keys, backup.serial, &link, &the_mint.err));
    lost = keys->cas;
    assert_done(ca_file_write(&keys->cas_file, NULL, &backup, &the_mint.err));
    load();
    turn(T0 + 120);
    assert_int_equal(walk(lost.bundle, lost.bundle_len), 1);
    assert_int_equal(walk(link.data, link.len), 1);
    assert_int_equal(walk(backup.bundle, backup.bundle_len), 2);
    explicit_bzero(&backup, sizeof backup);
    explicit_bzero(&lost, sizeof lost);
}

static void
a_newer_bundle_alone_is_refused_by_who_missed_one(void **state)
{
    struct bundle first = newest(), got;

    (void)state;
    for (int i = 0; i < 2; i++) {
        publish(T0);
        turn(T0);
    }
    assert_int_equal(bundle_accept(&first, keys->cas.bundle, keys->cas.bundle_len, &got, &the_mint.err), -1);
    assert_string_equal(the_mint.err.problem, "bundle-refused");
}

static void
assert_a_first_bundle(void)
{
    struct bundle got;

    assert_done(bundle_accept(NULL, keys->cas.bundle, keys->cas.bundle_len, &got, &the_mint.err));
}

static void
whoever_holds_no_bundle_takes_the_newest(void **state)
{
    struct bundle published, got;

    (void)state;
    assert_a_first_bundle();
    publish(T0);
    assert_a_first_bundle();
    published = newest();
    turn(T0);
    assert_a_first_bundle();
    /* Who was told of the next CA needs no link. */
    assert_done(bundle_accept(&published, keys->cas.bundle, keys->cas.bundle_len, &got, &the_mint.err));
}

/* It turned by an earlier version, whose newest bundle was the link. */
static void
a_folder_that_has_turned_already_is_healed(void **state)
{
    CLEANUP(buf_clear) struct buf link = BUF(BUNDLE_MAX);
    struct bundle first = newest(), got;
    struct ca_set set;

    (void)state;
    publish(T0);
    turn(T0);
    assert_done(signer_ca_bundle(keys, first.serial, &link, &the_mint.err));
    set = keys->cas;
    memcpy(set.bundle, link.data, link.len);
    set.bundle_len = link.len;
    set.serial--;
    assert_done(ca_file_write(&keys->cas_file, NULL, &set, &the_mint.err));
    load();
    assert_int_equal(bundle_accept(NULL, keys->cas.bundle, keys->cas.bundle_len, &got, &the_mint.err), -1);
    for (int i = 0; i < 2; i++) { /* and not again */
        assert_done(signer_ca_tick(keys, T0 + 1, &the_mint.err));
        assert_int_equal(keys->cas.serial, set.serial + 1);
        assert_a_first_bundle();
        load();
    }
    assert_int_equal(walk(link.data, link.len), 1);
}

static bool
is_in_file(const uint8_t *bytes, size_t len)
{
    CLEANUP(buf_clear) struct buf file = BUF(1 << 20);
    char path[200];

    snprintf(path, sizeof path, "%s/" SIGNER_FILE_CAS, the_mint.key_dir);
    assert_done(file_read(path, &file, &the_mint.err));
    return memmem(file.data, file.len, bytes, len) != NULL;
}

static void
no_byte_of_a_key_that_issues_no_more_is_left(void **state)
{
    struct ca_pair first = *pair(MINT_KEY_ACTIVE);

    (void)state;
    publish(T0);
    assert_true(is_in_file(first.host_scalar, sizeof first.host_scalar));
    turn(T0);
    assert_false(is_in_file(first.host_scalar, sizeof first.host_scalar));
    assert_false(is_in_file(first.ek_scalar, sizeof first.ek_scalar));
    assert_true(is_in_file(pair(MINT_KEY_ACTIVE)->host_scalar, KEY_PRIVATE_LEN));
}

static void
a_link_that_was_cut_off_is_written_anew(void **state)
{
    static const uint8_t half[100] = { 1, 2, 3 };
    struct bundle first = newest(), got;
    CLEANUP(buf_clear) struct buf step = BUF(BUNDLE_MAX);

    (void)state;
    publish(T0);
    assert_done(fd_write_at(keys->cas_file.fd, half, sizeof half, 2 * CA_SLOT_LEN, &the_mint.err));
    load();
    assert_int_equal(keys->cas.links, 0);
    turn(T0);
    assert_done(signer_ca_bundle(keys, 1, &step, &the_mint.err));
    assert_done(bundle_accept(&first, step.data, step.len, &got, &the_mint.err));
}

static void
a_link_that_is_damaged_is_in_the_way_of_those_alone_who_need_it(void **state)
{
    static const uint8_t half[100] = { 1, 2, 3 };
    CLEANUP(buf_clear) struct buf step = BUF(BUNDLE_MAX);
    struct ca_set second;

    (void)state;
    publish(T0);
    turn(T0);
    second = keys->cas;
    publish(T0 + 10);
    turn(T0 + 10);
    assert_done(fd_write_at(keys->cas_file.fd, half, sizeof half, 2 * CA_SLOT_LEN, &the_mint.err));
    assert_int_equal(walk(second.bundle, second.bundle_len), 2);
    assert_int_equal(walk(keys->cas.bundle, keys->cas.bundle_len), 0);
    assert_done(signer_ca_bundle(keys, 1, &step, &the_mint.err)); /* and who needs it is answered */
    explicit_bzero(&second, sizeof second);
}

static void
a_file_that_was_changed_is_not_used(void **state)
{
    CLEANUP(buf_clear) struct buf bytes = BUF(CA_SET_BYTES_MAX);
    struct ca_set set;

    (void)state;
    publish(T0);
    assert_done(ca_set_encode(&keys->cas, 7, &bytes, &the_mint.err));
    assert_done(ca_set_decode(bytes.data, bytes.len, &set, &the_mint.err));
    assert_string_equal(ca_set_find(&set, MINT_KEY_NEXT)->kid, pair(MINT_KEY_NEXT)->kid);
    for (size_t len = 0; len < bytes.len; len += 7)
        assert_int_equal(ca_set_decode(bytes.data, len, &set, &the_mint.err), -1);
    set = keys->cas; /* a key of another certificate */
    memcpy(set.of[0].host_scalar, set.of[1].host_scalar, KEY_PRIVATE_LEN);
    buf_clear(&bytes);
    assert_done(ca_set_encode(&set, 7, &bytes, &the_mint.err));
    assert_int_equal(ca_set_decode(bytes.data, bytes.len, &set, &the_mint.err), -1);
}

static void
put(const char *name, const void *bytes, size_t len)
{
    char path[200];

    snprintf(path, sizeof path, "%s/%s", the_mint.key_dir, name);
    assert_done(file_replace(path, bytes, len, 0600, &the_mint.err));
}

static bool
is_there(const char *name)
{
    char path[200];

    snprintf(path, sizeof path, "%s/%s", the_mint.key_dir, name);
    return access(path, F_OK) == 0;
}

static void
the_ca_of_an_earlier_version_is_the_first(void **state)
{
    const struct ca_pair *now = pair(MINT_KEY_ACTIVE);
    CLEANUP(buf_clear) struct buf host = BUF(4096), ek = BUF(4096), ek_cert = BUF(4096);
    char path[200], kid[MINT_KID_MAX + 1];

    (void)state;
    strcpy(kid, now->kid);
    assert_done(key_to_pem(keys->host_ca, &host, &the_mint.err));
    assert_done(key_to_pem(keys->ek_ca, &ek, &the_mint.err));
    assert_done(x509_to_pem(now->ek.der, now->ek.len, &ek_cert, &the_mint.err));
    put(SIGNER_FILE_HOST_CA, host.data, host.len);
    put(SIGNER_FILE_EK_CA, ek.data, ek.len);
    put(SIGNER_FILE_EK_CA_CERT, ek_cert.data, ek_cert.len);
    put(SIGNER_FILE_BUNDLE, keys->cas.bundle, keys->cas.bundle_len);
    snprintf(path, sizeof path, "%s/" SIGNER_FILE_CAS, the_mint.key_dir);
    assert_int_equal(unlink(path), 0);

    load();
    assert_string_equal(pair(MINT_KEY_ACTIVE)->kid, kid);
    assert_false(is_there(SIGNER_FILE_HOST_CA) || is_there(SIGNER_FILE_EK_CA) || is_there(SIGNER_FILE_EK_CA_CERT) ||
                 is_there(SIGNER_FILE_BUNDLE));
    publish(T0);
    turn(T0);
    load();
    assert_int_equal(keys->cas.serial, T0 + 2);
}

/* Here by a folder that is in its place. */
static void
a_ca_file_that_can_not_be_written_stops_no_start(void **state)
{
    char path[200];

    (void)state;
    snprintf(path, sizeof path, "%s/" SIGNER_FILE_CA_CERT, the_mint.key_dir);
    assert_true(unlink(path) == 0 && mkdir(path, 0700) == 0);
    load();
    assert_non_null(pair(MINT_KEY_ACTIVE));
}

static void
tokend_asks_for_it_and_certificates_are_by_the_next(void **state)
{
    CLEANUP(buf_clear) struct buf cert = BUF(MINT_CERT_MAX), step = BUF(BUNDLE_MAX);
    uint8_t point[KEY_POINT_LEN];
    struct x509_der ca;
    struct x509_info read;
    struct mint_keys list;
    struct mint_info info;
    CLEANUP(key_free) struct key *key = NULL;
    const char *kid = NULL;

    (void)state;
    signer_keys_free(keys);
    keys = NULL;
    assert_done(mint_fixture_connect());
    assert_done(mint_ca_publish(the_mint.client, &the_mint.err));
    assert_done(mint_keys(the_mint.client, &list, &the_mint.err));
    assert_true(list.ca_change > the_mint.info.ca_change);
    for (size_t i = 0; i < list.n; i++) {
        if (list.keys[i].purpose == MINT_KEY_HOST_CA && list.keys[i].state == MINT_KEY_NEXT)
            kid = list.keys[i].kid;
    }
    assert_non_null(kid);
    assert_int_equal(mint_ca_turn(the_mint.client, "nobodys", &the_mint.err), -1);
    assert_int_equal(the_mint.err.code, ERROR_MISSING);
    assert_done(mint_ca_turn(the_mint.client, kid, &the_mint.err));
    assert_done(mint_ask_info(the_mint.client, &info, &the_mint.err));
    assert_true(info.bundle_serial >= T0);
    assert_int_equal(info.n_host_before, 1);
    assert_memory_equal(info.host_before[0].der, the_mint.info.host_ca, the_mint.info.host_ca_len);

    assert_done(key_generate(&key, &the_mint.err));
    key_point(key, point);
    assert_done(mint_certify_host_tls(the_mint.client, "host-a", point, &cert, &the_mint.err));
    ca = (struct x509_der){ info.host_ca, info.host_ca_len };
    assert_done(x509_verify(cert.data, cert.len, X509_HOST_TLS, &ca, 1, time(NULL), &read, &the_mint.err));
    ca = (struct x509_der){ the_mint.info.host_ca, the_mint.info.host_ca_len };
    assert_int_equal(x509_verify(cert.data, cert.len, X509_HOST_TLS, &ca, 1, time(NULL), &read, &the_mint.err), -1);
    assert_done(mint_bundle(the_mint.client, 1, &step, &the_mint.err));
    assert_true(step.len > 0 && memcmp(step.data, info.bundle, step.len) != 0); /* the link */
    buf_clear(&step);
    assert_done(mint_bundle(the_mint.client, info.bundle_serial - 1, &step, &the_mint.err));
    assert_int_equal(step.len, info.bundle_len);
    mint_fixture_disconnect();
}

int
main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test_setup_teardown(a_ca_is_published_issues_and_is_dropped_in_order, fresh_folder, drop_folder),
        cmocka_unit_test_setup_teardown(a_clock_that_is_set_drops_no_ca, fresh_folder, drop_folder),
        cmocka_unit_test_setup_teardown(each_generation_has_a_name_that_fits, fresh_folder, drop_folder),
        cmocka_unit_test_setup_teardown(what_is_said_twice_is_done_once, fresh_folder, drop_folder),
        cmocka_unit_test_setup_teardown(whoever_holds_an_old_bundle_comes_to_the_newest, fresh_folder, drop_folder),
        cmocka_unit_test_setup_teardown(a_ca_that_is_trusted_still_is_not_forgotten_for_another, fresh_folder, drop_folder),
        cmocka_unit_test_setup_teardown(a_folder_that_was_restored_gives_no_serial_twice, fresh_folder, drop_folder),
        cmocka_unit_test_setup_teardown(a_turn_is_done_again_in_a_folder_that_was_restored, fresh_folder, drop_folder),
        cmocka_unit_test_setup_teardown(a_newer_bundle_alone_is_refused_by_who_missed_one, fresh_folder, drop_folder),
        cmocka_unit_test_setup_teardown(whoever_holds_no_bundle_takes_the_newest, fresh_folder, drop_folder),
        cmocka_unit_test_setup_teardown(a_folder_that_has_turned_already_is_healed, fresh_folder, drop_folder),
        cmocka_unit_test_setup_teardown(no_byte_of_a_key_that_issues_no_more_is_left, fresh_folder, drop_folder),
        cmocka_unit_test_setup_teardown(a_link_that_was_cut_off_is_written_anew, fresh_folder, drop_folder),
        cmocka_unit_test_setup_teardown(a_link_that_is_damaged_is_in_the_way_of_those_alone_who_need_it, fresh_folder, drop_folder),
        cmocka_unit_test_setup_teardown(a_file_that_was_changed_is_not_used, fresh_folder, drop_folder),
        cmocka_unit_test_setup_teardown(the_ca_of_an_earlier_version_is_the_first, fresh_folder, drop_folder),
        cmocka_unit_test_setup_teardown(a_ca_file_that_can_not_be_written_stops_no_start, fresh_folder, drop_folder),
        cmocka_unit_test_setup_teardown(tokend_asks_for_it_and_certificates_are_by_the_next, fresh_folder, drop_folder),
    };

    return cmocka_run_group_tests_name("ca_turn", tests, NULL, NULL);
}
