#include "config.h"

#include "plugin/inject/guest_init.h"

#include <string.h>

static bool
links_to(const struct guest_signs *s, const char *program)
{
    const char *slash = strrchr(s->init_target, '/');

    return strcmp(slash ? slash + 1 : s->init_target, program) == 0;
}

/* ELF, 64 bits, little endian, e_machine 62. */
static bool
is_x86_64(const struct guest_signs *s)
{
    static const uint8_t head[] = { 0x7f, 'E', 'L', 'F', 2, 1 };

    return s->shell_len == GUEST_ELF_LEN && memcmp(s->shell, head, sizeof head) == 0 &&
           s->shell[18] == 62 && s->shell[19] == 0;
}

/* OpenRC first: Debian's keeps sysvinit's folders, and Alpine's /sbin/init is busybox. */
static enum guest_init
which(const struct guest_signs *s)
{
    if (s->systemd && (links_to(s, "systemd") || !s->init))
        return GUEST_INIT_SYSTEMD;
    if (!s->init)
        return GUEST_INIT_NONE;
    if (s->openrc)
        return GUEST_INIT_OPENRC;
    return s->sysvinit ? GUEST_INIT_SYSVINIT : GUEST_INIT_NONE;
}

int
guest_init_choose(const struct guest_signs *s, enum guest_init *ret, struct error *err)
{
    enum guest_init init = which(s);

    if (init == GUEST_INIT_NONE || (init != GUEST_INIT_SYSTEMD && s->shell_len == 0))
        return error_problem(err, ERROR_DENIED, "agent-init",
                             "the guest is started by neither systemd, OpenRC nor sysvinit: nothing "
                             "would start the agent");
    if (init == GUEST_INIT_SYSTEMD && !s->glibc)
        return error_problem(err, ERROR_DENIED, "agent-libc",
                             "the guest has no /lib64/ld-linux-x86-64.so.2, by which the agent runs "
                             "under systemd");
    if (init != GUEST_INIT_SYSTEMD && !is_x86_64(s))
        return error_problem(err, ERROR_DENIED, "agent-arch",
                             "the guest's /bin/sh is not for x86-64, and the agent is");
    *ret = init;
    return 0;
}

bool
guest_init_takes(enum guest_init init, const struct payload_entry *section)
{
    static const char *const names[][2] = {
        [GUEST_INIT_NONE] = { "/none", "/none" },
        [GUEST_INIT_SYSTEMD] = { "/systemd", "/systemd" },
        [GUEST_INIT_OPENRC] = { "/scripts", "/openrc" },
        [GUEST_INIT_SYSVINIT] = { "/scripts", "/sysvinit" },
    };

    for (size_t i = 0; i < 2; i++) {
        const char *name = names[init][i];

        if (section->path_len == strlen(name) && memcmp(section->path, name, section->path_len) == 0)
            return true;
    }
    return false;
}
