/*
 * Workloads of a running agent: real users, groups, namespaces and cgroups on its socket; the rules change under it;
 * files, `exec`, and systemd's way to load a credential.
 */
#include "config.h"

#include <fcntl.h>
#include <grp.h>
#include <sched.h>
#include <setjmp.h>
#include <signal.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/un.h>
#include <sys/wait.h>
#include <unistd.h>

#include <cmocka.h>

#include "lib/common/clock.h"
#include "lib/common/fdio.h"
#include "tests/flow/agent_rig.h"
#include "tests/unit/skip_missing.h"

enum { SHOP = 54001, WEB = 54002, TOKENS = 54010 };

static struct rig rig;
static char cgroup_dir[400], cgroup_name[300]; /* "": none can be made here */

static void
put_rules(struct rig *r, const char *text)
{
    struct error err = { 0 };
    char path[128];

    snprintf(path, sizeof path, "%s/workloads.conf", r->folder);
    assert_int_equal(file_replace(path, text, strlen(text), 0644, &err), 0);
}

static int
set_up(void **state)
{
    char line[160], path[128];

    rig_new(&rig, false);
    snprintf(line, sizeof line, "workloads=%s/workloads.conf\n", rig.folder);
    rig_configure(&rig, line);
    assert_int_equal(chmod(rig.folder, 0755), 0);
    snprintf(path, sizeof path, "%s/run", rig.folder);
    assert_int_equal(mkdir(path, 0755), 0);
    assert_int_equal(chmod(path, 0755), 0);
    *state = &rig;
    return 0;
}

static int
tear_down(void **state)
{
    rig_free(*state);
    return 0;
}

/* A cgroup of the unified hierarchy, beside our own. */
static int
make_cgroup(void **state)
{
    char own[200] = "", line[600], mount[200] = "";
    FILE *f = fopen("/proc/self/cgroup", "re");

    (void)state;
    while (f && fgets(line, sizeof line, f))
        (void)sscanf(line, "0::%199s", own);
    if (f)
        fclose(f);
    f = fopen("/proc/self/mounts", "re");
    while (f && !mount[0] && fgets(line, sizeof line, f)) {
        char at[200], type[32];

        if (sscanf(line, "%*s %199s %31s", at, type) == 2 && strcmp(type, "cgroup2") == 0)
            snprintf(mount, sizeof mount, "%s", at);
    }
    if (f)
        fclose(f);
    snprintf(cgroup_name, sizeof cgroup_name, "%s/virtid-test-%d", strcmp(own, "/") == 0 ? "" : own, (int)getpid());
    snprintf(cgroup_dir, sizeof cgroup_dir, "%.190s%s%.180s", mount, strncmp(own, "/..", 3) == 0 ? "/" : "", cgroup_name);
    if (!mount[0] || !own[0] || geteuid() != 0 || mkdir(cgroup_dir, 0755) < 0)
        cgroup_dir[0] = '\0';
    return 0;
}

static int
remove_cgroup(void **state)
{
    (void)state;
    return cgroup_dir[0] ? rmdir(cgroup_dir) : 0;
}

/* ---- who asks ---- */

struct who {
    uid_t uid;
    gid_t gid, second; /* 0: none */
    int namespaces;    /* unshare(2) */
    bool in_cgroup;
};

static bool
enter_cgroup(void)
{
    CLEANUP(fd_close) int fd = -1;
    char path[450];

    snprintf(path, sizeof path, "%s/cgroup.procs", cgroup_dir);
    fd = open(path, O_WRONLY | O_CLOEXEC);
    return fd >= 0 && write(fd, "0", 1) == 1;
}

/* Ends the process if it can not become `who`; may fork, for a pid namespace. */
static void
become(const struct who *who)
{
    gid_t groups[1] = { who->second };
    int status;

    if ((who->in_cgroup && !enter_cgroup()) || (who->namespaces && unshare(who->namespaces) < 0))
        _exit(250);
    if (who->namespaces & CLONE_NEWPID) {
        pid_t pid = fork();

        if (pid != 0)
            _exit(waitpid(pid, &status, 0) == pid && WIFEXITED(status) ? WEXITSTATUS(status) : 250);
    }
    if (setgroups(who->second ? 1 : 0, groups) < 0 || setresgid(who->gid, who->gid, who->gid) < 0 ||
        setresuid(who->uid, who->uid, who->uid) < 0)
        _exit(250);
}

/* The status line's number of one request, or -1; the body into ret. */
static int
ask(struct rig *r, const char *target, char *ret, size_t size)
{
    CLEANUP(fd_close) int fd = -1;
    CLEANUP(buf_clear) struct buf reply = BUF(70000);
    struct error err = { 0 };
    char path[128], request[500];
    const char *body;

    snprintf(path, sizeof path, "%s/run/agent.sock", r->folder);
    if (unix_connect(path, SOCK_STREAM, &fd, &err) < 0)
        return -1;
    snprintf(request, sizeof request, "%.300s HTTP/1.1\r\nHost: l\r\nX-Virtid: 1\r\n%s\r\n", target,
             strncmp(target, "POST", 4) == 0 ? "Content-Length: 0\r\n" : "");
    (void)fd_write_all(fd, request, strlen(request), &err);
    (void)fd_read_to_end(fd, &reply, &err);
    body = buf_text(&reply) ? strstr(buf_text(&reply), "\r\n\r\n") : NULL;
    snprintf(ret, size, "%s", body ? body + 4 : "");
    return reply.len > 12 && memcmp(reply.data, "HTTP/1.1 ", 9) == 0 ? atoi((const char *)reply.data + 9) : -1;
}

/* The same as `who`: 200, 403, or -1 for anything else; the body into ret (NULL: not wanted). */
static int
ask_as(struct rig *r, const struct who *who, const char *target, char *ret, size_t size)
{
    char body[4000] = "";
    int ends[2], status, got;
    ssize_t n;
    pid_t pid;

    assert_int_equal(pipe2(ends, O_CLOEXEC), 0);
    pid = fork();
    if (pid == 0) {
        become(who);
        got = ask(r, target, body, sizeof body);
        (void)!write(ends[1], body, strlen(body));
        _exit(got == 200 ? 200 : got == 403 ? 201 : 202);
    }
    close(ends[1]);
    n = read(ends[0], body, sizeof body - 1);
    close(ends[0]);
    body[n > 0 ? n : 0] = '\0';
    if (ret)
        snprintf(ret, size, "%s", body);
    assert_int_equal(waitpid(pid, &status, 0), pid);
    assert_true(WIFEXITED(status) && WEXITSTATUS(status) != 250);
    return WEXITSTATUS(status) == 200 ? 200 : WEXITSTATUS(status) == 201 ? 403 : -1;
}

/* One letter for each of db, pay, other. */
static void
gets(struct rig *r, const struct who *who, const char *may, const char *problem)
{
    static const char *const targets[] = { "GET /v1/token?audience=db", "GET /v1/token?audience=pay",
                                           "GET /v1/token?audience=other" };

    for (size_t i = 0; i < 3; i++) {
        char body[2000];
        int status = ask_as(r, who, targets[i], body, sizeof body);

        if (status != (may[i] == 'y' ? 200 : 403))
            fail_msg("uid %d, gid %d %d, namespaces %x, cgroup %d, %s: %d %s", (int)who->uid, (int)who->gid,
                     (int)who->second, (unsigned)who->namespaces, who->in_cgroup, targets[i], status, body);
        if (status == 403 && strcmp(may, "---") == 0)
            assert_non_null(strstr(body, problem));
    }
}

static const char RULES[] = "[workload shop]\nuid = 54001\naudiences = db\n"
                            "[workload tokens]\ngid = 54010\naudiences = pay\n";

static void
users_and_groups_get_what_the_rules_name(void **state)
{
    struct rig *r = *state;

    if (geteuid() != 0)
        skip_missing("root");
    put_rules(r, RULES);
    rig_start_agent(r);
    assert_int_equal(rig_token(r, "db", 60, NULL, 0), 0);
    gets(r, &(struct who){ 0, 0, 0, 0, false }, "yyy", "");
    gets(r, &(struct who){ SHOP, SHOP, 0, 0, false }, "y--", "workload-audience");
    gets(r, &(struct who){ SHOP, TOKENS, 0, 0, false }, "yy-", "");
    gets(r, &(struct who){ WEB, WEB, TOKENS, 0, false }, "-y-", "");
    gets(r, &(struct who){ WEB, WEB, 0, 0, false }, "---", "workload-unknown");
    gets(r, &(struct who){ WEB, SHOP, 0, 0, false }, "---", "workload-unknown");
    gets(r, &(struct who){ 65534, 65534, 0, 0, false }, "---", "workload-unknown");
    rig_stop_agent(r);
}

/* The socket is there for all of them, as if it were mounted into the container. */
static void
a_container_gets_nothing_unless_its_cgroup_is_named(void **state)
{
    static const int kinds[] = { CLONE_NEWNS, CLONE_NEWPID, CLONE_NEWNS | CLONE_NEWPID,
                                 CLONE_NEWNS | CLONE_NEWPID | CLONE_NEWCGROUP | CLONE_NEWNET | CLONE_NEWUTS };
    struct rig *r = *state;
    char text[1000];

    if (geteuid() != 0 || !cgroup_dir[0])
        skip_missing("root, and a cgroup2 in which it can make a group");
    put_rules(r, "[workload shop]\nuid = 0 54001\ngid = 0 54001\naudiences = db pay\n");
    rig_start_agent(r);
    assert_int_equal(rig_token(r, "db", 60, NULL, 0), 0);
    for (size_t i = 0; i < sizeof kinds / sizeof *kinds; i++) {
        gets(r, &(struct who){ 0, 0, 0, kinds[i], false }, "---", "workload-container");
        gets(r, &(struct who){ 0, 0, 0, kinds[i], true }, "---", "workload-container");
        gets(r, &(struct who){ SHOP, SHOP, 0, kinds[i], true }, "---", "workload-container");
    }
    gets(r, &(struct who){ SHOP, SHOP, 0, 0, true }, "yy-", "");
    snprintf(text, sizeof text, "[workload box]\ncgroup = %s\naudiences = db\n"
             "[workload one]\ncgroup = %s\nuid = 54001\naudiences = pay\n", cgroup_name, cgroup_name);
    put_rules(r, text);
    assert_int_equal(rig_run(r, (const char *[]){ "reload", NULL }, text, sizeof text), 0);
    for (size_t i = 0; i < sizeof kinds / sizeof *kinds; i++) {
        gets(r, &(struct who){ 0, 0, 0, kinds[i], true }, "y--", "");
        gets(r, &(struct who){ SHOP, SHOP, 0, kinds[i], true }, "yy-", "");
        gets(r, &(struct who){ 0, 0, 0, kinds[i], false }, "---", "workload-container");
        gets(r, &(struct who){ SHOP, SHOP, 0, kinds[i], false }, "---", "workload-container");
    }
    rig_stop_agent(r);
}

/* What it asks for itself is for root alone, whatever it is named for. */
static void
nobody_but_root_has_its_key_or_its_rules(void **state)
{
    struct rig *r = *state;
    struct who shop = { SHOP, SHOP, 0, 0, false };
    char body[2000];

    if (geteuid() != 0)
        skip_missing("root");
    put_rules(r, "[workload shop]\nuid = 54001\naudiences = db virtid-connect\n");
    rig_start_agent(r);
    assert_int_equal(rig_token(r, "db", 60, NULL, 0), 0);
    assert_int_equal(ask_as(r, &shop, "POST /v1/reload", body, sizeof body), 403);
    assert_non_null(strstr(body, "only root"));
    assert_int_equal(ask_as(r, &shop, "POST /v1/pop", NULL, 0), 403);
    assert_int_equal(ask_as(r, &shop, "GET /v1/status", NULL, 0), 200);
    assert_int_equal(ask_as(r, &shop, "GET /v1/audiences", body, sizeof body), 200);
    assert_string_equal(body, "{\"any\":false,\"audiences\":[{\"audience\":\"db\"},{\"audience\":\"virtid-connect\"}]}");
    assert_int_equal(ask_as(r, &(struct who){ WEB, WEB, 0, 0, false }, "GET /v1/status", NULL, 0), 403);
    assert_int_equal(ask_as(r, &(struct who){ WEB, WEB, 0, 0, false }, "GET /v1/audiences", NULL, 0), 403);
    rig_stop_agent(r);
}

/* Idle connections of one user, which are as many as he can make, leave room for root and for others. */
static void
one_user_does_not_take_the_place_of_others(void **state)
{
    struct rig *r = *state;
    char path[128], ready;
    int ends[2];
    pid_t pid;

    if (geteuid() != 0)
        skip_missing("root");
    put_rules(r, RULES);
    rig_start_agent(r);
    assert_int_equal(rig_token(r, "db", 60, NULL, 0), 0);
    assert_int_equal(rig_token(r, "pay", 60, NULL, 0), 0);
    snprintf(path, sizeof path, "%s/run/agent.sock", r->folder);
    assert_int_equal(pipe2(ends, O_CLOEXEC), 0);
    pid = fork();
    if (pid == 0) {
        struct error err;
        int fd;

        become(&(struct who){ SHOP, SHOP, 0, 0, false });
        for (int i = 0; i < 60; i++)
            (void)unix_connect(path, SOCK_STREAM, &fd, &err);
        (void)!write(ends[1], "", 1);
        (void)pause();
        _exit(0);
    }
    assert_int_equal(read(ends[0], &ready, 1), 1);
    for (int i = 0; i < 20; i++) {
        assert_int_equal(ask_as(r, &(struct who){ WEB, TOKENS, 0, 0, false }, "GET /v1/token?audience=pay", NULL, 0), 200);
        assert_int_equal(ask_as(r, &(struct who){ 0, 0, 0, 0, false }, "GET /v1/token?audience=db", NULL, 0), 200);
    }
    kill(pid, SIGKILL);
    assert_int_equal(waitpid(pid, NULL, 0), pid);
    close(ends[0]);
    close(ends[1]);
    rig_stop_agent(r);
}

/* ---- rules that change ---- */

static void
rules_change_while_it_runs_and_a_broken_file_changes_nothing(void **state)
{
    struct rig *r = *state;
    struct who shop = { SHOP, SHOP, 0, 0, false }, web = { WEB, WEB, 0, 0, false };
    const char *const reload[] = { "reload", NULL }, *const status[] = { "status", NULL };
    char text[2000];

    if (geteuid() != 0)
        skip_missing("root");
    put_rules(r, RULES);
    rig_start_agent(r);
    assert_int_equal(rig_token(r, "db", 60, NULL, 0), 0);
    gets(r, &shop, "y--", "");
    put_rules(r, "[workload web]\nuid = 54002\naudiences = db\n[workload x]\nuid = no-such-user\n");
    gets(r, &shop, "y--", ""); /* nobody said so yet */
    assert_int_equal(rig_run(r, reload, text, sizeof text), 2);
    assert_true(rig_log_has(r, "workloads.conf:5: [workload x] uid: there is no user \"no-such-user\""));
    gets(r, &shop, "y--", "");
    gets(r, &web, "---", "workload-unknown");
    (void)rig_run(r, status, text, sizeof text);
    assert_non_null(strstr(text, "workloads.conf:5: "));
    put_rules(r, "[workload web]\nuid = 54002\naudiences = db\n");
    assert_int_equal(rig_run(r, reload, text, sizeof text), 0);
    gets(r, &shop, "---", "workload-unknown");
    gets(r, &web, "y--", "");
    (void)rig_run(r, status, text, sizeof text);
    assert_null(strstr(text, "workloads.conf"));
    rig_stop_agent(r);
}

static void
an_agent_that_does_not_understand_its_rules_serves_root_alone(void **state)
{
    struct rig *r = *state;
    char text[2000];

    if (geteuid() != 0)
        skip_missing("root");
    put_rules(r, "[workload shop]\nuid = 54001\naudiences = db\nsurprise = yes\n");
    rig_start_agent(r);
    assert_int_equal(rig_token(r, "db", 60, NULL, 0), 0);
    gets(r, &(struct who){ SHOP, SHOP, 0, 0, false }, "---", "workload-unknown");
    (void)rig_run(r, (const char *[]){ "status", NULL }, text, sizeof text);
    assert_non_null(strstr(text, "workloads.conf:4: "));
    rig_stop_agent(r);
}

/* ---- files ---- */

static bool
can_read(const char *path, const struct who *who)
{
    int status;
    pid_t pid = fork();

    if (pid == 0) {
        become(who);
        _exit(open(path, O_RDONLY | O_CLOEXEC) >= 0 ? 0 : 1);
    }
    assert_int_equal(waitpid(pid, &status, 0), pid);
    return WIFEXITED(status) && WEXITSTATUS(status) == 0;
}

static void
a_file_has_the_token_and_is_for_whom_it_is(void **state)
{
    struct rig *r = *state;
    CLEANUP(buf_clear) struct buf text = BUF(5000);
    char path[200], token[5000], said[1000];
    struct error err = { 0 };

    if (geteuid() != 0)
        skip_missing("root");
    put_rules(r, "[workload shop]\nuid = 54001\naudiences = db\n"
                 "[file db]\naudience = db\nowner = 54001\n[file p]\naudience = https://p/\ngroup = 54010\n");
    rig_start_agent(r);
    snprintf(path, sizeof path, "%s/run/tokens/db", r->folder);
    for (int i = 0; i < 1200 && access(path, F_OK) < 0; i++)
        usleep(50000);
    assert_int_equal(file_read(path, &text, &err), 0);
    assert_int_equal(rig_token(r, "db", 0, token, sizeof token), 0);
    assert_string_equal(buf_text(&text), token);
    assert_true(can_read(path, &(struct who){ SHOP, SHOP, 0, 0, false }));
    assert_false(can_read(path, &(struct who){ WEB, WEB, SHOP, 0, false }));
    snprintf(path, sizeof path, "%s/run/tokens/https=3A=2F=2Fp=2F", r->folder);
    for (int i = 0; i < 1200 && access(path, F_OK) < 0; i++)
        usleep(50000);
    assert_true(can_read(path, &(struct who){ WEB, WEB, TOKENS, 0, false }));
    assert_false(can_read(path, &(struct who){ SHOP, SHOP, 0, 0, false }));
    assert_int_equal(rig_run(r, (const char *[]){ "audiences", NULL }, said, sizeof said), 0);
    assert_non_null(strstr(said, "db  "));
    assert_non_null(strstr(said, path));
    /* No rule is for it any more: it goes. */
    put_rules(r, "");
    assert_int_equal(rig_run(r, (const char *[]){ "reload", NULL }, said, sizeof said), 0);
    for (int i = 0; i < 200 && access(path, F_OK) == 0; i++)
        usleep(50000);
    assert_int_equal(access(path, F_OK), -1);
    rig_stop_agent(r);
}

/* ---- exec ---- */

/* `virtid-agent exec -a db -- sh -c SCRIPT`. */
static int
exec_script(struct rig *r, const char *script, char *ret, size_t size)
{
    return rig_run(r, (const char *[]){ "exec", "-a", "db", "-w", "60", "--", "sh", "-c", script, NULL }, ret, size);
}

static void
a_command_finds_its_token_in_a_descriptor_and_nowhere_else(void **state)
{
    struct rig *r = *state;
    char text[5000], token[300];
    unsigned long long ignored = 0;


    rig_start_agent(r);
    assert_int_equal(rig_token(r, "db", 60, token, sizeof token), 0);
    assert_int_equal(exec_script(r, "cat <&$VIRTID_TOKEN_FD", text, sizeof text), 0);
    assert_string_equal(text, token);
    /* Opened anew, it is there from its beginning, as often as one likes; nobody can change it. */
    assert_int_equal(exec_script(r, "cat /dev/fd/$VIRTID_TOKEN_FD /dev/fd/$VIRTID_TOKEN_FD", text, sizeof text), 0);
    assert_int_equal(strlen(text), 2 * strlen(token));
    assert_int_not_equal(exec_script(r, "echo x >/dev/fd/$VIRTID_TOKEN_FD", text, sizeof text), 0);
    assert_int_equal(exec_script(r, "tr '\\0' '\\n' </proc/self/environ; tr '\\0' '\\n' </proc/$$/cmdline", text, sizeof text), 0);
    assert_null(strstr(text, "token-"));
    assert_non_null(strstr(text, "VIRTID_TOKEN_FD="));
    /* Nothing else is left open, and nothing else is other than it would have been. */
    assert_int_equal(exec_script(r, "ls -l /proc/$$/fd | grep -c -e memfd -e socket", text, sizeof text), 0);
    assert_string_equal(text, "1\n");
    assert_int_equal(exec_script(r, "exec grep -e NoNewPrivs -e SigIgn -e SigBlk /proc/self/status", text, sizeof text), 0);
    assert_null(strstr(text, "NoNewPrivs:\t1"));
    assert_non_null(strstr(text, "SigBlk:\t0000000000000000"));
    assert_int_equal(sscanf(strstr(text, "SigIgn:"), "SigIgn: %llx", &ignored), 1);
    assert_true((ignored & 1ull << (SIGPIPE - 1)) == 0); /* others may be ignored by whoever started this test */
    rig_stop_agent(r);
}

static void
its_exit_status_is_the_commands(void **state)
{
    struct rig *r = *state;
    char text[1000];

    rig_start_agent(r);
    assert_int_equal(exec_script(r, "exit 42", text, sizeof text), 42);
    assert_int_equal(exec_script(r, "kill -9 $$", text, sizeof text), 128); /* the rig's word for a signal */
    assert_int_equal(rig_run(r, (const char *[]){ "exec", "-a", "db", "--", "no-such-command", NULL }, text, sizeof text), 127);
    assert_int_equal(rig_run(r, (const char *[]){ "exec", "-a", "db", "--", "/etc", NULL }, text, sizeof text), 126);
    assert_int_equal(rig_run(r, (const char *[]){ "exec", "-a", "two words", "--", "true", NULL }, text, sizeof text), 125);
    assert_true(rig_log_has(r, "true is not started"));
    assert_int_equal(rig_run(r, (const char *[]){ "exec", "--", "true", NULL }, text, sizeof text), 2);
    assert_int_equal(rig_run(r, (const char *[]){ "exec", "-a", "db", NULL }, text, sizeof text), 2);
    rig_stop_agent(r);
    assert_int_equal(rig_run(r, (const char *[]){ "exec", "-a", "db", "--", "true", NULL }, text, sizeof text), 125);
}

/* ---- a credential of systemd's ---- */

/*
 * As systemd 250 and later do (src/core/execute.c, src/basic/fileio.c): a process of root in a mount namespace of its
 * own, in the unit's cgroup, binds RANDOM/unit/UNIT/CREDENTIAL in the abstract namespace, connects, ends its side and
 * reads to the end.
 */
static int
load_credential(struct rig *r, const struct who *who, const char *address, char *ret, size_t size)
{
    int ends[2], status;
    size_t got = 0;
    ssize_t n;
    pid_t pid;

    assert_int_equal(pipe2(ends, O_CLOEXEC), 0);
    pid = fork();
    if (pid == 0) {
        struct sockaddr_un own = { .sun_family = AF_UNIX }, to = { .sun_family = AF_UNIX };
        CLEANUP(buf_clear) struct buf text = BUF(70000);
        size_t len = strlen(address);
        struct error err;
        int fd;

        become(who);
        fd = socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0);
        memcpy(own.sun_path + 1, address, len);
        snprintf(to.sun_path, sizeof to.sun_path, "%.90s/run/agent.sock", r->folder);
        if (bind(fd, (struct sockaddr *)&own, (socklen_t)(offsetof(struct sockaddr_un, sun_path) + 1 + len)) < 0 ||
            connect(fd, (struct sockaddr *)&to, sizeof to) < 0 || shutdown(fd, SHUT_WR) < 0)
            _exit(251);
        if (fd_read_to_end(fd, &text, &err) < 0)
            _exit(252);
        (void)!write(ends[1], text.data, text.len);
        _exit(0);
    }
    close(ends[1]);
    while (got + 1 < size && (n = read(ends[0], ret + got, size - 1 - got)) > 0)
        got += (size_t)n;
    ret[got] = '\0';
    close(ends[0]);
    assert_int_equal(waitpid(pid, &status, 0), pid);
    return WIFEXITED(status) ? WEXITSTATUS(status) : -1;
}

static void
a_unit_gets_its_token_as_a_credential(void **state)
{
    struct who unit = { 0, 0, 0, CLONE_NEWNS, true }, container = { 0, 0, 0, CLONE_NEWNS, false };
    struct rig *r = *state;
    char text[2000];

    if (geteuid() != 0 || !cgroup_dir[0])
        skip_missing("root, and a cgroup2 in which it can make a group");
    snprintf(text, sizeof text, "[workload shop]\ncgroup = %s\naudiences = db https://p/\n", cgroup_name);
    put_rules(r, text);
    rig_start_agent(r);
    /* Before the first proof: it is waited for. */
    assert_int_equal(load_credential(r, &unit, "9f3b2c4d5e6f7081/unit/shop.service/db", text, sizeof text), 0);
    assert_string_equal(text, "token-1.db.factors-5.fresh");
    assert_int_equal(load_credential(r, &unit, "1/unit/shop.service/https=3A=2F=2Fp=2F", text, sizeof text), 0);
    assert_non_null(strstr(text, "token-2.https://p/."));
    /* The address says what is asked, not who asks. */
    assert_int_equal(load_credential(r, &container, "2/unit/shop.service/db", text, sizeof text), 0);
    assert_string_equal(text, "");
    assert_int_equal(load_credential(r, &(struct who){ SHOP, SHOP, 0, 0, false }, "3/unit/shop.service/db", text,
                                     sizeof text), 0);
    assert_string_equal(text, "");
    assert_int_equal(load_credential(r, &unit, "4/unit/shop.service/other", text, sizeof text), 0);
    assert_string_equal(text, "");
    assert_int_equal(load_credential(r, &unit, "5/unit/shop.service/d b", text, sizeof text), 0);
    assert_string_equal(text, "");
    rig_stop_agent(r);
}

#define WITH_RIG(name) cmocka_unit_test_setup_teardown(name, set_up, tear_down)

int
main(void)
{
    const struct CMUnitTest tests[] = {
        WITH_RIG(users_and_groups_get_what_the_rules_name),
        WITH_RIG(a_container_gets_nothing_unless_its_cgroup_is_named),
        WITH_RIG(nobody_but_root_has_its_key_or_its_rules),
        WITH_RIG(one_user_does_not_take_the_place_of_others),
        WITH_RIG(rules_change_while_it_runs_and_a_broken_file_changes_nothing),
        WITH_RIG(an_agent_that_does_not_understand_its_rules_serves_root_alone),
        WITH_RIG(a_file_has_the_token_and_is_for_whom_it_is),
        WITH_RIG(a_command_finds_its_token_in_a_descriptor_and_nowhere_else),
        WITH_RIG(its_exit_status_is_the_commands),
        WITH_RIG(a_unit_gets_its_token_as_a_credential),
    };

    signal(SIGPIPE, SIG_IGN);
    return cmocka_run_group_tests_name("agent_workload", tests, make_cgroup, remove_cgroup);
}
