#include "config.h"

#include "plugin/priv/priv_open_image.h"

#include <fcntl.h>
#include <pthread.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stdatomic.h>
#include <stddef.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include <cmocka.h>

#include "lib/common/fdio.h"

static char top[] = "/tmp/priv-open-image-XXXXXX";
static char images[64];
static struct priv_settings settings;
static struct error err;

static const char *
at(const char *name)
{
    static char path[4][256];
    static int turn;

    turn = (turn + 1) % 4;
    snprintf(path[turn], sizeof path[turn], "%s/%s", images, name);
    return path[turn];
}

static void
make_file(const char *name, mode_t mode)
{
    int fd = open(at(name), O_CREAT | O_TRUNC | O_WRONLY | O_CLOEXEC, 0600);

    assert_true(fd >= 0);
    assert_int_equal(write(fd, "disk", 4), 4);
    assert_int_equal(fchmod(fd, mode), 0);
    close(fd);
}

static int
set_up(void **state)
{
    (void)state;
    if (!mkdtemp(top))
        return -1;
    snprintf(images, sizeof images, "%s/images", top);
    settings.image_roots.folders[0] = images;
    settings.qemu_uid = geteuid();
    return mkdir(images, 0755) < 0 || mkdir(at("sub"), 0755) < 0 ? -1 : 0;
}

static int
tear_down(void **state)
{
    char command[128];

    (void)state;
    snprintf(command, sizeof command, "rm -rf '%s'", top);
    return system(command);
}

static void
refused_as(const char *path, const char *problem)
{
    struct priv_image image = PRIV_IMAGE();

    assert_int_equal(priv_open_image_top(&settings, path, &image, &err), -1);
    assert_string_equal(err.problem, problem);
    assert_int_equal(image.read_fd, -1);
}

/* A header as QEMU writes it, with `backing` as the backing file's name. */
static void
make_overlay(const char *name, const char *backing)
{
    uint8_t head[512] = { 'Q', 'F', 'I', 0xfb, 0, 0, 0, 3 };
    int fd = open(at(name), O_CREAT | O_TRUNC | O_WRONLY | O_CLOEXEC, 0600);

    head[15] = 128;
    head[19] = (uint8_t)strlen(backing);
    memcpy(head + 128, backing, strlen(backing));
    assert_true(fd >= 0);
    assert_int_equal(write(fd, head, sizeof head), sizeof head);
    close(fd);
}

static void
a_template_that_overlays_are_built_upon_is_never_written(void **state)
{
    static const char *const spellings[] = { "template.img", "../images/template.img",
                                             "file:template.img", NULL };
    CLEANUP(priv_open_image_close) struct priv_image image = PRIV_IMAGE();
    char absolute[256];

    (void)state;
    make_file("template.img", 0644);
    make_file("other.img", 0644);
    for (int i = 0; spellings[i]; i++) {
        make_overlay("overlay.qcow2", spellings[i]);
        refused_as(at("template.img"), "image-backing");
    }
    assert_int_equal(unlink(at("overlay.qcow2")), 0);
    snprintf(absolute, sizeof absolute, "%s", at("template.img"));
    make_overlay("sub/overlay.qcow2", absolute);
    refused_as(at("template.img"), "image-backing");
    make_overlay("sub/overlay.qcow2", "json:{\"file\":{\"filename\":\"../template.img\"}}");
    refused_as(at("template.img"), "image-backing");
    make_overlay("sub/overlay.qcow2", "../other.img");
    assert_int_equal(priv_open_image_top(&settings, at("template.img"), &image, &err), 0);
    assert_int_equal(unlink(at("sub/overlay.qcow2")), 0);
}

static void
below_dev_only_block_devices_are_images(void **state)
{
    static const char *const others[] = { "/dev/null", "/dev/fd/0", "/dev/stdin", "/dev/shm", "/dev/pts/ptmx",
                                          "/dev/../etc/passwd", NULL };

    (void)state;
    refused_as("/dev/null", "image-path"); /* /dev is no root unless it is named */
    settings.image_roots.folders[1] = "/dev";
    for (int i = 0; others[i]; i++)
        refused_as(others[i], "image-path");
    settings.image_roots.folders[1] = NULL;
}

static void
image_below_a_root_is_opened_for_both(void **state)
{
    CLEANUP(priv_open_image_close) struct priv_image image = PRIV_IMAGE();

    (void)state;
    make_file("good", 0600);
    assert_int_equal(priv_open_image_top(&settings, at("good"), &image, &err), 0);
    assert_int_equal(fcntl(image.read_fd, F_GETFL) & O_ACCMODE, O_RDONLY);
    assert_int_equal(fcntl(image.write_fd, F_GETFL) & O_ACCMODE, O_RDWR);
}

static void
path_outside_of_the_roots_is_refused(void **state)
{
    char near[300];

    (void)state;
    refused_as("/etc/passwd", "image-path");
    refused_as("/", "image-path");
    refused_as(images, "image-path");
    snprintf(near, sizeof near, "%s-not/x", images);
    refused_as(near, "image-path");
    refused_as(at("../outside"), "image-path");
    refused_as(at("sub/../../images/good"), "image-path");
}

static void
links_on_the_way_are_refused(void **state)
{
    (void)state;
    make_file("target", 0600);
    assert_int_equal(symlink("target", at("link")), 0);
    assert_int_equal(symlink(".", at("folder")), 0);
    refused_as(at("link"), "image-path");
    refused_as(at("folder/target"), "image-path");
}

static void
hard_links_folders_and_fifos_are_refused(void **state)
{
    (void)state;
    make_file("one", 0600);
    assert_int_equal(link(at("one"), at("two")), 0);
    assert_int_equal(mkfifo(at("fifo"), 0600), 0);
    refused_as(at("one"), "image-path");
    refused_as(at("two"), "image-path");
    refused_as(at("fifo"), "image-path");
    refused_as(at("sub"), "image-path");
    refused_as(at("absent"), "image-path");
    assert_int_equal(err.code, ERROR_MISSING);
}

static void
foreign_owner_is_refused(void **state)
{
    (void)state;
    make_file("foreign", 0600);
    if (geteuid() == 0)
        assert_int_equal(chown(at("foreign"), 12345, 12345), 0);
    else
        settings.qemu_uid = geteuid() + 1;
    refused_as(at("foreign"), "image-path");
    settings.qemu_uid = geteuid();
}

static void
image_without_write_permission_is_refused(void **state)
{
    (void)state;
    make_file("readonly", 0444);
    refused_as(at("readonly"), "image-read-only");
}

static void
image_locked_as_qemu_locks_it_is_refused(void **state)
{
    static const off_t bytes[] = { 100, 101, 103, 201, 203 };

    (void)state;
    make_file("locked", 0600);
    for (size_t i = 0; i < sizeof bytes / sizeof *bytes; i++) {
        struct flock byte = { .l_type = F_RDLCK, .l_whence = SEEK_SET, .l_start = bytes[i], .l_len = 1 };
        CLEANUP(fd_close) int fd = open(at("locked"), O_RDWR | O_CLOEXEC);

        assert_int_equal(fcntl(fd, F_OFD_SETLK, &byte), 0);
        refused_as(at("locked"), "image-in-use");
    }
}

static void
image_opened_twice_by_us_is_refused(void **state)
{
    CLEANUP(priv_open_image_close) struct priv_image image = PRIV_IMAGE();

    (void)state;
    make_file("twice", 0600);
    assert_int_equal(priv_open_image_top(&settings, at("twice"), &image, &err), 0);
    refused_as(at("twice"), "image-in-use");
}

static void
image_open_in_another_process_is_refused(void **state)
{
    int ready[2], end[2];
    char byte = 0;
    pid_t child;

    (void)state;
    make_file("held", 0600);
    assert_int_equal(pipe(ready) | pipe(end), 0);
    child = fork();
    if (child == 0) {
        int fd = open(at("held"), O_RDONLY | O_CLOEXEC);

        close(end[1]);
        (void)!write(ready[1], &byte, 1);
        (void)!read(end[0], &byte, 1);
        _exit(fd < 0);
    }
    assert_int_equal(read(ready[0], &byte, 1), 1);
    refused_as(at("held"), "image-in-use");
    close(end[1]);
}

static void
backing_file_is_found_beside_its_parent(void **state)
{
    CLEANUP(priv_open_image_close) struct priv_image parent = PRIV_IMAGE(), base = PRIV_IMAGE();

    (void)state;
    make_file("overlay", 0600);
    make_file("sub/base", 0444);
    assert_int_equal(priv_open_image_top(&settings, at("overlay"), &parent, &err), 0);
    assert_int_equal(priv_open_image_backing(&settings, &parent, "sub/base", &base, &err), 0);
    assert_int_equal(base.write_fd, -1);
    priv_open_image_close(&base);
    assert_int_equal(priv_open_image_backing(&settings, &parent, at("sub/base"), &base, &err), 0);
}

static void
lying_backing_names_are_refused(void **state)
{
    static const char *const names[] = { "json:{}", "nbd://h/x", "/etc/passwd", "../../etc/passwd",
                                         "link",    "fifo",      "one",         "/proc/self/fd/0" };
    CLEANUP(priv_open_image_close) struct priv_image parent = PRIV_IMAGE(), base = PRIV_IMAGE();

    (void)state;
    make_file("liar", 0600);
    assert_int_equal(priv_open_image_top(&settings, at("liar"), &parent, &err), 0);
    for (size_t i = 0; i < sizeof names / sizeof *names; i++)
        assert_int_equal(priv_open_image_backing(&settings, &parent, names[i], &base, &err), -1);
}

/* ---- names that change while they are looked at ---- */

enum { TRIES = 20000, TRIES_MOST = 1000000, OPENED_LEAST = 20, KINDS = 7 };

static atomic_bool swapping;
static char outside[64];

/* One after the other: an image, a link out, a second name of a file outside, a folder, a FIFO, another image, and
 * the folder itself a link out. */
static void
swap_to(int kind)
{
    char fresh[256];

    snprintf(fresh, sizeof fresh, "%s/moving/fresh", images);
    (void)unlink(fresh);
    (void)rmdir(fresh);
    switch (kind) {
    case 0:
    case 5:
        close(open(fresh, O_CREAT | O_WRONLY | O_CLOEXEC, 0600));
        break;
    case 1:
        (void)!symlink(outside, fresh);
        break;
    case 2:
        (void)!link(outside, fresh);
        break;
    case 3:
        (void)mkdir(fresh, 0700);
        break;
    case 4:
        (void)mkfifo(fresh, 0600);
        break;
    default: { /* <images>/moving is <top>/trap for a moment */
        char away[256], moving[256], trap[256];

        snprintf(away, sizeof away, "%s/away", images);
        snprintf(moving, sizeof moving, "%s/moving", images);
        snprintf(trap, sizeof trap, "%s/trap", top);
        (void)rename(moving, away);
        (void)!symlink(trap, moving);
        (void)unlink(moving);
        (void)rename(away, moving);
        return;
    }
    }
    (void)rmdir(at("moving/disk"));
    (void)rename(fresh, at("moving/disk"));
}

static void *
swap(void *context)
{
    for (int i = 0; swapping; i++) {
        swap_to(i % KINDS);
        (void)usleep((useconds_t)(i % 11) * 20); /* not always before anybody has looked */
    }
    return context;
}

/* What is opened is what was looked at, and lies below the roots; or nothing is opened. */
static void
whatever_is_swapped_meanwhile_nothing_outside_is_opened(void **state)
{
    struct stat trap, seen;
    pthread_t thread;
    char path[256];
    int opened = 0, i = 0;

    (void)state;
    snprintf(path, sizeof path, "%s/trap", top);
    assert_int_equal(mkdir(path, 0755), 0);
    snprintf(outside, sizeof outside, "%s/trap/disk", top);
    close(open(outside, O_CREAT | O_WRONLY | O_CLOEXEC, 0600));
    assert_int_equal(stat(outside, &trap), 0);
    assert_int_equal(mkdir(at("moving"), 0755), 0);
    snprintf(path, sizeof path, "%s/moving/disk", images);
    swapping = true;
    assert_int_equal(pthread_create(&thread, NULL, swap, NULL), 0);
    for (; i < TRIES || (opened < OPENED_LEAST && i < TRIES_MOST); i++) {
        CLEANUP(priv_open_image_close) struct priv_image image = PRIV_IMAGE();

        if (priv_open_image_top(&settings, path, &image, &err) < 0)
            continue;
        opened++;
        assert_int_equal(fstat(image.write_fd, &seen), 0);
        assert_true(S_ISREG(seen.st_mode) && seen.st_ino != trap.st_ino);
        assert_int_equal(seen.st_ino, image.st.st_ino);
        assert_int_equal(fstat(image.read_fd, &seen), 0);
        assert_int_equal(seen.st_ino, image.st.st_ino);
    }
    swapping = false;
    pthread_join(thread, NULL);
    assert_int_equal(stat(outside, &seen), 0);
    assert_int_equal(seen.st_size, 0);
    print_message("%d of %d were opened\n", opened, i);
    assert_in_range(opened, OPENED_LEAST, i - OPENED_LEAST); /* both happened, or this shows nothing */
}

int
main(void)
{
    const struct CMUnitTest t[] = {
        cmocka_unit_test(a_template_that_overlays_are_built_upon_is_never_written),
        cmocka_unit_test(image_below_a_root_is_opened_for_both),
        cmocka_unit_test(below_dev_only_block_devices_are_images),
        cmocka_unit_test(path_outside_of_the_roots_is_refused),
        cmocka_unit_test(links_on_the_way_are_refused),
        cmocka_unit_test(hard_links_folders_and_fifos_are_refused),
        cmocka_unit_test(foreign_owner_is_refused),
        cmocka_unit_test(image_without_write_permission_is_refused),
        cmocka_unit_test(image_locked_as_qemu_locks_it_is_refused),
        cmocka_unit_test(image_opened_twice_by_us_is_refused),
        cmocka_unit_test(image_open_in_another_process_is_refused),
        cmocka_unit_test(backing_file_is_found_beside_its_parent),
        cmocka_unit_test(lying_backing_names_are_refused),
        cmocka_unit_test(whatever_is_swapped_meanwhile_nothing_outside_is_opened),
    };

    return cmocka_run_group_tests_name("priv_open_image", t, set_up, tear_down);
}
