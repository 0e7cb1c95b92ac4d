#include "config.h"

#include "tpmsim/sim_command.h"

#include <errno.h>
#include <getopt.h>
#include <signal.h>
#include <stdbool.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/prctl.h>
#include <sys/signalfd.h>
#include <sys/wait.h>
#include <unistd.h>

#include "lib/common/fdio.h"
#include "lib/common/log.h"
#include "tpmsim/swtpm_box.h"

static void
print_help(void)
{
    puts("Usage: virtid-tpmsim run [--keep DIR] [--] COMMAND [ARGUMENT...]\n"
         "\n"
         "Run COMMAND with a fresh TPM 2.0 (swtpm) of its own, and remove it afterwards.\n"
         "\n"
         "  -k, --keep DIR    leave the TPM's state and its CA in DIR (absent or empty)\n"
         "      --swtpm FILE  the swtpm to run [" VIRTID_SWTPM "]\n"
         "  -h, --help        this text\n"
         "\n"
         "COMMAND finds the TPM in VIRTID_TCTI, TPM2TOOLS_TCTI, TPM2OPENSSL_TCTI, TSS2_TCTI and\n"
         "TPM2_TCTI, the CA of its EK certificates in VIRTID_TPMSIM_CA, the UUID in them in\n"
         "VIRTID_TPMSIM_UUID.  Exit status: COMMAND's; 128+N if signal N ended it; 125 if we\n"
         "failed, 126 if COMMAND can not be run, 127 if there is none.");
}

static void
set_environment(const struct swtpm_box *box)
{
    static const char *const tcti[] = { "VIRTID_TCTI", "TPM2TOOLS_TCTI", "TPM2OPENSSL_TCTI",
                                        "TSS2_TCTI", "TPM2_TCTI" };
    char uuid[VM_UUID_TEXT];

    for (size_t i = 0; i < sizeof tcti / sizeof tcti[0]; i++)
        setenv(tcti[i], swtpm_box_tcti(box), 1);
    vm_uuid_print(swtpm_box_uuid(box), uuid);
    setenv("VIRTID_TPMSIM_CA", swtpm_box_ca_file(box), 1);
    setenv("VIRTID_TPMSIM_UUID", uuid, 1);
}

/* As a shell would: our descriptors and terminal are COMMAND's too. */
static pid_t
start_command(char **argv, const struct swtpm_box *box, const sigset_t *mask)
{
    pid_t parent = getpid(), pid = fork();

    if (pid != 0)
        return pid;
    (void)prctl(PR_SET_PDEATHSIG, SIGKILL);
    if (getppid() != parent)
        _exit(SIM_FAILED);
    (void)sigprocmask(SIG_SETMASK, mask, NULL);
    set_environment(box);
    execvp(argv[0], argv);
    fprintf(stderr, "virtid-tpmsim: %s: %s\n", argv[0], strerror(errno));
    _exit(errno == ENOENT ? SIM_NOT_FOUND : SIM_NOT_STARTED);
}

static int
exit_status(int status)
{
    return WIFSIGNALED(status) ? 128 + WTERMSIG(status) : WEXITSTATUS(status);
}

/* Bury whoever ended; true when it was `pid`. */
static bool
reap(pid_t pid, const struct swtpm_box *box, int *ret_status)
{
    int status;
    pid_t who;

    while ((who = waitpid(-1, &status, WNOHANG)) > 0) {
        if (who == pid) {
            *ret_status = exit_status(status);
            return true;
        }
        if (who == swtpm_box_pid(box))
            log_warning("swtpm ended; going on without a TPM");
    }
    return false;
}

static int
wait_for_command(pid_t pid, const struct swtpm_box *box, int signals)
{
    struct signalfd_siginfo info;
    struct error err;
    int status;

    for (;;) {
        if (fd_read_all(signals, &info, sizeof info, &err) < 0) {
            log_error(&err, "signals");
            return SIM_FAILED;
        }
        if (info.ssi_signo == SIGCHLD) {
            if (reap(pid, box, &status))
                return status;
        } else if (info.ssi_code != SI_KERNEL) {
            /* What the terminal sent, COMMAND got itself. */
            (void)kill(pid, (int)info.ssi_signo);
        }
    }
}

/* What COMMAND left running was handed to us (we are its subreaper): none of it stays. */
static void
end_leftovers(const struct swtpm_box *box)
{
    for (bool again = true; again;) {
        char path[64];
        FILE *f;
        long child;

        again = false;
        snprintf(path, sizeof path, "/proc/self/task/%d/children", (int)getpid());
        f = fopen(path, "re");
        while (f && fscanf(f, "%ld", &child) == 1) {
            if (swtpm_box_owns(box, (pid_t)child))
                continue;
            (void)kill((pid_t)child, SIGKILL);
            (void)waitpid((pid_t)child, NULL, 0);
            again = true;
        }
        if (f)
            fclose(f);
    }
}

static int
run_in_box(char **argv, const char *keep, const char *swtpm)
{
    CLEANUP(swtpm_box_free) struct swtpm_box *box = NULL;
    CLEANUP(fd_close) int signals = -1;
    sigset_t caught, before;
    struct error err;
    pid_t pid;
    int status;

    sigemptyset(&caught);
    for (size_t i = 0; i < 7; i++)
        sigaddset(&caught, (const int[]){ SIGINT, SIGTERM, SIGHUP, SIGQUIT, SIGUSR1, SIGUSR2,
                                          SIGCHLD }[i]);
    (void)sigprocmask(SIG_BLOCK, &caught, &before);
    (void)prctl(PR_SET_CHILD_SUBREAPER, 1);
    signals = signalfd(-1, &caught, SFD_CLOEXEC);
    if (signals < 0) {
        perror("virtid-tpmsim: signalfd");
        return SIM_FAILED;
    }
    if (swtpm_box_new(keep, swtpm, &box, &err) < 0) {
        log_error(&err, "no TPM (is swtpm installed?)");
        return SIM_FAILED;
    }
    pid = start_command(argv, box, &before);
    if (pid < 0) {
        perror("virtid-tpmsim: fork");
        return SIM_FAILED;
    }
    status = wait_for_command(pid, box, signals);
    end_leftovers(box);
    return status;
}

int
sim_run(int argc, char **argv)
{
    static const struct option options[] = {
        { "keep", required_argument, NULL, 'k' },
        { "swtpm", required_argument, NULL, 's' },
        { "help", no_argument, NULL, 'h' },
        { NULL, 0, NULL, 0 },
    };
    const char *keep = NULL, *swtpm = NULL;
    int option;

    while ((option = getopt_long(argc, argv, "+k:h", options, NULL)) != -1) {
        switch (option) {
        case 'k':
            keep = optarg;
            break;
        case 's':
            swtpm = optarg;
            break;
        case 'h':
            print_help();
            return 0;
        default:
            return SIM_USAGE;
        }
    }
    if (optind >= argc) {
        fputs("virtid-tpmsim: run what? See virtid-tpmsim run --help\n", stderr);
        return SIM_USAGE;
    }
    return run_in_box(argv + optind, keep, swtpm);
}
