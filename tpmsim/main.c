#include "config.h"

#include <stdio.h>
#include <string.h>

#include "lib/common/log.h"
#include "tpmsim/sim_command.h"

static const struct {
    const char *name;
    sim_command *run;
    const char *usage, *purpose;
} commands[] = {
    { "run", sim_run, "run [--keep DIR] [--] COMMAND [ARGUMENT...]",
      "run COMMAND with a fresh TPM of its own" },
    { "vm", sim_vm, "vm --host NAME -a AUDIENCE [OPTION]... <JOINCODE",
      "be a whole VM with its host against a token service, and print its token" },
};

enum { N_COMMANDS = sizeof commands / sizeof commands[0] };

static void
print_help(FILE *to)
{
    fputs("Usage: virtid-tpmsim COMMAND ...\n\nSimulated TPMs and VMs for tests, as an ordinary "
          "user.\n\nCommands:\n",
          to);
    for (size_t i = 0; i < N_COMMANDS; i++)
        fprintf(to, "  %s\n        %s\n", commands[i].usage, commands[i].purpose);
    fputs("\n  --help      this text\n  --version   version\n", to);
}

int
main(int argc, char **argv)
{
    log_open("virtid-tpmsim", LOG_LEVEL_NOTICE);
    if (argc < 2) {
        print_help(stderr);
        return SIM_USAGE;
    }
    if (strcmp(argv[1], "--help") == 0 || strcmp(argv[1], "-h") == 0) {
        print_help(stdout);
        return 0;
    }
    if (strcmp(argv[1], "--version") == 0) {
        puts("virtid-tpmsim " PACKAGE_VERSION);
        return 0;
    }
    for (size_t i = 0; i < N_COMMANDS; i++) {
        if (strcmp(argv[1], commands[i].name) == 0)
            return commands[i].run(argc - 1, argv + 1);
    }
    fprintf(stderr, "virtid-tpmsim: no command \"%s\"; see virtid-tpmsim --help\n", argv[1]);
    return SIM_USAGE;
}
