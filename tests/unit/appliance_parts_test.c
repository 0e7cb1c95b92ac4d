#include "config.h"

#include "plugin/inject/appliance_parts.h"

#include <limits.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include <cmocka.h>

static char box[64], path[PATH_MAX];

static const char *
in_box(const char *name)
{
    static char full[PATH_MAX];

    snprintf(full, sizeof full, "%s/%s", box, name);
    return full;
}

static void
write_file(const char *name)
{
    FILE *file = fopen(in_box(name), "w");

    assert_non_null(file);
    assert_true(fputs(name, file) >= 0);
    assert_int_equal(fclose(file), 0);
}

static int
setup(void **state)
{
    (void)state;
    snprintf(box, sizeof box, "/tmp/appliance-parts.XXXXXX");
    assert_non_null(mkdtemp(box));
    assert_int_equal(mkdir(in_box("stock"), 0700), 0);
    assert_int_equal(mkdir(in_box("stock/supermin.d"), 0700), 0);
    assert_int_equal(mkdir(in_box("cache"), 0700), 0);
    write_file("stock/supermin.d/base.tar.gz");
    write_file("stock/supermin.d/init.tar.gz");
    write_file("ours");
    return 0;
}

static int
teardown(void **state)
{
    char command[128];

    (void)state;
    snprintf(command, sizeof command, "rm -r '%s'", box);
    return system(command); /* NOLINT: a folder that mkdtemp() named */
}

static bool
make(void)
{
    char stock[PATH_MAX], init[PATH_MAX], cache[PATH_MAX];

    snprintf(stock, sizeof stock, "%s/stock", box);
    snprintf(init, sizeof init, "%s/ours", box);
    snprintf(cache, sizeof cache, "%s/cache", box);
    return appliance_parts_make(stock, init, cache, path, sizeof path);
}

static void
expect_link(const char *name, const char *target)
{
    char seen[PATH_MAX], part[64];
    ssize_t len;

    snprintf(part, sizeof part, "cache/appliance/supermin.d/%s", name);
    len = readlink(in_box(part), seen, sizeof seen - 1);
    assert_true(len > 0);
    seen[len] = '\0';
    assert_string_equal(seen, in_box(target));
}

static void
the_init_is_ours_and_all_else_is_stock(void **state)
{
    (void)state;
    assert_true(make());
    assert_string_equal(path, in_box("cache/appliance"));
    expect_link("base.tar.gz", "stock/supermin.d/base.tar.gz");
    expect_link("init.tar.gz", "ours");
}

static void
what_is_right_is_left_alone(void **state)
{
    struct stat before, after;

    (void)state;
    assert_true(make());
    assert_int_equal(stat(in_box("cache/appliance/supermin.d"), &before), 0);
    usleep(20 * 1000);
    assert_true(make());
    assert_int_equal(stat(in_box("cache/appliance/supermin.d"), &after), 0);
    assert_memory_equal(&before.st_mtim, &after.st_mtim, sizeof before.st_mtim);
}

static void
another_libguestfs_has_its_own_parts(void **state)
{
    (void)state;
    assert_true(make());
    assert_int_equal(unlink(in_box("stock/supermin.d/base.tar.gz")), 0);
    write_file("stock/supermin.d/other.tar.gz");
    assert_true(make());
    expect_link("other.tar.gz", "stock/supermin.d/other.tar.gz");
    assert_int_equal(readlink(in_box("cache/appliance/supermin.d/base.tar.gz"), path, 1), -1);
}

static void
a_link_that_leads_elsewhere_is_put_right(void **state)
{
    (void)state;
    assert_true(make());
    assert_int_equal(unlink(in_box("cache/appliance/supermin.d/base.tar.gz")), 0);
    assert_int_equal(symlink("/etc/passwd", in_box("cache/appliance/supermin.d/base.tar.gz")), 0);
    assert_true(make());
    expect_link("base.tar.gz", "stock/supermin.d/base.tar.gz");
}

static void
a_layout_that_we_do_not_know_is_left_to_libguestfs(void **state)
{
    (void)state;
    assert_int_equal(unlink(in_box("stock/supermin.d/init.tar.gz")), 0);
    assert_false(make());
}

static void
without_our_init_libguestfs_has_its_own(void **state)
{
    (void)state;
    assert_int_equal(unlink(in_box("ours")), 0);
    assert_false(make());
}

int
main(void)
{
#define T(test) cmocka_unit_test_setup_teardown(test, setup, teardown)
    const struct CMUnitTest t[] = {
        T(the_init_is_ours_and_all_else_is_stock),
        T(what_is_right_is_left_alone),
        T(another_libguestfs_has_its_own_parts),
        T(a_link_that_leads_elsewhere_is_put_right),
        T(a_layout_that_we_do_not_know_is_left_to_libguestfs),
        T(without_our_init_libguestfs_has_its_own),
    };

    return cmocka_run_group_tests_name("appliance_parts", t, NULL, NULL);
}
