#include "config.h"

#include "lib/common/metrics.h"

#include <stdarg.h>
#include <stddef.h>
#include <stdio.h>

static const unsigned bounds_ms[HISTOGRAM_BUCKETS] = { 1, 2, 5, 10, 20, 50, 100, 200, 500, 1000, 2000, 5000 };

void
histogram_take(struct histogram *h, int64_t ms)
{
    size_t i = 0;

    if (ms < 0)
        ms = 0;
    h->count++;
    h->sum_ms += (uint64_t)ms;
    while (i < HISTOGRAM_BUCKETS && ms > bounds_ms[i])
        i++;
    if (i < HISTOGRAM_BUCKETS)
        h->buckets[i]++;
}

void
metrics_begin(struct metrics *m, const char *name, enum metric_kind kind, const char *help)
{
    static const char *const kinds[] = { "counter", "gauge", "histogram" };

    m->name = name;
    buf_printf(m->into, "# HELP %s %s\n# TYPE %s %s\n", name, help, name, kinds[kind]);
}

/* The length of the one character that `text` begins with, or 0: it is no UTF-8 (RFC 3629). */
static size_t
character(const unsigned char *text)
{
    /* What the second byte may be depends on the first: no overlong forms, no surrogates, nothing above U+10FFFF. */
    static const struct {
        unsigned char first, last, second_min, second_max;
        size_t len;
    } shapes[] = {
        { 0x01, 0x7f, 0, 0, 1 },       { 0xc2, 0xdf, 0x80, 0xbf, 2 }, { 0xe0, 0xe0, 0xa0, 0xbf, 3 },
        { 0xe1, 0xec, 0x80, 0xbf, 3 }, { 0xed, 0xed, 0x80, 0x9f, 3 }, { 0xee, 0xef, 0x80, 0xbf, 3 },
        { 0xf0, 0xf0, 0x90, 0xbf, 4 }, { 0xf1, 0xf3, 0x80, 0xbf, 4 }, { 0xf4, 0xf4, 0x80, 0x8f, 4 },
    };

    for (size_t i = 0; i < sizeof shapes / sizeof shapes[0]; i++) {
        size_t len = shapes[i].len, at = 2;

        if (text[0] < shapes[i].first || text[0] > shapes[i].last)
            continue;
        if (len > 1 && (text[1] < shapes[i].second_min || text[1] > shapes[i].second_max))
            return 0;
        while (at < len && text[at] >= 0x80 && text[at] <= 0xbf)
            at++;
        return len <= 2 || at == len ? len : 0;
    }
    return 0;
}

static void
add_label(struct buf *into, const char *name, const char *value)
{
    const unsigned char *at = (const unsigned char *)value;

    buf_printf(into, "%s=\"", name);
    while (*at) {
        size_t len = character(at);

        if (len == 0)
            buf_add(into, "?", 1);
        else if (*at == '\n')
            buf_add(into, "\\n", 2);
        else if (*at == '\\' || *at == '"')
            buf_printf(into, "\\%c", *at);
        else
            buf_add(into, at, len);
        at += len ? len : 1;
    }
    buf_add(into, "\"", 1);
}

static void
add_labels(struct metrics *m, va_list labels)
{
    const char *name = va_arg(labels, const char *);
    bool any = name != NULL;

    buf_add_text(m->into, m->name);
    for (const char *sign = "{"; name; sign = ",") {
        buf_add_text(m->into, sign);
        add_label(m->into, name, va_arg(labels, const char *));
        name = va_arg(labels, const char *);
    }
    buf_add_text(m->into, any ? "} " : " ");
}

void
metrics_add(struct metrics *m, int64_t value, ...)
{
    va_list labels;

    va_start(labels, value);
    add_labels(m, labels);
    va_end(labels);
    buf_printf(m->into, "%lld\n", (long long)value);
}

void
metrics_flag(struct metrics *m, const char *name, const char *help, bool is)
{
    metrics_begin(m, name, METRIC_GAUGE, help);
    metrics_add(m, is, NULL);
}

static void
add_seconds(struct buf *into, int64_t ms)
{
    uint64_t n = ms < 0 ? 0 - (uint64_t)ms : (uint64_t)ms;

    buf_printf(into, "%s%llu.%03u\n", ms < 0 ? "-" : "", (unsigned long long)(n / 1000), (unsigned)(n % 1000));
}

void
metrics_add_ms(struct metrics *m, int64_t ms, ...)
{
    va_list labels;

    va_start(labels, ms);
    add_labels(m, labels);
    va_end(labels);
    add_seconds(m->into, ms);
}

void
metrics_add_histogram(struct metrics *m, const struct histogram *h, const char *label, const char *value)
{
    uint64_t below = 0;

    for (size_t i = 0; i < HISTOGRAM_BUCKETS; i++) {
        below += h->buckets[i];
        buf_printf(m->into, "%s_bucket{", m->name);
        add_label(m->into, label, value);
        buf_printf(m->into, ",le=\"%u.%03u\"} %llu\n", bounds_ms[i] / 1000, bounds_ms[i] % 1000,
                   (unsigned long long)below);
    }
    buf_printf(m->into, "%s_bucket{", m->name);
    add_label(m->into, label, value);
    buf_printf(m->into, ",le=\"+Inf\"} %llu\n%s_sum{", (unsigned long long)h->count, m->name);
    add_label(m->into, label, value);
    buf_add_text(m->into, "} ");
    add_seconds(m->into, (int64_t)h->sum_ms);
    buf_printf(m->into, "%s_count{", m->name);
    add_label(m->into, label, value);
    buf_printf(m->into, "} %llu\n", (unsigned long long)h->count);
}

void
metrics_add_program(struct metrics *m, const char *program, const char *version, int64_t started_ms)
{
    metrics_begin(m, "virtid_build_info", METRIC_GAUGE, "Which program this is; always 1.");
    metrics_add(m, 1, "program", program, "version", version, NULL);
    metrics_begin(m, "process_start_time_seconds", METRIC_GAUGE, "When this process began to serve, since 1970.");
    metrics_add_ms(m, started_ms, NULL);
}
