#include "config.h"

#include "plugin/payload.h"

#include <errno.h>
#include <fcntl.h>
#include <limits.h>
#include <stdio.h>
#include <string.h>
#include <sys/mman.h>
#include <unistd.h>

#include "lib/common/clock.h"
#include "lib/common/fdio.h"
#include "lib/common/process.h"
#include "lib/wire/bundle.h"
#include "lib/wire/priv_msg.h"
#include "plugin/agent_unit.h"

enum {
    FILE_MAX = 32 << 20,    /* libcrypto is 5 MiB */
    LIST_MAX = 65536,
    LIST_MS = 5000,
    LIBRARIES_MAX = 64,
};

#define GUEST_LIB_DIR "/usr/lib/virtid"
#define TCTI_LOADER "libtss2-tctildr.so"
#define TPM_DRIVER "libtss2-tcti-device.so.0"
#define LOADER "/lib64/ld-linux-x86-64.so.2"

/* The guest's folders, whatever --prefix this host's agent was built with. */
static const char agent_conf[] = "[agent]\nstate_dir=/etc/virtid\nrun_dir=/run/virtid\n";

/* What a guest with glibc has and must fit its own loader; the others get it with the loader. */
static bool
belongs_to_libc(const char *name)
{
    static const char *const stems[] = { "ld-linux", "libc.so", "libm.so", "libpthread.so",
                                         "libdl.so", "librt.so", "libresolv.so", "libutil.so",
                                         "libanl.so", "linux-vdso" };

    for (size_t i = 0; i < sizeof stems / sizeof stems[0]; i++) {
        if (strncmp(name, stems[i], strlen(stems[i])) == 0)
            return true;
    }
    return false;
}

static int
add_file(struct buf *into, const char *from, const char *to, uint32_t mode, struct error *err)
{
    CLEANUP(buf_clear) struct buf content = BUF(FILE_MAX);

    if (file_read(from, &content, err) < 0)
        return error_wrap(err, "the agent for the guest");
    return payload_add(into, to, mode, 'f', content.data, content.len, err);
}

/* "\tlibcrypto.so.3 => /lib/x86_64-linux-gnu/libcrypto.so.3 (0x...)" */
static bool
read_line(const char *line, char ret_name[static 256], char ret_path[static PATH_MAX])
{
    const char *arrow = strstr(line, " => /");
    size_t name_len, path_len;

    while (*line == '\t' || *line == ' ')
        line++;
    if (!arrow || arrow > line + strcspn(line, "\n")) /* linux-vdso has none */
        return false;
    name_len = (size_t)(arrow - line);
    path_len = strcspn(arrow + 4, " \n");
    if (name_len == 0 || name_len >= 256 || path_len >= PATH_MAX || memchr(line, '/', name_len))
        return false;
    memcpy(ret_name, line, name_len);
    ret_name[name_len] = '\0';
    memcpy(ret_path, arrow + 4, path_len);
    ret_path[path_len] = '\0';
    return true;
}

/* tctildr loads the driver of /dev/tpmrm0 by name when it runs; it lies beside it. */
static int
add_tpm_driver(struct buf *into, const char *loader_path, struct error *err)
{
    char path[PATH_MAX];

    snprintf(path, sizeof path, "%.*s" TPM_DRIVER, (int)(strrchr(loader_path, '/') + 1 - loader_path),
             loader_path);
    return add_file(into, path, GUEST_LIB_DIR "/" TPM_DRIVER, 0755, err);
}

static int
add_libraries(struct buf *into, const char *list, bool libc, struct error *err)
{
    char name[256], path[PATH_MAX], to[320];
    unsigned n = 0;

    for (const char *line = list; line && *line; line = strchr(line, '\n')) {
        line += *line == '\n';
        if (strstr(line, "=> not found") && strstr(line, "=> not found") < line + strcspn(line, "\n"))
            return error_set(err, ERROR_MISSING, "the agent's libraries are not all on this host");
        if (!read_line(line, name, path) || belongs_to_libc(name) != libc)
            continue;
        if (++n > LIBRARIES_MAX)
            return error_set(err, ERROR_INPUT, "the agent needs more than %d libraries", LIBRARIES_MAX);
        snprintf(to, sizeof to, "%s/%s", GUEST_LIB_DIR, name);
        if (add_file(into, path, to, 0755, err) < 0)
            return -1;
        if (strncmp(name, TCTI_LOADER, strlen(TCTI_LOADER)) == 0 &&
            add_tpm_driver(into, path, err) < 0)
            return -1;
    }
    return 0;
}

/* The dynamic loader's own list of what it would load: no PATH, no shell, no cache of ours. */
static int
list_libraries(const char *program, struct buf *into, struct error *err)
{
    const char *argv[] = { LOADER, "--list", program, NULL };
    struct process_spawn spawn = PROCESS_SPAWN(argv);
    int pipe_fds[2];
    pid_t pid;
    int failed;

    if (pipe2(pipe_fds, O_CLOEXEC) < 0)
        return error_sys(err, errno, "pipe");
    spawn.stdout_fd = pipe_fds[1];
    spawn.die_with_parent = false; /* it would mean this thread */
    failed = process_start(&spawn, &pid, err);
    fd_close(pipe_fds[1]);
    if (failed == 0) {
        failed = fd_read_to_end(pipe_fds[0], into, err);
        if (process_wait(pid, clock_monotonic_ms() + LIST_MS, err) < 0)
            failed = -1;
    }
    fd_close(pipe_fds[0]);
    return failed < 0 ? error_wrap(err, "libraries of %s", program) : 0;
}

static int
add_text(struct buf *into, const char *path, uint32_t mode, const char *text, struct error *err)
{
    return payload_add(into, path, mode, 'f', text, strlen(text), err);
}

static int
add_link(struct buf *into, const char *path, const char *target, struct error *err)
{
    return payload_add(into, path, 0777, 'l', target, strlen(target), err);
}

/* What follows is for some guests only: plugin/inject/guest_init.c. */
static int
begin_section(struct buf *into, const char *name, struct error *err)
{
    return payload_add(into, name, 0, 's', NULL, 0, err);
}

static int
add_systemd(struct buf *into, struct error *err)
{
    static const char unit[] = "/etc/systemd/system/virtid-agent.service";

    if (begin_section(into, "/systemd", err) < 0 || add_text(into, unit, 0644, agent_unit, err) < 0 ||
        payload_add(into, "/etc/systemd/system/multi-user.target.wants", 0755, 'd', NULL, 0, err) < 0)
        return -1;
    return add_link(into, "/etc/systemd/system/multi-user.target.wants/virtid-agent.service", unit, err);
}

/* Such guests may have another C library, or none of it that is new enough. */
static int
add_scripts(struct buf *into, const char *list, struct error *err)
{
    if (begin_section(into, "/scripts", err) < 0 ||
        add_file(into, LOADER, GUEST_LIB_DIR "/ld-linux-x86-64.so.2", 0755, err) < 0 ||
        add_libraries(into, list, true, err) < 0 ||
        add_text(into, GUEST_LIB_DIR "/run-agent", 0755, agent_run, err) < 0)
        return -1;
    return add_text(into, GUEST_LIB_DIR "/prepare-agent", 0755, agent_prepare, err);
}

static int
add_openrc(struct buf *into, struct error *err)
{
    if (begin_section(into, "/openrc", err) < 0 ||
        add_text(into, "/etc/init.d/virtid-agent", 0755, agent_openrc, err) < 0)
        return -1;
    return add_link(into, "/etc/runlevels/default/virtid-agent", "/etc/init.d/virtid-agent", err);
}

/* As `update-rc.d virtid-agent defaults` does. */
static int
add_sysvinit(struct buf *into, struct error *err)
{
    static const char levels[] = "0123456";
    char path[64];

    if (begin_section(into, "/sysvinit", err) < 0 ||
        add_text(into, GUEST_LIB_DIR "/keep-agent", 0755, agent_keep, err) < 0 ||
        add_text(into, "/etc/init.d/virtid-agent", 0755, agent_sysvinit, err) < 0)
        return -1;
    for (const char *level = levels; *level; level++) {
        snprintf(path, sizeof path, "/etc/rc%c.d/%s01virtid-agent", *level,
                 strchr("016", *level) ? "K" : "S");
        if (add_link(into, path, "../init.d/virtid-agent", err) < 0)
            return -1;
    }
    return 0;
}

static int
add_agent(struct buf *into, const char *program, struct error *err)
{
    CLEANUP(buf_clear) struct buf list = BUF(LIST_MAX);

    if (list_libraries(program, &list, err) < 0 || !buf_text(&list))
        return -1;
    if (payload_add(into, GUEST_LIB_DIR, 0755, 'd', NULL, 0, err) < 0 ||
        add_file(into, program, GUEST_LIB_DIR "/virtid-agent", 0755, err) < 0 ||
        add_libraries(into, buf_text(&list), false, err) < 0 ||
        add_text(into, "/etc/virtid/agent.conf", 0644, agent_conf, err) < 0 ||
        add_systemd(into, err) < 0 || add_scripts(into, buf_text(&list), err) < 0 ||
        add_openrc(into, err) < 0)
        return -1;
    return add_sysvinit(into, err);
}

static int
add_bundle(struct buf *into, const char *state_dir, struct error *err)
{
    CLEANUP(buf_clear) struct buf bundle = BUF(BUNDLE_MAX);
    char path[PATH_MAX];

    snprintf(path, sizeof path, "%s/bundle", state_dir);
    if (file_read(path, &bundle, err) < 0)
        return error_wrap(err, "trust bundle");
    return payload_add(into, "/etc/virtid/bundle", 0644, 'f', bundle.data, bundle.len, err);
}

static int
seal(const struct buf *payload, int *ret_fd, struct error *err)
{
    CLEANUP(fd_close) int fd = memfd_create("virtid-payload", MFD_CLOEXEC | MFD_ALLOW_SEALING);

    if (fd < 0)
        return error_sys(err, errno, "payload");
    if (fd_write_all(fd, payload->data, payload->len, err) < 0)
        return -1;
    if (fcntl(fd, F_ADD_SEALS, F_SEAL_SEAL | F_SEAL_SHRINK | F_SEAL_GROW | F_SEAL_WRITE) < 0)
        return error_sys(err, errno, "payload");
    *ret_fd = fd_steal(&fd);
    return 0;
}

int
payload_make(const struct hostd_settings *settings, bool install_agent, int *ret_fd,
             struct error *err)
{
    CLEANUP(buf_clear) struct buf payload = BUF(PRIV_PAYLOAD_MAX);

    if (add_bundle(&payload, settings->state_dir, err) < 0 ||
        (install_agent && add_agent(&payload, settings->agent_program, err) < 0))
        return -1;
    if (!buf_ok(&payload))
        return error_set(err, buf_error_code(&payload), "the payload is larger than %d MiB", PRIV_PAYLOAD_MAX >> 20);
    return seal(&payload, ret_fd, err);
}
