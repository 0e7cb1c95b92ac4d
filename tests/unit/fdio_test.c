#include "config.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <unistd.h>
#include <cmocka.h>

#include "lib/common/fdio.h"

static char folder[] = "/tmp/virtid-fdio.XXXXXX", path[64], other[64];

static int
set_up(void **state)
{
    (void)state;
    assert_non_null(mkdtemp(folder));
    snprintf(path, sizeof path, "%s/file", folder);
    snprintf(other, sizeof other, "%s/other", folder);
    return 0;
}

static int
tear_down(void **state)
{
    (void)state;
    (void)unlink(path);
    (void)unlink(other);
    return rmdir(folder);
}

static void
file_is_replaced_whole_with_its_mode(void **state)
{
    CLEANUP(buf_clear) struct buf b = BUF(64);
    struct stat st;
    struct error err;

    (void)state;
    assert_int_equal(file_replace(path, "first", 5, 0600, &err), 0);
    assert_int_equal(file_replace(path, "second!", 7, 0640, &err), 0);
    assert_int_equal(file_read(path, &b, &err), 0);
    assert_string_equal(buf_text(&b), "second!");
    assert_int_equal(stat(path, &st), 0);
    assert_int_equal(st.st_mode & 0777, 0640);
    assert_int_equal(unlink(path), 0);
}

static void
failed_replacement_leaves_the_old_content(void **state)
{
    char there[80];
    struct error err;

    (void)state;
    snprintf(there, sizeof there, "%s/none/file", folder);
    assert_int_equal(file_replace(there, "x", 1, 0600, &err), -1);
    assert_int_equal(dir_make(path, 0700, &err), 0);
    assert_int_equal(file_replace(path, "x", 1, 0600, &err), -1); /* a folder is in the way */
    assert_int_equal(rmdir(path), 0);
}

static void
files_that_are_none_or_too_long_are_refused(void **state)
{
    CLEANUP(buf_clear) struct buf b = BUF(4);
    struct error err;

    (void)state;
    assert_int_equal(file_read(path, &b, &err), -1);
    assert_int_equal(err.code, ERROR_MISSING);
    assert_int_equal(file_read(folder, &b, &err), -1);
    assert_int_equal(file_read("/dev/zero", &b, &err), -1);
    assert_int_equal(mkfifo(path, 0600), 0);
    assert_int_equal(file_read(path, &b, &err), -1); /* and does not wait for a writer */
    assert_int_equal(unlink(path), 0);
    assert_int_equal(file_replace(path, "12345", 5, 0600, &err), 0);
    assert_int_equal(file_read(path, &b, &err), -1);
    assert_int_equal(err.code, ERROR_INPUT);
    buf_clear(&b);
    assert_int_equal(file_replace(path, "1234", 4, 0600, &err), 0);
    assert_int_equal(file_read(path, &b, &err), 0);
    assert_int_equal(unlink(path), 0);
}

static void
end_of_file_before_all_bytes_is_told(void **state)
{
    struct error err;
    char bytes[4];
    int p[2];

    (void)state;
    assert_int_equal(pipe(p), 0);
    assert_int_equal(fd_write_all(p[1], "ab", 2, &err), 0);
    close(p[1]);
    assert_int_equal(fd_read_all(p[0], bytes, 4, &err), -1);
    assert_int_equal(err.code, ERROR_MISSING);
    close(p[0]);
}

static void
descriptors_pass_with_their_packet(void **state)
{
    struct error err;
    int pair[2], p[2], got[4];
    char bytes[16];
    size_t len, n;

    (void)state;
    assert_int_equal(socketpair(AF_UNIX, SOCK_SEQPACKET | SOCK_CLOEXEC, 0, pair), 0);
    assert_int_equal(pipe(p), 0);
    assert_int_equal(fd_send(pair[0], "hello", 5, p, 2, &err), 0);
    assert_int_equal(fd_receive(pair[1], bytes, sizeof bytes, &len, got, 4, &n, &err), 0);
    assert_int_equal(len, 5);
    assert_int_equal(n, 2);
    assert_int_equal(fcntl(got[0], F_GETFD), FD_CLOEXEC);
    assert_int_equal(fd_write_all(got[1], "x", 1, &err), 0);
    assert_int_equal(fd_read_all(p[0], bytes, 1, &err), 0);
    for (int i = 0; i < 2; i++) {
        close(got[i]);
        close(p[i]);
        close(pair[i]);
    }
}

static int
count_descriptors(void)
{
    int n = 0;

    for (int fd = 0; fd < 256; fd++)
        n += fcntl(fd, F_GETFD) >= 0;
    return n;
}

static void
packets_with_too_much_are_refused_and_nothing_leaks(void **state)
{
    struct error err;
    int pair[2], p[2], got[4], before;
    char bytes[4];
    size_t len, n;

    (void)state;
    assert_int_equal(socketpair(AF_UNIX, SOCK_SEQPACKET | SOCK_CLOEXEC, 0, pair), 0);
    assert_int_equal(pipe(p), 0);
    before = count_descriptors();
    assert_int_equal(fd_send(pair[0], "x", 1, p, 2, &err), 0);
    assert_int_equal(fd_receive(pair[1], bytes, sizeof bytes, &len, got, 1, &n, &err), -1);
    assert_int_equal(err.code, ERROR_INPUT);
    assert_int_equal(fd_send(pair[0], "12345", 5, p, 2, &err), 0);
    assert_int_equal(fd_receive(pair[1], bytes, sizeof bytes, &len, got, 4, &n, &err), -1);
    assert_int_equal(err.code, ERROR_INPUT);
    assert_int_equal(count_descriptors(), before);
    close(pair[0]);
    assert_int_equal(fd_receive(pair[1], bytes, sizeof bytes, &len, got, 4, &n, &err), -1);
    assert_int_equal(err.code, ERROR_MISSING);
    close(pair[1]);
    close(p[0]);
    close(p[1]);
}

static void
peer_of_a_socket_is_known(void **state)
{
    CLEANUP(fd_close) int listener = -1, client = -1;
    struct error err;
    pid_t pid;
    uid_t uid;
    gid_t gid;

    (void)state;
    assert_int_equal(unix_connect(other, SOCK_STREAM, &client, &err), -1);
    assert_int_equal(err.code, ERROR_BUSY);
    assert_int_equal(unix_listen(other, SOCK_STREAM, 0600, &listener, &err), 0);
    assert_int_equal(unix_connect(other, SOCK_STREAM, &client, &err), 0);
    assert_int_equal(unix_peer(client, &pid, &uid, &gid, &err), 0);
    assert_int_equal(pid, getpid());
    assert_int_equal(uid, getuid());
}

int
main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(file_is_replaced_whole_with_its_mode),
        cmocka_unit_test(failed_replacement_leaves_the_old_content),
        cmocka_unit_test(files_that_are_none_or_too_long_are_refused),
        cmocka_unit_test(end_of_file_before_all_bytes_is_told),
        cmocka_unit_test(descriptors_pass_with_their_packet),
        cmocka_unit_test(packets_with_too_much_are_refused_and_nothing_leaks),
        cmocka_unit_test(peer_of_a_socket_is_known),
    };

    return cmocka_run_group_tests_name("fdio", tests, set_up, tear_down);
}
