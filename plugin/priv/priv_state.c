#include "config.h"

#include "plugin/priv/priv_state.h"

#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <sys/stat.h>
#include <unistd.h>

#include "lib/common/fdio.h"

int
priv_state_saved(const struct priv_settings *s, const char *name, bool *ret_saved,
                 struct error *err)
{
    CLEANUP(fd_close) int dir = open(s->save_dir, O_PATH | O_DIRECTORY | O_CLOEXEC);
    char file[300];
    struct stat st;

    *ret_saved = false;
    if (dir < 0)
        return errno == ENOENT ? 0 : error_sys(err, errno, "%s", s->save_dir);
    if (snprintf(file, sizeof file, "%s.save", name) >= (int)sizeof file)
        return error_set(err, ERROR_INPUT, "the domain's name is too long");
    if (fstatat(dir, file, &st, AT_SYMLINK_NOFOLLOW) == 0)
        *ret_saved = true;
    else if (errno != ENOENT)
        return error_sys(err, errno, "%s", file);
    return 0;
}
