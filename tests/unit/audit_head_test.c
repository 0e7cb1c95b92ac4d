#include "config.h"

#include "lib/wire/audit_head.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <string.h>

#include <cmocka.h>

static const struct audit_head plain = { .line = 1795872000, .id = 41, .hash = { 1, 2, 0xfe }, .ms = 1795872390000 };
static struct key *key;

static struct audit_head
signed_head(void)
{
    struct audit_head head = plain;
    struct error err = { 0 };

    assert_int_equal(audit_head_sign(&head, key, &err), 0);
    return head;
}

static void
a_head_goes_into_a_record_and_back(void **state)
{
    struct audit_head head = signed_head(), back;
    struct audit_record r = { .id = 42, .ms = 7, .who = "service" };
    struct error err = { 0 };

    (void)state;
    audit_head_put(&head, &r);
    assert_true(audit_head_is(&r));
    assert_int_equal(audit_head_read(&r, &back, &err), 0);
    assert_memory_equal(&back, &head, sizeof head);
    assert_int_equal(audit_head_check(&back, key, &err), 0);
}

static void
each_of_its_fields_is_signed(void **state)
{
    struct audit_head head = signed_head(), changed;
    struct error err = { 0 };

    (void)state;
#define REFUSED(change)                                                                    \
    changed = head;                                                                        \
    change;                                                                                \
    assert_int_equal(audit_head_check(&changed, key, &err), -1);                           \
    assert_int_equal(err.code, ERROR_DENIED)
    REFUSED(changed.line++);
    REFUSED(changed.id--);
    REFUSED(changed.hash[31] ^= 1);
    REFUSED(changed.ms += 1000);
    for (size_t i = 0; i < KEY_SIGNATURE_LEN; i++) {
        REFUSED(changed.signature[i] ^= 0x10);
    }
}

static void
another_key_signs_no_head(void **state)
{
    CLEANUP(key_free) struct key *other = NULL;
    struct audit_head head = signed_head();
    struct error err = { 0 };

    (void)state;
    assert_int_equal(key_generate(&other, &err), 0);
    assert_int_equal(audit_head_check(&head, other, &err), -1);
}

static void
what_is_not_exactly_a_head_is_refused(void **state)
{
    struct audit_head head = signed_head(), back;
    struct audit_record whole = { .id = 42 }, r;
    struct error err = { 0 };

    (void)state;
    audit_head_put(&head, &whole);
#define NO_HEAD(change)                                                                    \
    r = whole;                                                                             \
    change;                                                                                \
    assert_int_equal(audit_head_read(&r, &back, &err), -1);                                \
    assert_int_equal(err.code, ERROR_INPUT)
    NO_HEAD(strcpy(r.what, "heads"));
    NO_HEAD(strcpy(r.problem, "floor"));
    NO_HEAD(r.has_uuid = true);
    NO_HEAD(r.seen[0] = '+');
    NO_HEAD(r.seen[0] = ' ');
    NO_HEAD(strcat(r.seen, " "));
    NO_HEAD(r.seen[strlen(r.seen) - 1] = '\0');
    NO_HEAD(r.seen[strlen(r.seen) - 1] = 'F');
    NO_HEAD(r.seen[0] = '\0');
    NO_HEAD(strcat(r.expected, "A"));
    NO_HEAD(r.expected[3] = '=');
    NO_HEAD(r.expected[0] = '\0');
}

static int
make_key(void **state)
{
    struct error err;

    (void)state;
    return key_generate(&key, &err);
}

static int
drop_key(void **state)
{
    (void)state;
    key_free(key);
    return 0;
}

int
main(void)
{
    const struct CMUnitTest t[] = {
        cmocka_unit_test(a_head_goes_into_a_record_and_back),
        cmocka_unit_test(each_of_its_fields_is_signed),
        cmocka_unit_test(another_key_signs_no_head),
        cmocka_unit_test(what_is_not_exactly_a_head_is_refused),
    };

    return cmocka_run_group_tests_name("audit_head", t, make_key, drop_key);
}
