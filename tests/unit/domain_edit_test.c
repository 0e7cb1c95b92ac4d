#include "config.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>
#include <string.h>

#include "cli/domain_edit.h"

static const char plain[] =
    "<domain type='kvm'>\n  <name>web1</name>\n"
    "  <metadata><my:vm xmlns:my='http://example.org/my'>x</my:vm></metadata>\n"
    "  <devices>\n    <graphics type='vnc' passwd='s3cret'/>\n  </devices>\n"
    "  <!-- kept -->\n</domain>\n";

static struct error err;

static void
enable_adds_what_is_missing_and_keeps_the_rest(void **state)
{
    CLEANUP(buf_clear) struct buf out = BUF(65536);
    struct domain_change change;
    const char *text;

    (void)state;
    assert_int_equal(domain_edit_enable(plain, &out, &change, &err), 0);
    assert_true(change.marker && change.tpm && change.channel && !change.foreign_tpm);
    text = buf_text(&out);
    assert_non_null(strstr(text, "urn:virtid:domain:1"));
    assert_non_null(strstr(text, "org.virtid.0"));
    assert_non_null(strstr(text, "persistent_state=\"yes\""));
    assert_non_null(strstr(text, "passwd=\"s3cret\""));
    assert_non_null(strstr(text, "<my:vm"));
    assert_non_null(strstr(text, "<!-- kept -->"));
}

static void
enable_twice_changes_nothing(void **state)
{
    CLEANUP(buf_clear) struct buf once = BUF(65536);
    CLEANUP(buf_clear) struct buf twice = BUF(65536);
    struct domain_change change;

    (void)state;
    assert_int_equal(domain_edit_enable(plain, &once, &change, &err), 0);
    assert_int_equal(domain_edit_enable(buf_text(&once), &twice, &change, &err), 0);
    assert_false(change.marker || change.tpm || change.channel);
    assert_string_equal(buf_text(&once), buf_text(&twice));
}

static void
disable_takes_marker_and_channel_but_leaves_the_tpm(void **state)
{
    CLEANUP(buf_clear) struct buf on = BUF(65536);
    CLEANUP(buf_clear) struct buf off = BUF(65536);
    struct domain_change change;

    (void)state;
    assert_int_equal(domain_edit_enable(plain, &on, &change, &err), 0);
    assert_int_equal(domain_edit_disable(buf_text(&on), &off, &change, &err), 0);
    assert_true(change.marker && change.channel && !change.tpm);
    assert_null(strstr(buf_text(&off), "virtid"));
    assert_non_null(strstr(buf_text(&off), "<tpm "));
}

static void
a_tpm_that_is_no_emulator_is_left_and_told(void **state)
{
    CLEANUP(buf_clear) struct buf out = BUF(65536);
    struct domain_change change;

    (void)state;
    assert_int_equal(
        domain_edit_enable("<domain><devices><tpm model='tpm-tis'><backend type='passthrough'>"
                           "<device path='/dev/tpm0'/></backend></tpm></devices></domain>",
                           &out, &change, &err),
        0);
    assert_true(change.foreign_tpm && !change.tpm);
}

static void
what_is_no_domain_is_refused(void **state)
{
    static const char *const bad[] = { "", "<domain>", "<network><devices/></network>",
                                       "<domain/>", "text" };
    struct domain_change change;

    (void)state;
    for (size_t i = 0; i < sizeof bad / sizeof bad[0]; i++) {
        CLEANUP(buf_clear) struct buf out = BUF(65536);

        assert_int_equal(domain_edit_enable(bad[i], &out, &change, &err), -1);
    }
}

int
main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(enable_adds_what_is_missing_and_keeps_the_rest),
        cmocka_unit_test(enable_twice_changes_nothing),
        cmocka_unit_test(disable_takes_marker_and_channel_but_leaves_the_tpm),
        cmocka_unit_test(a_tpm_that_is_no_emulator_is_left_and_told),
        cmocka_unit_test(what_is_no_domain_is_refused),
    };

    return cmocka_run_group_tests_name("domain_edit", tests, NULL, NULL);
}
