#include "config.h"

#include "guestagent/channel_port.h"

#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <unistd.h>

#include "lib/common/fdio.h"

static const char UDEV_NAME[] = "/dev/virtio-ports/" CHANNEL_PORT_NAME;
static const char SYS_FOLDER[] = "/sys/class/virtio-ports";

/* True: the port called `entry` in sysfs carries our name. */
static bool
is_ours(const char *entry)
{
    CLEANUP(buf_clear) struct buf name = BUF(128);
    struct error ignored = { 0 };
    char path[512];
    const char *text;

    snprintf(path, sizeof path, "%s/%s/name", SYS_FOLDER, entry);
    if (file_read(path, &name, &ignored) < 0 || !(text = buf_text(&name)))
        return false;
    return strcmp(text, CHANNEL_PORT_NAME "\n") == 0 || strcmp(text, CHANNEL_PORT_NAME) == 0;
}

/* Without udev the device node has the kernel's name. */
static int
find_by_name(char *ret_path, size_t size)
{
    DIR *dir = opendir(SYS_FOLDER);
    const struct dirent *entry;
    int found = -1;

    if (!dir)
        return -1;
    while (found < 0 && (entry = readdir(dir))) {
        if (strncmp(entry->d_name, "vport", 5) != 0 || strlen(entry->d_name) > 64 ||
            !is_ours(entry->d_name))
            continue;
        snprintf(ret_path, size, "/dev/%.64s", entry->d_name);
        found = 0;
    }
    closedir(dir);
    return found;
}

static int
open_device(const char *path, struct channel_port *ret, struct error *err)
{
    CLEANUP(fd_close) int fd =
        open(path, O_RDWR | O_NONBLOCK | O_CLOEXEC | O_NOCTTY | O_NOFOLLOW);
    struct stat st;

    if (fd < 0 && errno == EBUSY)
        return error_problem(err, ERROR_BUSY, "channel-busy",
                             "%s is open in another process of this guest", path);
    if (fd < 0)
        return error_sys(err, errno, "open %s", path);
    if (fstat(fd, &st) < 0 || !S_ISCHR(st.st_mode))
        return error_set(err, ERROR_INPUT, "%s is no character device", path);
    ret->fd = fd_steal(&fd);
    ret->is_socket = false;
    return 0;
}

static int
open_socket(const char *path, struct channel_port *ret, struct error *err)
{
    CLEANUP(fd_close) int fd = -1;

    if (unix_connect(path, SOCK_STREAM, &fd, err) < 0)
        return -1;
    if (fcntl(fd, F_SETFL, O_NONBLOCK) < 0)
        return error_sys(err, errno, "non-blocking");
    ret->fd = fd_steal(&fd);
    ret->is_socket = true;
    return 0;
}

int
channel_port_open(const char *where, struct channel_port *ret, struct error *err)
{
    char path[128], target[128];
    ssize_t n;

    if (strncmp(where, "unix:", 5) == 0)
        return open_socket(where + 5, ret, err);
    if (strcmp(where, "auto") != 0)
        return open_device(where, ret, err);
    /* udev's name is a link to the node; it is resolved here, one step, into /dev only. */
    n = readlink(UDEV_NAME, target, sizeof target - 1);
    if (n > 0) {
        target[n] = '\0';
        snprintf(path, sizeof path, "/dev/%.100s",
                 strrchr(target, '/') ? strrchr(target, '/') + 1 : target);
        return open_device(path, ret, err);
    }
    if (find_by_name(path, sizeof path) < 0)
        return error_problem(err, ERROR_MISSING, "no-channel",
                             "this guest has no port " CHANNEL_PORT_NAME
                             " (on the host: virtid enable DOMAIN)");
    return open_device(path, ret, err);
}

void
channel_port_close(struct channel_port *port)
{
    fd_close(port->fd);
    port->fd = -1;
}
