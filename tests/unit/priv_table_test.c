#include "config.h"

#include "plugin/priv/priv_table.h"

#include <fcntl.h>
#include <setjmp.h>
#include <signal.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/stat.h>
#include <sys/wait.h>
#include <unistd.h>

#include <cmocka.h>

#include "lib/common/fdio.h"

static char top[] = "/tmp/priv-table-XXXXXX";
static char save[64];
static struct priv_settings settings;
static struct priv_table table;
static struct priv_inject *injections;
static struct priv_answer answered;
static uint64_t answered_who;

static void
take_answer(void *context, uint64_t who, const struct priv_answer *answer)
{
    (void)context;
    answered = *answer;
    answered_who = who;
}

static int
set_up(void **state)
{
    struct error err;

    (void)state;
    if (!mkdtemp(top))
        return -1;
    snprintf(save, sizeof save, "%s/save", top);
    settings.save_dir = save;
    settings.swtpm_dir = top;
    settings.inject_program = "/nonexistent/virtid-inject";
    settings.image_roots.folders[0] = top;
    if (priv_inject_new(&settings, take_answer, NULL, &injections, &err) < 0)
        return -1;
    priv_table_init(&table, &settings, injections, 0);
    return mkdir(save, 0700);
}

static int
tear_down(void **state)
{
    char command[128];

    (void)state;
    priv_inject_free(injections);
    snprintf(command, sizeof command, "rm -rf '%s'", top);
    return system(command);
}

static struct priv_reply
ask(struct priv_request r, int take_fd, int64_t now)
{
    CLEANUP(buf_clear) struct buf packet = BUF(PRIV_PACKET_MAX);
    struct priv_reply reply;
    struct error err;

    assert_int_equal(priv_request_encode(&r, &packet, &err), 0);
    priv_table_do(&table, packet.data, packet.len, take_fd, 7, now, &reply);
    return reply;
}

static int
payload(int seals)
{
    int fd = memfd_create("payload", MFD_CLOEXEC | MFD_ALLOW_SEALING);

    assert_int_equal(write(fd, "x", 1), 1);
    assert_int_equal(fcntl(fd, F_ADD_SEALS, seals), 0);
    return fd;
}

static struct priv_request
injection(uint32_t deadline_ms)
{
    struct priv_request r = { .op = PRIV_INJECT, .format = "raw", .deadline_ms = deadline_ms };

    snprintf(r.path, sizeof r.path, "%s/absent.img", top);
    return r;
}

enum { SEALED = F_SEAL_SEAL | F_SEAL_SHRINK | F_SEAL_GROW | F_SEAL_WRITE };

static void
managed_save_is_told_by_its_file(void **state)
{
    struct priv_request r = { .op = PRIV_SAVE_STATE, .name = "web1" };
    char path[128];

    (void)state;
    assert_string_equal(ask(r, -1, 0).answer.result, "none");
    snprintf(path, sizeof path, "%s/web1.save", save);
    close(open(path, O_CREAT | O_WRONLY | O_CLOEXEC, 0600));
    assert_string_equal(ask(r, -1, 0).answer.result, "managed");
}

static void
descriptor_must_come_where_it_is_wanted_and_nowhere_else(void **state)
{
    struct priv_request with = { .op = PRIV_VTPM_STATE }, without = { .op = PRIV_PLACE_VTPM };

    (void)state;
    assert_int_equal(ask(with, open("/dev/null", O_RDONLY | O_CLOEXEC), 0).answer.error.code,
                     ERROR_INPUT);
    assert_int_equal(ask(without, -1, 0).answer.error.code, ERROR_INPUT);
}

static void
what_is_no_request_ends_the_connection_and_one_request_refused_does_not(void **state)
{
    struct priv_request refused = { .op = PRIV_PLACE_VTPM };
    int fd = open("/dev/null", O_RDONLY | O_CLOEXEC);
    struct priv_reply reply;

    (void)state;
    assert_false(ask(refused, -1, 0).hang_up);
    priv_table_do(&table, (const uint8_t *)"nonsense", 8, fd, 7, 0, &reply);
    assert_true(reply.hang_up);
    assert_int_equal(reply.n_fds, 0);
    assert_int_equal(fcntl(fd, F_GETFD), -1); /* what came with it is closed */
}

static void
loop_of_requests_is_slowed_down_and_a_minute_later_served(void **state)
{
    struct priv_request r = { .op = PRIV_CANCEL };
    int served = 0;

    (void)state;
    while (ask(r, -1, 1000).answer.error.code == ERROR_NONE)
        assert_true(++served <= 1300);
    assert_true(served >= 1200);
    assert_int_equal(ask(r, -1, 1000).answer.error.code, ERROR_BUSY);
    assert_string_equal(ask(r, -1, 61000).answer.result, "none");
}

static void
payload_that_is_not_sealed_is_refused(void **state)
{
    (void)state;
    assert_int_equal(ask(injection(1000), payload(F_SEAL_SHRINK), 0).answer.error.code, ERROR_INPUT);
    assert_int_equal(ask(injection(1000), open("/dev/null", O_RDONLY | O_CLOEXEC), 0).answer.error.code,
                     ERROR_INPUT);
    assert_true(priv_inject_idle(injections));
}

static void
deadline_without_a_bound_is_refused(void **state)
{
    (void)state;
    assert_int_equal(ask(injection(0), payload(SEALED), 0).answer.error.code, ERROR_INPUT);
    assert_int_equal(ask(injection(UINT32_MAX), payload(SEALED), 0).answer.error.code, ERROR_INPUT);
}

static void
injection_that_cannot_be_opened_is_answered_as_skipped(void **state)
{
    struct pollfd fds[PRIV_INJECT_POLLFDS];
    int timeout;

    (void)state;
    assert_true(ask(injection(1000), payload(SEALED), 0).later);
    priv_inject_poll(injections, fds, 0, &timeout);
    assert_int_equal(timeout, 0);
    priv_inject_step(injections, fds, 0);
    assert_int_equal(answered_who, 7);
    assert_string_equal(answered.result, "skipped");
    assert_string_equal(answered.reason, "image-path");
    assert_true(priv_inject_idle(injections));
}

static void
injection_whose_client_left_or_whose_time_is_over_is_dropped(void **state)
{
    struct pollfd fds[PRIV_INJECT_POLLFDS];
    int timeout;

    (void)state;
    answered_who = 0;
    assert_true(ask(injection(1000), payload(SEALED), 0).later);
    priv_inject_gone(injections, 7);
    assert_true(priv_inject_idle(injections));
    assert_int_equal(answered_who, 0);
    assert_true(ask(injection(1000), payload(SEALED), 0).later);
    priv_inject_poll(injections, fds, 5000, &timeout);
    priv_inject_step(injections, fds, 5000);
    assert_string_equal(answered.reason, "took-too-long");
}

static void
waiting_injection_can_be_cancelled(void **state)
{
    struct priv_request cancel = { .op = PRIV_CANCEL };

    (void)state;
    assert_true(ask(injection(1000), payload(SEALED), 0).later);
    assert_string_equal(ask(cancel, -1, 200000).answer.result, "cancelled");
    assert_string_equal(answered.reason, "took-too-long");
    assert_string_equal(ask(cancel, -1, 200000).answer.result, "none");
}

/* ---- a guest that another host has since this one was fenced ---- */

#define STOP_UUID "7b0f3a52-94d1-4e0c-8a77-0c5a9d2f1e34"
#define OUR_CHANNEL "{\"driver\":\"virtserialport\",\"name\":\"org.virtid.0\"}"

/* A process that has this on its command line, as QEMU would, and libvirt's pid file of it. */
static pid_t
domain_runs(const char *name, const char *uuid, const char *option, const char *value)
{
    char path[128];
    int started[2], n;
    pid_t pid;
    FILE *file;

    assert_int_equal(pipe2(started, O_CLOEXEC), 0);
    pid = fork();
    if (pid == 0) {
        execl("/bin/sh", "sh", "-c", "kill -STOP $$", "qemu", "-uuid", uuid, option, value, (char *)NULL);
        _exit(1);
    }
    close(started[1]);
    assert_int_equal(read(started[0], &n, sizeof n), 0); /* the command line is its own by now */
    close(started[0]);
    snprintf(path, sizeof path, "%s/%s.pid", top, name);
    file = fopen(path, "we");
    fprintf(file, "%d\n", (int)pid);
    fclose(file);
    assert_int_equal(chmod(path, 0644), 0);
    return pid;
}

static void
domain_ends(pid_t pid)
{
    kill(pid, SIGKILL);
    waitpid(pid, NULL, 0);
}

/* What virsh was told; "" nothing. */
static const char *
told(void)
{
    static char line[256];
    char path[128];
    FILE *file;

    snprintf(path, sizeof path, "%s/told", top);
    line[0] = '\0';
    file = fopen(path, "re");
    if (file) {
        if (!fgets(line, sizeof line, file))
            line[0] = '\0';
        fclose(file);
        unlink(path);
    }
    return line;
}

static void
virsh_is(const char *what_else)
{
    static char path[128];
    FILE *file;

    snprintf(path, sizeof path, "%s/virsh", top);
    file = fopen(path, "we");
    fprintf(file, "#!/bin/sh\necho \"$*\" >'%s/told'\n%s\n", top, what_else);
    fclose(file);
    assert_int_equal(chmod(path, 0755), 0);
    settings.virsh = path;
    settings.libvirt_uri = "qemu:///system";
    settings.libvirt_run_dir = top;
}

static struct priv_request
stop_of(const char *name)
{
    struct priv_request r = { .op = PRIV_STOP_GUEST };
    struct error err;

    assert_int_equal(vm_uuid_parse(STOP_UUID, &r.uuid, &err), 0);
    snprintf(r.name, sizeof r.name, "%s", name);
    return r;
}

static void
nothing_is_done_with_a_guest_unless_root_says_so(void **state)
{
    pid_t pid = domain_runs("web1", STOP_UUID, "-device", OUR_CHANNEL);

    (void)state;
    virsh_is("");
    settings.fence_action = PRIV_FENCE_REPORT;
    assert_string_equal(ask(stop_of("web1"), -1, 0).answer.result, "report");
    assert_string_equal(ask(stop_of("absent"), -1, 0).answer.result, "report"); /* not even looked at */
    assert_string_equal(told(), "");
    domain_ends(pid);
}

static void
what_root_says_is_done_with_that_guest(void **state)
{
    pid_t pid = domain_runs("web1", STOP_UUID, "-device", OUR_CHANNEL);

    (void)state;
    virsh_is("");
    settings.fence_action = PRIV_FENCE_PAUSE;
    assert_string_equal(ask(stop_of("web1"), -1, 0).answer.result, "paused");
    assert_string_equal(told(), "--connect qemu:///system --quiet suspend " STOP_UUID "\n");
    settings.fence_action = PRIV_FENCE_DESTROY;
    assert_string_equal(ask(stop_of("web1"), -1, 0).answer.result, "destroyed");
    assert_string_equal(told(), "--connect qemu:///system --quiet destroy " STOP_UUID "\n");
    domain_ends(pid);
    assert_int_equal(ask(stop_of("web1"), -1, 0).answer.error.code, ERROR_MISSING);
    assert_string_equal(told(), "");
    settings.fence_action = PRIV_FENCE_REPORT;
}

static void
no_other_guest_is_stopped_whoever_asks(void **state)
{
    pid_t other = domain_runs("other", "00000000-1111-4222-8333-444444444444", "-device", OUR_CHANNEL);
    pid_t bare = domain_runs("bare", STOP_UUID, "-device", "{\"driver\":\"virtserialport\",\"name\":\"org.qemu.guest_agent.0\"}");
    pid_t named = domain_runs("named", STOP_UUID, "-name", OUR_CHANNEL);
    struct priv_reply reply;

    (void)state;
    virsh_is("");
    settings.fence_action = PRIV_FENCE_DESTROY;
    reply = ask(stop_of("other"), -1, 0);
    assert_string_equal(reply.answer.error.problem, "channel-foreign");
    reply = ask(stop_of("bare"), -1, 0); /* it is none of ours: it has not our channel */
    assert_string_equal(reply.answer.error.problem, "channel-foreign");
    reply = ask(stop_of("named"), -1, 0);
    assert_string_equal(reply.answer.error.problem, "channel-foreign");
    assert_int_equal(ask(stop_of("absent"), -1, 0).answer.error.code, ERROR_MISSING);
    assert_string_equal(told(), "");
    settings.fence_action = PRIV_FENCE_REPORT;
    domain_ends(other);
    domain_ends(bare);
    domain_ends(named);
}

static void
a_virsh_that_fails_is_an_error_to_be_asked_again(void **state)
{
    pid_t pid = domain_runs("web1", STOP_UUID, "-device", OUR_CHANNEL);

    (void)state;
    virsh_is("exit 1");
    settings.fence_action = PRIV_FENCE_PAUSE;
    assert_int_equal(ask(stop_of("web1"), -1, 0).answer.error.code, ERROR_SYSTEM);
    settings.virsh = "/nonexistent/virsh";
    assert_true(ask(stop_of("web1"), -1, 0).answer.error.code != ERROR_NONE);
    settings.fence_action = PRIV_FENCE_REPORT;
    domain_ends(pid);
}

int
main(void)
{
    const struct CMUnitTest t[] = {
        cmocka_unit_test(managed_save_is_told_by_its_file),
        cmocka_unit_test(descriptor_must_come_where_it_is_wanted_and_nowhere_else),
        cmocka_unit_test(loop_of_requests_is_slowed_down_and_a_minute_later_served),
        cmocka_unit_test(what_is_no_request_ends_the_connection_and_one_request_refused_does_not),
        cmocka_unit_test(payload_that_is_not_sealed_is_refused),
        cmocka_unit_test(deadline_without_a_bound_is_refused),
        cmocka_unit_test(injection_that_cannot_be_opened_is_answered_as_skipped),
        cmocka_unit_test(injection_whose_client_left_or_whose_time_is_over_is_dropped),
        cmocka_unit_test(waiting_injection_can_be_cancelled),
        cmocka_unit_test(nothing_is_done_with_a_guest_unless_root_says_so),
        cmocka_unit_test(what_root_says_is_done_with_that_guest),
        cmocka_unit_test(no_other_guest_is_stopped_whoever_asks),
        cmocka_unit_test(a_virsh_that_fails_is_an_error_to_be_asked_again),
    };

    return cmocka_run_group_tests_name("priv_table", t, set_up, tear_down);
}
