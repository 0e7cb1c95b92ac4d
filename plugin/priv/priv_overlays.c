#include "config.h"

#include "plugin/priv/priv_overlays.h"

#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <stdbool.h>
#include <stdint.h>
#include <stdio.h>
#include <string.h>
#include <unistd.h>

#include "lib/common/fdio.h"
#include "plugin/priv/priv_path.h"

enum {
    DEPTH_MAX = 16,
    FILES_MAX = 200000,
    BACKING_NAME_MAX = 1023, /* qcow2 specification, header field backing_file_size */
};

struct search {
    const struct stat *image;
    bool devices; /* below /dev */
    unsigned files;
};

static int
not_known(struct error *err, const char *why)
{
    return error_problem(err, ERROR_DENIED, "image-backing",
                         "cannot tell whether other images are built upon it: %s", why);
}

static uint64_t
big_endian(const uint8_t *bytes, size_t len)
{
    uint64_t v = 0;

    for (size_t i = 0; i < len; i++)
        v = v << 8 | bytes[i];
    return v;
}

/* The backing file's name of a qcow2 image; false: it is none, or has none. */
static bool
read_backing_name(int fd, char ret[static BACKING_NAME_MAX + 1])
{
    uint8_t head[20];
    uint64_t offset, len;

    if (pread(fd, head, sizeof head, 0) != (ssize_t)sizeof head || memcmp(head, "QFI\xfb", 4) != 0)
        return false;
    offset = big_endian(head + 8, 8);
    len = big_endian(head + 16, 4);
    if (offset == 0 || offset > INT64_MAX / 2 || len == 0 || len > BACKING_NAME_MAX)
        return false;
    if (pread(fd, ret, len, (off_t)offset) != (ssize_t)len)
        return false;
    ret[len] = '\0';
    return true;
}

/* "file:NAME" is QEMU's other way to write NAME. */
static bool
names_the_image(int dir, const char *name, const struct stat *image)
{
    struct stat st;

    if (strncmp(name, "file:", 5) == 0)
        name += 5;
    return fstatat(dir, name, &st, 0) == 0 && priv_path_same(&st, image);
}

/*
 * json:{...,"filename":"NAME"}: each text in it is tried.  A guest can write such a header into its own raw
 * disk: then an image that it names gets its secret over the channel, and no other is touched.
 */
static bool
json_names_the_image(int dir, char *name, const struct stat *image)
{
    char *save = NULL;

    for (const char *text = strtok_r(name, "\"", &save); text; text = strtok_r(NULL, "\"", &save)) {
        if (names_the_image(dir, text, image))
            return true;
    }
    return false;
}

/* An overlay may lie on a logical volume, too; udev's links are followed to it. */
static bool
is_device(int dir, const char *entry)
{
    struct stat st;

    return fstatat(dir, entry, &st, 0) == 0 && S_ISBLK(st.st_mode);
}

static int
look_at_file(int dir, const char *entry, const struct search *search, struct error *err)
{
    bool device = search->devices && is_device(dir, entry);
    CLEANUP(fd_close) int fd =
        openat(dir, entry, O_RDONLY | O_NONBLOCK | O_NOCTTY | O_CLOEXEC | (device ? 0 : O_NOFOLLOW));
    char name[BACKING_NAME_MAX + 1];
    struct stat st;

    if (fd < 0 && (errno == ENOENT || errno == ELOOP || errno == ENXIO))
        return 0; /* gone meanwhile, a link, a socket */
    if (fd < 0 && device && (errno == ENOMEDIUM || errno == ENODEV || errno == EPERM || errno == EACCES))
        return 0; /* an empty drive; what root cannot open is no VM's disk either */
    if (fd < 0 || fstat(fd, &st) < 0)
        return not_known(err, strerror(errno));
    if ((device ? !S_ISBLK(st.st_mode) : !S_ISREG(st.st_mode)) || !read_backing_name(fd, name))
        return 0;
    if (strncmp(name, "json:", 5) == 0 ? json_names_the_image(dir, name, search->image)
                                       : names_the_image(dir, name, search->image))
        return error_problem(err, ERROR_DENIED, "image-backing", "%.100s is built upon it", entry);
    return 0;
}

static int look_into(int take_dir, int depth, struct search *search, struct error *err);

static int
look_at(int dir, const struct dirent *entry, int depth, struct search *search, struct error *err)
{
    int below;

    if (strcmp(entry->d_name, ".") == 0 || strcmp(entry->d_name, "..") == 0)
        return 0;
    if (++search->files > FILES_MAX)
        return not_known(err, "too many files below image_roots");
    if (entry->d_type == DT_REG ||
        (search->devices && (entry->d_type == DT_BLK || entry->d_type == DT_LNK)))
        return look_at_file(dir, entry->d_name, search, err);
    if (entry->d_type != DT_DIR && entry->d_type != DT_UNKNOWN)
        return 0;
    below = openat(dir, entry->d_name, O_RDONLY | O_DIRECTORY | O_NOFOLLOW | O_CLOEXEC);
    if (below >= 0)
        return look_into(below, depth + 1, search, err);
    if (errno == ENOTDIR)
        return look_at_file(dir, entry->d_name, search, err);
    return errno == ENOENT || errno == ELOOP ? 0 : not_known(err, strerror(errno));
}

static int
look_into(int take_dir, int depth, struct search *search, struct error *err)
{
    DIR *dir = depth > DEPTH_MAX ? NULL : fdopendir(take_dir);
    const struct dirent *entry;
    int result = 0;

    if (!dir) {
        close(take_dir);
        return not_known(err, depth > DEPTH_MAX ? "folders too deep" : strerror(errno));
    }
    while (result == 0 && (entry = readdir(dir)))
        result = look_at(dirfd(dir), entry, depth, search, err);
    closedir(dir);
    return result;
}

int
priv_overlays_none(const struct priv_roots *roots, const struct stat *image, struct error *err)
{
    struct search search = { .image = image };

    for (size_t i = 0; roots->folders[i]; i++) {
        int dir = open(roots->folders[i], O_RDONLY | O_DIRECTORY | O_CLOEXEC);

        search.devices = strcmp(roots->folders[i], "/dev") == 0 || priv_path_is_device(roots->folders[i]);
        if (dir < 0 && errno == ENOENT)
            continue;
        if (dir < 0)
            return not_known(err, strerror(errno));
        if (look_into(dir, 0, &search, err) < 0)
            return -1;
    }
    return 0;
}
