/*
 * workloads.h - which workload of this guest may have tokens for whom: workloads.conf, read and asked
 *
 *     [workload shop]
 *     uid = shop                             any of these (names of /etc/passwd, or numbers)
 *     gid = www-data                         and in any of these groups
 *     cgroup = /system.slice/shop.service    and in any of these, or below
 *     audiences = db https://pay.example
 *
 *     [file db]
 *     audience = db
 *     owner = shop
 *     group = www-data
 *     mode = 0440
 *
 * Whatever stands there is demanded; words add up when a setting is repeated.  A peer in a foreign mount or pid
 * namespace (a container, a unit with a view of its own) is meant by rules with `cgroup` alone: nobody leaves the
 * cgroup that he was put into, whatever uid he has.  The owner (peer.h) may have every token without a rule.
 */
#pragma once

#include <stdbool.h>
#include <stdint.h>
#include <sys/types.h>

#include "guestagent/peer.h"
#include "lib/common/cleanup.h"
#include "lib/common/error.h"
#include "lib/wire/names.h"

enum {
    WORKLOADS_MAX = 32,           /* rules */
    WORKLOAD_WORDS_MAX = 16,      /* words of one setting */
    WORKLOAD_AUDIENCES_MAX = 24,  /* named at all: the cache has room for more, so nobody crowds out another */
    WORKLOAD_NAME_MAX = 32,
};

struct workload_file {
    char audience[NAME_AUDIENCE_MAX + 1];
    uid_t owner;
    gid_t group;
    mode_t mode;
};

struct workloads;

/*
 * `path` and its drop-ins; it may be missing: then nobody is named.  ERROR_INPUT, with file and line: something that
 * is not understood, a rule that names nobody or no audience, a user or group that is not there, a file that
 * somebody else has named.
 */
int workloads_read(const char *path, struct workloads **ret, struct error *err);
void workloads_free(struct workloads *workloads);
DEFINE_CLEANUP(struct workloads *, workloads_free);

/* The audiences that are named, as bits of workloads_audience(i). */
uint64_t workloads_of(const struct workloads *workloads, const struct peer *peer);
/* NULL behind the last. */
const char *workloads_audience(const struct workloads *workloads, size_t i);
const struct workload_file *workloads_file(const struct workloads *workloads, size_t i);
