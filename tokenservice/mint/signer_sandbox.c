#include "config.h"

#include "tokenservice/mint/signer_sandbox.h"

#include <errno.h>
#include <stddef.h>
#include <sys/mman.h>

#include <seccomp.h>

static const int allowed[] = {
    SCMP_SYS(recvmsg),      SCMP_SYS(sendmsg),         SCMP_SYS(write),
    SCMP_SYS(writev),       SCMP_SYS(close),           SCMP_SYS(brk),
    SCMP_SYS(munmap),       SCMP_SYS(mremap),          SCMP_SYS(madvise),
    SCMP_SYS(mlock),        SCMP_SYS(munlock),         SCMP_SYS(futex),
    SCMP_SYS(getrandom),    SCMP_SYS(clock_gettime),   SCMP_SYS(gettimeofday),
    SCMP_SYS(getpid),       SCMP_SYS(gettid),          SCMP_SYS(tgkill),
    SCMP_SYS(rt_sigreturn), SCMP_SYS(rt_sigprocmask),  SCMP_SYS(rt_sigaction),
    SCMP_SYS(sigaltstack),  SCMP_SYS(restart_syscall), SCMP_SYS(sched_yield),
    SCMP_SYS(exit),         SCMP_SYS(exit_group),
};

/* Memory, but none that can be executed. */
static int
allow_memory(scmp_filter_ctx filter)
{
    struct scmp_arg_cmp not_executable = SCMP_A2(SCMP_CMP_MASKED_EQ, PROT_EXEC, 0);
    int rc =
        seccomp_rule_add(filter, SCMP_ACT_ALLOW, SCMP_SYS(mmap), 1, not_executable);

    if (rc == 0)
        rc = seccomp_rule_add(filter, SCMP_ACT_ALLOW, SCMP_SYS(mprotect), 1,
                              not_executable);
    return rc;
}

/* What changes keys on disk, and the audit's head: of files that are open. */
static int
allow_file(scmp_filter_ctx filter, int file)
{
    struct scmp_arg_cmp is_file = SCMP_A0(SCMP_CMP_EQ, (scmp_datum_t)file);
    int rc = seccomp_rule_add(filter, SCMP_ACT_ALLOW, SCMP_SYS(pwrite64), 1, is_file);

    if (rc == 0)
        rc = seccomp_rule_add(filter, SCMP_ACT_ALLOW, SCMP_SYS(fdatasync), 1, is_file);
    return rc;
}

/* The links behind the CAs are read when somebody needs one. */
static int
allow_links(scmp_filter_ctx filter, int file)
{
    struct scmp_arg_cmp is_file = SCMP_A0(SCMP_CMP_EQ, (scmp_datum_t)file);

    return seccomp_rule_add(filter, SCMP_ACT_ALLOW, SCMP_SYS(pread64), 1, is_file);
}

int
signer_sandbox(const int files[static SIGNER_SANDBOX_FILES], int links, struct error *err)
{
    scmp_filter_ctx filter = seccomp_init(SCMP_ACT_ERRNO(EPERM));
    int rc = filter ? 0 : -ENOMEM;

    for (size_t i = 0; rc == 0 && i < sizeof allowed / sizeof allowed[0]; i++)
        rc = seccomp_rule_add(filter, SCMP_ACT_ALLOW, allowed[i], 0);
    if (rc == 0)
        rc = allow_memory(filter);
    for (size_t i = 0; rc == 0 && i < SIGNER_SANDBOX_FILES; i++)
        rc = allow_file(filter, files[i]);
    if (rc == 0)
        rc = allow_links(filter, links);
    if (rc == 0)
        rc = seccomp_load(filter);
    seccomp_release(filter);
    if (rc < 0)
        return error_sys(err, -rc, "system call filter");
    return 0;
}
