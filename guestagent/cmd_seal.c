#include "config.h"

#include "guestagent/commands.h"

#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <unistd.h>

#include "guestagent/slots.h"
#include "guestagent/token_files.h"
#include "lib/common/fdio.h"
#include "lib/common/log.h"

struct seal {
    const char *state_dir, *run_dir;
    unsigned removed;
};

static void
tell(struct seal *seal, const char *folder, const char *name)
{
    seal->removed++;
    printf("removed %s/%s\n", folder, name);
}

static void
tell_slot(void *context, const char *name)
{
    struct seal *seal = context;
    char folder[512];

    snprintf(folder, sizeof folder, "%s/slots", seal->state_dir);
    tell(seal, folder, name);
}

static void
tell_token(void *context, const char *name)
{
    struct seal *seal = context;
    char folder[512];

    snprintf(folder, sizeof folder, "%s/tokens", seal->run_dir);
    tell(seal, folder, name);
}

/*
 * The bundle is no secret, but a clone may wake years later, under the same service with newer certificates or
 * under another: it takes the first bundle that its host offers, as every machine does that was not injected.
 */
static int
forget_bundle(struct seal *seal, struct error *err)
{
    static const char *const names[] = { "bundle", "bundle.bad", ".bundle.new" };
    CLEANUP(fd_close) int dir = open(seal->state_dir, O_RDONLY | O_DIRECTORY | O_CLOEXEC);

    if (dir < 0 && errno == ENOENT)
        return 0;
    if (dir < 0)
        return error_sys(err, errno, "open %s", seal->state_dir);
    for (size_t i = 0; i < sizeof names / sizeof names[0]; i++) {
        if (unlinkat(dir, names[i], 0) == 0)
            tell(seal, seal->state_dir, names[i]);
        else if (errno != ENOENT)
            return error_sys(err, errno, "remove %s/%s", seal->state_dir, names[i]);
    }
    if (fsync(dir) < 0)
        return error_sys(err, errno, "fsync %s", seal->state_dir);
    return 0;
}

/* Of an agent that was killed: nobody listens, we have its lock. */
static int
forget_socket(struct seal *seal, const struct conf *conf, struct error *err)
{
    char path[SOCKET_PATH_MAX];

    agent_socket_path(conf, path);
    if (unlink(path) == 0)
        tell(seal, seal->run_dir, "agent.sock");
    else if (errno != ENOENT)
        return error_sys(err, errno, "remove %s", path);
    return 0;
}

static void
tell_what_stays(const struct conf *conf)
{
    const char *password = conf_text(conf, "agent.endorsement_password_file");

    if (password[0] && access(password, F_OK) == 0)
        printf("kept %s: the password of this machine's TPM; remove it if clones must not have it\n", password);
}

int
cmd_seal(const struct conf *conf)
{
    CLEANUP(slots_close) struct slots *slots = NULL;
    struct seal seal = { .state_dir = conf_text(conf, "agent.state_dir"), .run_dir = conf_text(conf, "agent.run_dir") };
    struct error err = { 0 };

    if (slots_seal(seal.state_dir, tell_slot, &seal, &slots, &err) < 0 ||
        forget_bundle(&seal, &err) < 0 || forget_socket(&seal, conf, &err) < 0 ||
        token_files_forget(seal.run_dir, tell_token, &seal, &err) < 0) {
        if (err.code == ERROR_BUSY)
            error_wrap(&err, "stop the agent first (systemctl stop virtid-agent)");
        log_error(&err, "not sealed");
        return exit_status_of(&err);
    }
    tell_what_stays(conf);
    puts(seal.removed > 0
             ? "sealed: shut this machine down now; the next start of virtid-agent makes a new identity"
             : "sealed already: there was nothing to remove");
    return 0;
}
