#include "config.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <string.h>
#include <cmocka.h>

#include "lib/common/metrics.h"

static void
assert_label(const char *value, const char *written)
{
    CLEANUP(buf_clear) struct buf text = BUF(1000), wanted = BUF(1000);
    struct metrics m = { .into = &text, .name = "n" };

    metrics_add(&m, 1, "domain", value, NULL);
    buf_printf(&wanted, "n{domain=\"%s\"} 1\n", written);
    assert_string_equal(buf_text(&text), buf_text(&wanted));
}

static void
a_page_is_as_the_format_says(void **state)
{
    CLEANUP(buf_clear) struct buf text = BUF(4000);
    struct metrics m = { .into = &text };

    (void)state;
    metrics_begin(&m, "virtid_leases", METRIC_GAUGE, "Leases by state.");
    metrics_add(&m, 3, "state", "runs", "host", "a", NULL);
    metrics_add(&m, -1, NULL);
    metrics_begin(&m, "virtid_age_seconds", METRIC_COUNTER, "Age.");
    metrics_add_ms(&m, 1234, NULL);
    metrics_add_ms(&m, -5, "a", "b", NULL);
    metrics_add_program(&m, "virtid-tokend", "1.2", 1700000000123);
    assert_string_equal(buf_text(&text), "# HELP virtid_leases Leases by state.\n"
                                         "# TYPE virtid_leases gauge\n"
                                         "virtid_leases{state=\"runs\",host=\"a\"} 3\n"
                                         "virtid_leases -1\n"
                                         "# HELP virtid_age_seconds Age.\n"
                                         "# TYPE virtid_age_seconds counter\n"
                                         "virtid_age_seconds 1.234\n"
                                         "virtid_age_seconds{a=\"b\"} -0.005\n"
                                         "# HELP virtid_build_info Which program this is; always 1.\n"
                                         "# TYPE virtid_build_info gauge\n"
                                         "virtid_build_info{program=\"virtid-tokend\",version=\"1.2\"} 1\n"
                                         "# HELP process_start_time_seconds When this process began to serve, since 1970.\n"
                                         "# TYPE process_start_time_seconds gauge\n"
                                         "process_start_time_seconds 1700000000.123\n");
}

static void
no_name_breaks_its_line(void **state)
{
    (void)state;
    assert_label("web1", "web1");
    assert_label("", "");
    assert_label("a\"} 1\nforged{x=\"", "a\\\"} 1\\nforged{x=\\\"");
    assert_label("\\n", "\\\\n");
}

static void
what_is_no_utf8_is_a_question_mark(void **state)
{
    (void)state;
    assert_label("m\xc3\xbcller \xe2\x82\xac \xf0\x9f\x90\xa7", "m\xc3\xbcller \xe2\x82\xac \xf0\x9f\x90\xa7");
    assert_label("\xc3", "?");                     /* cut */
    assert_label("\xe2\x82", "??");                /* cut later */
    assert_label("a\x80z", "a?z");                 /* a second byte alone */
    assert_label("\xc0\xaf", "??");                /* overlong */
    assert_label("\xe0\x80\xaf", "???");
    assert_label("\xed\xa0\x80", "???");           /* a surrogate */
    assert_label("\xf4\x90\x80\x80", "????");      /* above U+10FFFF */
    assert_label("\xff\"", "?\\\"");
}

static void
a_histogram_counts_what_is_below_each_bound(void **state)
{
    CLEANUP(buf_clear) struct buf text = BUF(4000);
    struct metrics m = { .into = &text };
    struct histogram h = { .count = 0 };

    (void)state;
    histogram_take(&h, 0);
    histogram_take(&h, -3); /* a clock that went back */
    histogram_take(&h, 1);
    histogram_take(&h, 3);
    histogram_take(&h, 5000);
    histogram_take(&h, 5001);
    metrics_begin(&m, "d_seconds", METRIC_HISTOGRAM, "D.");
    metrics_add_histogram(&m, &h, "listener", "guests");
    assert_non_null(strstr(buf_text(&text), "d_seconds_bucket{listener=\"guests\",le=\"0.001\"} 3\n"));
    assert_non_null(strstr(buf_text(&text), "d_seconds_bucket{listener=\"guests\",le=\"0.002\"} 3\n"));
    assert_non_null(strstr(buf_text(&text), "d_seconds_bucket{listener=\"guests\",le=\"0.005\"} 4\n"));
    assert_non_null(strstr(buf_text(&text), "d_seconds_bucket{listener=\"guests\",le=\"2.000\"} 4\n"));
    assert_non_null(strstr(buf_text(&text), "d_seconds_bucket{listener=\"guests\",le=\"5.000\"} 5\n"));
    assert_non_null(strstr(buf_text(&text), "d_seconds_bucket{listener=\"guests\",le=\"+Inf\"} 6\n"));
    assert_non_null(strstr(buf_text(&text), "d_seconds_sum{listener=\"guests\"} 10.005\n"));
    assert_non_null(strstr(buf_text(&text), "d_seconds_count{listener=\"guests\"} 6\n"));
}

int
main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(a_page_is_as_the_format_says),
        cmocka_unit_test(no_name_breaks_its_line),
        cmocka_unit_test(what_is_no_utf8_is_a_question_mark),
        cmocka_unit_test(a_histogram_counts_what_is_below_each_bound),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
