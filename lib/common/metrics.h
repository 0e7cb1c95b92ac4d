/*
 * metrics.h - numbers for Prometheus, in its text format 0.0.4
 *
 *     metrics_begin(&m, "virtid_leases", METRIC_GAUGE, "Leases by state.");
 *     metrics_add(&m, 3, "state", "runs", NULL);
 *
 * Whoever scrapes drops the whole page for one line that it can not read: label values are
 * escaped, and what is no UTF-8 in them becomes '?'.
 *
 * Not here: which numbers there are, and who may read them.
 */
#pragma once

#include <stdbool.h>
#include <stdint.h>

#include "lib/common/buf.h"

#define METRICS_TYPE "text/plain; version=0.0.4; charset=utf-8"

enum metric_kind { METRIC_COUNTER, METRIC_GAUGE, METRIC_HISTOGRAM };

struct metrics {
    struct buf *into;
    const char *name; /* of the family that was begun last; borrowed */
};

/* How long something took, counted by its length. One thread at a time. */
enum { HISTOGRAM_BUCKETS = 12 };
struct histogram {
    uint64_t buckets[HISTOGRAM_BUCKETS]; /* each its own, not those below it */
    uint64_t count, sum_ms;
};
void histogram_take(struct histogram *histogram, int64_t ms);

/* A family: all its lines follow before the next one is begun. `name`, `help`: plain constants. */
void metrics_begin(struct metrics *m, const char *name, enum metric_kind kind, const char *help);
/* Labels: name, value, ..., NULL. */
void metrics_add(struct metrics *m, int64_t value, ...) __attribute__((sentinel));
/* A family of one line: 1 or 0. */
void metrics_flag(struct metrics *m, const char *name, const char *help, bool is);
/* Milliseconds, written as seconds. */
void metrics_add_ms(struct metrics *m, int64_t ms, ...) __attribute__((sentinel));
void metrics_add_histogram(struct metrics *m, const struct histogram *histogram, const char *label,
                           const char *value);
/* What every program says: virtid_build_info, process_start_time_seconds. */
void metrics_add_program(struct metrics *m, const char *program, const char *version, int64_t started_ms);
