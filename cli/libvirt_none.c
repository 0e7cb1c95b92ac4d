/*
 * In place of libvirt.c and cmd_enable.c where virtid is built with --disable-host.
 */
#include "config.h"

#include "cli/libvirt.h"

#include "cli/command.h"

static int
say_why(struct error *err)
{
    return error_set(err, ERROR_BUSY, "this virtid was built without libvirt (--disable-host)");
}

int
libvirt_open(const char *uri, bool read_only, struct libvirt **ret, struct error *err)
{
    (void)uri;
    (void)read_only;
    (void)ret;
    return say_why(err);
}

void
libvirt_close(struct libvirt *libvirt)
{
    (void)libvirt;
}

int
libvirt_find(struct libvirt *libvirt, char *const *words, size_t n_words,
             struct libvirt_domain **ret, size_t *ret_n, struct error *err)
{
    (void)libvirt;
    (void)words;
    (void)n_words;
    (void)ret;
    (void)ret_n;
    return say_why(err);
}

int
cmd_enable(const struct cli *cli, int argc, char **argv)
{
    struct error err = { 0 };

    (void)cli;
    (void)argc;
    (void)argv;
    say_why(&err);
    return cli_fail(&err);
}

int
cmd_host_check(const struct cli *cli, int argc, char **argv)
{
    return cmd_enable(cli, argc, argv);
}

int
cmd_disable(const struct cli *cli, int argc, char **argv)
{
    return cmd_enable(cli, argc, argv);
}
