#include "config.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

#include "lib/common/fdio.h"
#include "plugin/domain/domain.h"

static int
parse_file(const char *name, struct domain *ret, struct error *err)
{
    CLEANUP(buf_clear) struct buf xml = BUF(DOMAIN_XML_MAX);
    const char *srcdir = getenv("srcdir");
    char path[512];

    snprintf(path, sizeof path, "%s/tests/data/domain/%s", srcdir ? srcdir : ".", name);
    assert_int_equal(file_read(path, &xml, err), 0);
    return domain_parse((const char *)xml.data, xml.len, ret, err);
}

static int
parse_text(const char *xml, struct domain *ret, struct error *err)
{
    return domain_parse(xml, strlen(xml), ret, err);
}

static void
an_enabled_domain_is_read(void **state)
{
    char uuid[VM_UUID_TEXT];
    struct domain d;
    struct error err;

    (void)state;
    assert_int_equal(parse_file("managed.xml", &d, &err), 0);
    vm_uuid_print(&d.uuid, uuid);
    assert_string_equal(uuid, "6ba7b810-9dad-11d1-80b4-00c04fd430c8");
    assert_string_equal(d.name, "web1");
    assert_string_equal(d.genid, "");
    assert_true(d.marker && d.channel && d.tpm_persistent);
    assert_string_equal(d.channel_path, "");
    assert_int_equal(d.tpm, DOMAIN_TPM_EMULATOR);
    assert_int_equal(d.disk, DOMAIN_DISK_FILE);
    assert_string_equal(d.disk_format, "qcow2");
    assert_string_equal(d.disk_path, "/var/lib/libvirt/images/web1.qcow2");
    assert_false(d.disk_readonly || d.disk_transient || d.disk_backing_given || d.disk_encrypted);
}

static void
a_live_domain_shows_its_channel(void **state)
{
    struct domain d;
    struct error err;

    (void)state;
    assert_int_equal(parse_file("live.xml", &d, &err), 0);
    assert_string_equal(d.name, "größe-1");
    assert_true(d.marker && d.channel && d.channel_connected);
    assert_string_equal(d.channel_path, "/var/lib/libvirt/qemu/channel/target/domain-7-groesse-1/org.virtid.0");
    assert_int_equal(d.tpm, DOMAIN_TPM_ENCRYPTED);
    assert_int_equal(d.disk, DOMAIN_DISK_BLOCK);
    assert_string_equal(d.disk_path, "/dev/vg0/web1");
    assert_true(d.disk_transient && d.disk_backing_given);
    assert_string_equal(d.genid, "d6297186-aa7f-4d5d-9db7-736987ec11f7");
}

static void
another_namespace_is_no_marker(void **state)
{
    struct domain d;
    struct error err;

    (void)state;
    assert_int_equal(parse_file("unmanaged.xml", &d, &err), 0);
    assert_false(d.marker || d.channel);
    assert_int_equal(d.tpm, DOMAIN_TPM_OTHER);
    assert_int_equal(d.disk, DOMAIN_DISK_NETWORK);
}

static void
entities_are_refused(void **state)
{
    struct domain d;
    struct error err;

    (void)state;
    assert_int_equal(parse_file("entities.xml", &d, &err), -1);
    assert_int_equal(err.code, ERROR_INPUT);
}

static void
what_is_no_domain_is_refused(void **state)
{
    static const char *const table[] = {
        "<domain", "<network><name>a</name></network>", "<domain><name>a</name></domain>",
        "<domain><uuid>6ba7b810-9dad-11d1-80b4-00c04fd430c8</uuid></domain>",
        "<domain><name>a/b</name><uuid>6ba7b810-9dad-11d1-80b4-00c04fd430c8</uuid></domain>",
        "<domain><name>a</name><uuid>6BA7B810-9dad-11d1-80b4-00c04fd430c8</uuid></domain>",
        "<domain><name>a</name><uuid>6ba7b810-9dad-11d1-80b4-00c04fd430c8</uuid></domain>x",
    };

    (void)state;
    for (size_t i = 0; i < sizeof table / sizeof table[0]; i++) {
        struct domain d;
        struct error err;

        assert_int_equal(parse_text(table[i], &d, &err), -1);
    }
}

static void
deep_xml_is_refused(void **state)
{
    CLEANUP(buf_clear) struct buf xml = BUF(65536);
    struct domain d;
    struct error err;

    (void)state;
    buf_add_text(&xml, "<domain><name>a</name><uuid>6ba7b810-9dad-11d1-80b4-00c04fd430c8</uuid>");
    for (int i = 0; i < 100; i++)
        buf_add_text(&xml, "<a>");
    for (int i = 0; i < 100; i++)
        buf_add_text(&xml, "</a>");
    buf_add_text(&xml, "</domain>");
    assert_int_equal(parse_text(buf_text(&xml), &d, &err), -1);
    assert_non_null(strstr(err.text, "nested"));
}

static void
a_path_that_is_too_long_is_not_cut(void **state)
{
    CLEANUP(buf_clear) struct buf xml = BUF(65536);
    struct domain d;
    struct error err;

    (void)state;
    buf_add_text(&xml, "<domain><name>a</name><uuid>6ba7b810-9dad-11d1-80b4-00c04fd430c8</uuid><devices>"
                       "<disk type='file'><driver type='raw'/><source file='");
    for (int i = 0; i < 500; i++)
        buf_add_text(&xml, "/123456789");
    buf_add_text(&xml, "'/></disk></devices></domain>");
    assert_int_equal(parse_text(buf_text(&xml), &d, &err), 0);
    assert_int_equal(d.disk, DOMAIN_DISK_OTHER);
    assert_string_equal(d.disk_path, "");
}

int
main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(an_enabled_domain_is_read),
        cmocka_unit_test(a_live_domain_shows_its_channel),
        cmocka_unit_test(another_namespace_is_no_marker),
        cmocka_unit_test(entities_are_refused),
        cmocka_unit_test(what_is_no_domain_is_refused),
        cmocka_unit_test(deep_xml_is_refused),
        cmocka_unit_test(a_path_that_is_too_long_is_not_cut),
    };

    return cmocka_run_group_tests_name("domain", tests, NULL, NULL);
}
