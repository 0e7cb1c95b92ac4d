/*
 * inject.h - one injection, from the job to its answer
 */
#pragma once

#include "lib/common/error.h"

/* The descriptors that privd hands over, in this order. */
enum { INJECT_FD_PRIVD = 3, INJECT_FD_PAYLOAD, INJECT_FD_WRITE, INJECT_FD_READ };

/*
 * Do the job that waits on `privd` and answer it there.  A disk that is left alone is an
 * answer ("skipped", why), not an error; an error means that no answer could be given.
 * Takes over all four descriptors.
 */
int inject_run(int privd, int payload, int write_fd, int read_fd, struct error *err);

/* Build the appliance into `cache_dir`, so that the first injection does not have to. */
int inject_prepare(const char *accel, const char *cache_dir, struct error *err);

/* Remove what a killed worker left in `cache_dir`. */
void inject_clean(const char *cache_dir);
