#include "config.h"

#include "plugin/inject/guestfs_error.h"

#include <errno.h>

#include <guestfs.h>

int
guestfs_failed(guestfs_h *g, struct error *err, const char *what)
{
    const char *text = guestfs_last_error(g);
    int number = guestfs_last_errno(g);

    /* How a filesystem's driver says that what it read makes no sense. */
    if (number == EUCLEAN || number == EBADMSG || number == EIO)
        return error_problem(err, ERROR_DENIED, "image-damaged", "%s: %.200s", what, text ? text : "no reason given");
    if (number == ENOSPC || number == EDQUOT)
        return error_problem(err, ERROR_DENIED, "image-full", "%s: %.200s", what, text ? text : "no reason given");
    return error_set(err, ERROR_SYSTEM, "%s: %.200s", what, text ? text : "no reason given");
}
