/*
 * inject_main.c - virtid-inject: one VM's secret into its disk
 */
#include "config.h"

#include <fcntl.h>
#include <getopt.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/prctl.h>
#include <sys/resource.h>
#include <unistd.h>

#include "lib/common/error_map.h"
#include "lib/common/log.h"
#include "lib/common/process.h"
#include "plugin/inject/inject.h"
#include "plugin/inject/kvm_probe.h"

enum { EXIT_USAGE = 2 };

static const char usage[] =
    "Usage: virtid-inject\n"
    "       virtid-inject --probe-kvm | --prepare DIR [--accel kvm|tcg] | --clean DIR\n"
    "\n"
    "Put one VM's secret into its disk image. Started by virtid-privd, which hands over the\n"
    "image as an open file; not meant to be run by hand.\n"
    "\n"
    "  --probe-kvm       print kvm if KVM really runs a guest here, else tcg\n"
    "  --prepare DIR     build libguestfs's appliance into DIR and try it\n"
    "  --accel kvm|tcg   for --prepare (default: what --probe-kvm says)\n"
    "  --clean DIR       remove what a killed worker left in DIR\n"
    "  -h, --help        this text\n"
    "  -V, --version     the version\n";

struct options {
    const char *prepare, *clean, *accel;
    bool probe;
};

/* More than the appliance's needs, less than what hurts the host. */
static void
set_limits(void)
{
    static const struct {
        int what;
        rlim_t value;
    } limits[] = {
        { RLIMIT_NOFILE, 256 },
        { RLIMIT_CPU, 900 },
        { RLIMIT_MEMLOCK, 1 << 20 },
        { RLIMIT_CORE, 0 },
    };

    for (size_t i = 0; i < sizeof limits / sizeof *limits; i++) {
        struct rlimit limit = { limits[i].value, limits[i].value };

        (void)setrlimit((__rlimit_resource_t)limits[i].what, &limit);
    }
}

static int
fail(const struct error *err, const char *what)
{
    log_error(err, "%s", what);
    return err->code == ERROR_SYSTEM ? 1 : (int)err->code + 1;
}

static int
work(void)
{
    struct error err;

    for (int fd = INJECT_FD_PRIVD; fd <= INJECT_FD_READ; fd++) {
        if (fcntl(fd, F_SETFD, FD_CLOEXEC) < 0) {
            fprintf(stderr, "virtid-inject: started without an image; only virtid-privd starts this "
                            "program (see --help)\n");
            return EXIT_USAGE;
        }
    }
    if (inject_run(INJECT_FD_PRIVD, INJECT_FD_PAYLOAD, INJECT_FD_WRITE, INJECT_FD_READ, &err) < 0)
        return fail(&err, "injection");
    return 0;
}

static int
prepare(const struct options *o)
{
    const char *accel = o->accel ? o->accel : kvm_probe() ? "kvm" : "tcg";
    struct error err;

    if (inject_prepare(accel, o->prepare, &err) < 0)
        return fail(&err, "appliance");
    return 0;
}

static int
parse(int argc, char **argv, struct options *o)
{
    static const struct option longs[] = {
        { "probe-kvm", no_argument, NULL, 'k' },   { "prepare", required_argument, NULL, 'p' },
        { "clean", required_argument, NULL, 'c' }, { "accel", required_argument, NULL, 'a' },
        { "help", no_argument, NULL, 'h' },        { "version", no_argument, NULL, 'V' },
        { 0 },
    };

    for (int c; (c = getopt_long(argc, argv, "hV", longs, NULL)) != -1;) {
        switch (c) {
        case 'k':
            o->probe = true;
            break;
        case 'p':
            o->prepare = optarg;
            break;
        case 'c':
            o->clean = optarg;
            break;
        case 'a':
            o->accel = optarg;
            break;
        case 'h':
            fputs(usage, stdout);
            exit(0);
        case 'V':
            puts("virtid-inject " PACKAGE_VERSION);
            exit(0);
        default:
            return -1;
        }
    }
    if (o->accel && strcmp(o->accel, "kvm") != 0 && strcmp(o->accel, "tcg") != 0)
        return -1;
    return optind == argc ? 0 : -1;
}

static int
run(const struct options *o)
{
    if (o->probe) {
        puts(kvm_probe() ? "kvm" : "tcg");
        return 0;
    }
    if (o->clean) {
        inject_clean(o->clean);
        return 0;
    }
    return o->prepare ? prepare(o) : work();
}

int
main(int argc, char **argv)
{
    struct options o = { 0 };
    int status;

    process_harden();
    set_limits();
    log_open("virtid-inject", LOG_LEVEL_INFO);
    if (parse(argc, argv, &o) < 0) {
        fputs(usage, stderr);
        return EXIT_USAGE;
    }
    status = run(&o);
    fflush(stdout);
    /* libguestfs's exit handlers would wait for an appliance that is gone. */
    _exit(status);
}
