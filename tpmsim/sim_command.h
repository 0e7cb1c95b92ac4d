/*
 * sim_command.h - the subcommands of virtid-tpmsim
 */
#pragma once

/* Exit status of our own failures: as env(1) and timeout(1), so that COMMAND's stay apart. */
enum { SIM_USAGE = 2, SIM_FAILED = 125, SIM_NOT_STARTED = 126, SIM_NOT_FOUND = 127 };

/* argv[0] is the subcommand's name; the result is the exit status. */
typedef int sim_command(int argc, char **argv);

sim_command sim_run;
sim_command sim_vm;
