#include "config.h"

#include "plugin/payload.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <unistd.h>
#include <cmocka.h>

#include "lib/common/fdio.h"
#include "lib/wire/priv_msg.h"

static char folder[64];
static struct buf payload;

static int
set_up(void **state)
{
    static struct hostd_settings settings = { .agent_program = "/bin/true", .state_dir = folder };
    char path[96];
    struct error err = { 0 };
    int fd = -1;

    (void)state;
    strcpy(folder, "/tmp/payloadXXXXXX");
    assert_non_null(mkdtemp(folder));
    snprintf(path, sizeof path, "%s/bundle", folder);
    assert_int_equal(file_replace(path, "bundle", 6, 0644, &err), 0);
    if (payload_make(&settings, true, &fd, &err) < 0)
        fail_msg("%s", err.text);
    payload = (struct buf)BUF(PRIV_PAYLOAD_MAX);
    assert_int_equal(lseek(fd, 0, SEEK_SET), 0);
    assert_int_equal(fd_read_to_end(fd, &payload, &err), 0);
    close(fd);
    unlink(path);
    return rmdir(folder);
}

static int
tear_down(void **state)
{
    (void)state;
    buf_clear(&payload);
    return 0;
}

/* The text of one file of it, or "". */
static void
content(const char *path, char *ret, size_t size)
{
    struct payload_entry e;
    struct error err = { 0 };
    size_t at = 0;
    bool end = false;

    ret[0] = '\0';
    while (payload_next(payload.data, payload.len, &at, &e, &end, &err) == 0 && !end) {
        if (e.path_len != strlen(path) || memcmp(e.path, path, e.path_len) != 0 || e.len >= size)
            continue;
        memcpy(ret, e.content, e.len);
        ret[e.len] = '\0';
    }
}

static void
the_unit_in_a_guest_is_the_hardened_one_with_the_guests_paths(void **state)
{
    static const char *const lines[] = {
        "\nExecStart=/usr/lib/virtid/virtid-agent --config /etc/virtid/agent.conf run\n",
        "\nEnvironment=LD_LIBRARY_PATH=/usr/lib/virtid\n",
        "\nReadWritePaths=-/etc/virtid\n",
        "\nDevicePolicy=closed\n",
        "\nPrivateNetwork=yes\n",
        "\nNoNewPrivileges=yes\n",
        "\nProtectSystem=strict\n",
        "\nCapabilityBoundingSet=CAP_DAC_OVERRIDE CAP_SYS_PTRACE CAP_CHOWN\n",
        "\nSystemCallFilter=@system-service\n",
        "\nStartLimitIntervalSec=0\n",
        "\nWantedBy=multi-user.target\n",
    };
    char unit[8192];

    (void)state;
    content("/etc/systemd/system/virtid-agent.service", unit, sizeof unit);
    for (size_t i = 0; i < sizeof lines / sizeof lines[0]; i++) {
        if (!strstr(unit, lines[i]))
            print_error("missing: %s", lines[i]);
        assert_non_null(strstr(unit, lines[i]));
    }
    assert_null(strchr(strstr(unit, "[Service]"), '"'));
    assert_null(strstr(unit, "@sbindir"));
    assert_null(strstr(unit, "@sysconfdir"));
}

/* An agent built for /usr/local must find what the injection writes. */
static void
the_configuration_in_a_guest_names_the_folder_that_is_injected_into(void **state)
{
    char text[1024];

    (void)state;
    content("/etc/virtid/agent.conf", text, sizeof text);
    assert_non_null(strstr(text, "\nstate_dir=/etc/virtid\n"));
    content("/etc/virtid/bundle", text, sizeof text);
    assert_string_equal(text, "bundle");
}

/* What a guest that takes these sections, and what all guests take, would get: '\n' before each path. */
static void
paths_of(const char *const *sections, char *ret, size_t size)
{
    struct payload_entry e;
    struct error err = { 0 };
    size_t at = 0, len = 0;
    bool end = false, wanted = true;

    while (payload_next(payload.data, payload.len, &at, &e, &end, &err) == 0 && !end) {
        if (e.kind == 's') {
            wanted = false;
            for (size_t i = 0; sections[i]; i++)
                wanted |= e.path_len == strlen(sections[i]) && memcmp(e.path, sections[i], e.path_len) == 0;
        } else if (wanted && e.kind != '+') {
            len += (size_t)snprintf(ret + len, size - len, "\n%.*s", (int)e.path_len, e.path);
        }
    }
    snprintf(ret + len, size - len, "\n");
}

static void
each_init_system_gets_what_starts_the_agent_there(void **state)
{
    static const char *const none[] = { NULL }, *const systemd[] = { "/systemd", NULL };
    static const char *const openrc[] = { "/scripts", "/openrc", NULL };
    static const char *const sysvinit[] = { "/scripts", "/sysvinit", NULL };
    static const char loader[] = "\n/usr/lib/virtid/ld-linux-x86-64.so.2\n", libc[] = "\n/usr/lib/virtid/libc.so.6\n";
    char paths[8192];

    (void)state;
    paths_of(none, paths, sizeof paths);
    assert_non_null(strstr(paths, "\n/usr/lib/virtid/virtid-agent\n"));
    assert_non_null(strstr(paths, "\n/etc/virtid/agent.conf\n"));
    assert_null(strstr(paths, "init.d"));
    paths_of(systemd, paths, sizeof paths);
    assert_non_null(strstr(paths, "\n/etc/systemd/system/multi-user.target.wants/virtid-agent.service\n"));
    assert_null(strstr(paths, libc));
    paths_of(openrc, paths, sizeof paths);
    assert_non_null(strstr(paths, loader));
    assert_non_null(strstr(paths, libc));
    assert_non_null(strstr(paths, "\n/etc/init.d/virtid-agent\n/etc/runlevels/default/virtid-agent\n"));
    assert_null(strstr(paths, "systemd"));
    assert_null(strstr(paths, "/etc/rc"));
    paths_of(sysvinit, paths, sizeof paths);
    assert_non_null(strstr(paths, loader));
    assert_non_null(strstr(paths, "\n/etc/rc0.d/K01virtid-agent\n/etc/rc1.d/K01virtid-agent\n/etc/rc2.d/S01virtid-agent\n"));
    assert_null(strstr(paths, "runlevels"));
}

int
main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(the_unit_in_a_guest_is_the_hardened_one_with_the_guests_paths),
        cmocka_unit_test(the_configuration_in_a_guest_names_the_folder_that_is_injected_into),
        cmocka_unit_test(each_init_system_gets_what_starts_the_agent_there),
    };

    return cmocka_run_group_tests_name("payload", tests, set_up, tear_down);
}
