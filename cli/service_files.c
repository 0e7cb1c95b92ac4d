#include "config.h"

#include "cli/service_files.h"

#include <errno.h>
#include <pwd.h>
#include <stdio.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include "lib/common/clock.h"
#include "lib/common/conf.h"
#include "lib/common/fdio.h"
#include "lib/common/process.h"

enum { TOOL_MS = 600 * 1000 };

static int
take(void *context, const char *section, const char *name, const char *value, struct error *err)
{
    struct service_files *f = context;
    const struct {
        const char *section, *name;
        char *into;
        size_t size;
    } known[] = {
        { "service", "state_dir", f->state_dir, sizeof f->state_dir },
        { "service", "key_dir", f->key_dir, sizeof f->key_dir },
        { "users", "service", f->service_user, sizeof f->service_user },
        { "users", "signer", f->signer_user, sizeof f->signer_user },
    };

    for (size_t i = 0; i < sizeof known / sizeof *known; i++) {
        if (strcmp(section, known[i].section) != 0 || strcmp(name, known[i].name) != 0)
            continue;
        if (strlen(value) >= known[i].size)
            return error_set(err, ERROR_INPUT, "[%s] %s is too long", section, name);
        strcpy(known[i].into, value);
    }
    return 0;
}

int
service_files_read(const char *config, struct service_files *ret, struct error *err)
{
    return conf_each(config, false, take, ret, err);
}

int
service_files_find(const char *config, struct service_files *ret, struct error *err)
{
    struct service_files f = { .state_dir = SERVICE_STATE_DIR,
                               .key_dir = SERVICE_KEY_DIR,
                               .service_user = SERVICE_USER,
                               .signer_user = SIGNER_USER };
    const char *slash = strrchr(config, '/');

    if (strlen(config) >= sizeof f.config || !slash || slash == config || !slash[1])
        return error_set(err, ERROR_INPUT, "%s is no absolute path of a file", config);
    strcpy(f.config, config);
    snprintf(f.config_dir, sizeof f.config_dir, "%.*s", (int)(slash - config), config);
    strcpy(f.config_name, slash + 1);
    f.configured = access(config, F_OK) == 0;
    if (f.configured && service_files_read(config, &f, err) < 0)
        return -1;
    *ret = f;
    return 0;
}

static int
find_user(const char *user, struct passwd **ret, struct error *err)
{
    *ret = user && geteuid() == 0 ? getpwnam(user) : NULL;
    if (user && geteuid() == 0 && !*ret)
        return error_set(err, ERROR_MISSING,
                         "there is no user \"%s\": run systemd-sysusers, or useradd --system %s", user, user);
    return 0;
}

int
service_folder(const char *path, mode_t mode, const char *user, struct error *err)
{
    struct passwd *who;

    if (find_user(user, &who, err) < 0 || dir_make(path, mode, err) < 0)
        return -1;
    if (chmod(path, mode) < 0 || (who && chown(path, who->pw_uid, who->pw_gid) < 0))
        return error_sys(err, errno, "%s", path);
    return 0;
}

int
service_give(const char *path, const char *user, struct error *err)
{
    const char *argv[] = { "/usr/bin/chown", "-R", "--no-dereference", NULL, "--", path, NULL };
    struct passwd *who;
    char ids[32];

    if (find_user(user, &who, err) < 0)
        return -1;
    if (!who)
        return 0;
    snprintf(ids, sizeof ids, "%u:%u", (unsigned)who->pw_uid, (unsigned)who->pw_gid);
    argv[3] = ids;
    return service_tool(argv, err);
}

int
service_tool(const char *const *argv, struct error *err)
{
    struct process_spawn spawn = PROCESS_SPAWN(argv);
    pid_t pid;

    spawn.stderr_fd = STDERR_FILENO;
    if (process_start(&spawn, &pid, err) < 0)
        return -1;
    if (process_wait(pid, clock_monotonic_ms() + TOOL_MS, err) < 0)
        return error_wrap(err, "%s", argv[0]);
    return 0;
}
