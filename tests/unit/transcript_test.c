#include "config.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <string.h>

#include <cmocka.h>

#include "lib/crypto/hash.h"
#include "lib/wire/fields.h"
#include "lib/wire/transcript.h"
#include "tests/unit/doc_example.h"

static const char PAGE[] = "PROTOCOL-proof.md";

/* The transcript of the page's example. */
static struct transcript
example(void)
{
    struct transcript t = { .issuer = "https://id.example.test",
                            .epoch = 1760000000000,
                            .factors = FACTOR_HOST | FACTOR_VTPM | FACTOR_SECRET,
                            .has_ak = true,
                            .has_ek = true,
                            .has_cur = true,
                            .has_x = true,
                            .audience = "db" };
    struct error err = { 0 };

    assert_int_equal(vm_uuid_parse("6ba7b810-9dad-11d1-80b4-00c04fd430c8", &t.uuid, &err), 0);
    memset(t.nonce, 0xa1, sizeof t.nonce);
    memset(t.exporter, 0xa2, sizeof t.exporter);
    memset(t.ak, 0xa3, sizeof t.ak);
    memset(t.ek_digest, 0xa4, sizeof t.ek_digest);
    memset(t.cnf, 0xa5, sizeof t.cnf);
    memset(t.cur, 0xa6, sizeof t.cur);
    memset(t.new_, 0xa7, sizeof t.new_);
    memset(t.x, 0xa8, sizeof t.x);
    return t;
}

static void
the_example_of_the_page_is_what_we_make(void **state)
{
    CLEANUP(buf_clear) struct buf made = BUF(TRANSCRIPT_MAX);
    struct transcript t = example();
    uint8_t page[TRANSCRIPT_MAX], h[32], page_h[32];
    size_t len = doc_example(PAGE, "TRANSCRIPT", page, sizeof page);
    struct error err = { 0 };

    (void)state;
    assert_int_equal(transcript_encode(&t, &made, &err), 0);
    assert_int_equal(made.len, len);
    assert_memory_equal(made.data, page, len);
    assert_int_equal(transcript_hash(&t, h, &err), 0);
    assert_int_equal(doc_example(PAGE, "HASH", page_h, sizeof page_h), 32);
    assert_memory_equal(h, page_h, 32);
}

static void
the_signed_messages_of_the_page_are_what_we_make(void **state)
{
    CLEANUP(buf_clear) struct buf host = BUF(1024), secret = BUF(1024), pop = BUF(1024);
    struct transcript t = example();
    uint8_t page[1024], h[32], nonce[32], exporter[32];
    struct error err = { 0 };
    size_t len;

    (void)state;
    memset(nonce, 0xb1, sizeof nonce);
    memset(exporter, 0xb2, sizeof exporter);
    assert_int_equal(transcript_hash(&t, h, &err), 0);
    assert_int_equal(
        transcript_host_message(t.issuer, "host-a", &t.uuid, t.epoch, h, &host, &err), 0);
    len = doc_example(PAGE, "HOSTSIG", page, sizeof page);
    assert_int_equal(host.len, len);
    assert_memory_equal(host.data, page, len);
    assert_int_equal(transcript_secret_message(h, &secret, &err), 0);
    len = doc_example(PAGE, "SECRET", page, sizeof page);
    assert_int_equal(secret.len, len);
    assert_memory_equal(secret.data, page, len);
    assert_int_equal(transcript_pop_message(h, "verifier", nonce, exporter, &pop, &err), 0);
    len = doc_example(PAGE, "POP", page, sizeof page);
    assert_int_equal(pop.len, len);
    assert_memory_equal(pop.data, page, len);
}

/* Flip every byte of the struct that is a value, one after the other. */
static void
any_field_changed_gives_another_hash(void **state)
{
    static const size_t values[] = {
        offsetof(struct transcript, uuid),      offsetof(struct transcript, epoch),
        offsetof(struct transcript, nonce),     offsetof(struct transcript, exporter),
        offsetof(struct transcript, factors),   offsetof(struct transcript, ak),
        offsetof(struct transcript, ek_digest), offsetof(struct transcript, cnf),
        offsetof(struct transcript, cur),       offsetof(struct transcript, new_),
        offsetof(struct transcript, fresh),     offsetof(struct transcript, x),
        offsetof(struct transcript, has_ak),    offsetof(struct transcript, has_ek),
        offsetof(struct transcript, has_cnf),   offsetof(struct transcript, has_cur),
        offsetof(struct transcript, has_new),   offsetof(struct transcript, has_x),
    };
    struct transcript t = example();
    uint8_t h[32], other[32];
    struct error err = { 0 };

    (void)state;
    t.has_cnf = t.has_new = true;
    assert_int_equal(transcript_hash(&t, h, &err), 0);
    for (size_t i = 0; i < sizeof values / sizeof *values; i++) {
        struct transcript changed = t;

        ((uint8_t *)&changed)[values[i]] ^= 1;
        assert_int_equal(transcript_hash(&changed, other, &err), 0);
        assert_memory_not_equal(h, other, sizeof h);
    }
    t.audience = "dc";
    assert_int_equal(transcript_hash(&t, other, &err), 0);
    assert_memory_not_equal(h, other, sizeof h);
    t = example();
    t.issuer = "https://id.example.tesu";
    assert_int_equal(transcript_hash(&t, other, &err), 0);
    assert_memory_not_equal(h, other, sizeof h);
}

static void
bytes_can_not_move_from_one_field_to_the_next(void **state)
{
    struct transcript a = example(), b = example();
    uint8_t ha[32], hb[32];
    struct error err = { 0 };

    (void)state;
    a.has_cur = false;
    a.has_new = true;
    memcpy(a.new_, b.cur, sizeof a.new_);
    assert_int_equal(transcript_hash(&a, ha, &err), 0);
    assert_int_equal(transcript_hash(&b, hb, &err), 0);
    assert_memory_not_equal(ha, hb, sizeof ha);
}

static void
an_empty_or_too_long_text_is_refused(void **state)
{
    CLEANUP(buf_clear) struct buf out = BUF(4096);
    char longer[257];
    struct transcript t = example();
    uint8_t h[32] = { 0 };
    struct error err = { 0 };

    (void)state;
    memset(longer, 'a', 256);
    longer[256] = '\0';
    t.audience = "";
    assert_int_equal(transcript_encode(&t, &out, &err), -1);
    t.audience = longer;
    assert_int_equal(transcript_encode(&t, &out, &err), -1);
    t = example();
    t.issuer = NULL;
    assert_int_equal(transcript_encode(&t, &out, &err), -1);
    assert_int_equal(transcript_host_message("x", "", &t.uuid, 1, h, &out, &err), -1);
    assert_int_equal(transcript_pop_message(h, longer, h, h, &out, &err), -1);
}

static void
the_longest_transcript_fits(void **state)
{
    CLEANUP(buf_clear) struct buf out = BUF(TRANSCRIPT_MAX);
    char longest[256];
    struct transcript t = example();
    struct error err = { 0 };

    (void)state;
    memset(longest, 'a', 255);
    longest[255] = '\0';
    t.issuer = t.audience = longest;
    t.has_cnf = t.has_new = true;
    assert_int_equal(transcript_encode(&t, &out, &err), 0);
}

int
main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(the_example_of_the_page_is_what_we_make),
        cmocka_unit_test(the_signed_messages_of_the_page_are_what_we_make),
        cmocka_unit_test(any_field_changed_gives_another_hash),
        cmocka_unit_test(bytes_can_not_move_from_one_field_to_the_next),
        cmocka_unit_test(an_empty_or_too_long_text_is_refused),
        cmocka_unit_test(the_longest_transcript_fits),
    };

    return cmocka_run_group_tests_name("transcript", tests, NULL, NULL);
}
