/*
 * A copy of the database, whole, while the service writes in it.
 */
#include "config.h"

#include <errno.h>
#include <limits.h>
#include <stdio.h>
#include <unistd.h>

#include "lib/common/process.h"
#include "tokenservice/api/service_state.h"
#include "tokenservice/tokend.h"

#define DATABASE_COPY "backup.db"

int
tokend_copy_database(const struct tokend_conf *conf, struct error *err)
{
    char path[PATH_MAX], copy[PATH_MAX];

    snprintf(path, sizeof path, "%s/" STORE_FILE, conf->state_dir);
    snprintf(copy, sizeof copy, "%s/" DATABASE_COPY, conf->state_dir);
    if (geteuid() == 0 && process_become(conf->service_user, err) < 0)
        return -1;
    if (unlink(copy) < 0 && errno != ENOENT)
        return error_sys(err, errno, "%s", copy);
    if (store_copy(path, copy, err) < 0) {
        (void)unlink(copy);
        return -1;
    }
    return 0;
}
