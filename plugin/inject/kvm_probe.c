#include "config.h"

#include "plugin/inject/kvm_probe.h"

#include <errno.h>
#include <fcntl.h>
#include <linux/kvm.h>
#include <poll.h>
#include <signal.h>
#include <stdlib.h>
#include <string.h>
#include <sys/ioctl.h>
#include <sys/mman.h>
#include <sys/syscall.h>
#include <sys/wait.h>
#include <unistd.h>

#include "lib/common/fdio.h"

enum { PROBE_MS = 2000 };

#ifdef __x86_64__

/*
 * The guest's memory: 2 MiB at 0, mapped one to one by a single large page.  The loop takes a tenth of a second
 * on a processor, and many seconds where each instruction is emulated (as some nested hosts do,
 * which then fail at the first instruction they do not know).
 */
enum {
    MEMORY = 2 << 20,
    PML4_AT = 0x1000,
    PDPT_AT = 0x2000,
    PD_AT = 0x3000,
    CODE_AT = 0x4000,
    SAVE_AT = 0x5000,
    STACK_AT = 0x8000,
    ANSWER_PORT = 0x10,
    ANSWER = 42,
};

/* Long mode, ring 0: what a kernel runs in. */
static const uint8_t code[] = {
    0x0f, 0xae, 0x04, 0x25, 0x00, 0x50, 0x00, 0x00, /* fxsave SAVE_AT */
    0x66, 0x0f, 0xef, 0xc0,                         /* pxor %xmm0, %xmm0 */
    0xb9, 0x00, 0x00, 0x00, 0x0c,                   /* mov $201326592, %ecx */
    0xff, 0xc9,                                     /* 1: dec %ecx */
    0x75, 0xfc,                                     /* jnz 1b */
    0x50, 0x58,                                     /* push %rax; pop %rax */
    0xb0, ANSWER,                                   /* mov $42, %al */
    0xe6, ANSWER_PORT,                              /* out %al, $0x10 */
    0xf4,                                           /* hlt */
};

enum {
    PRESENT_WRITE = 3,
    LARGE = 0x80,
    CR0_ON = (int)0x80000033, /* paging, numeric error, extension type, monitor, protected mode */
    CR4_ON = 0x620,           /* PAE, SSE */
    EFER_LONG = 0x500,        /* enabled and active */
    CODE_TYPE = 11,
    DATA_TYPE = 3,
    CPUID_MAX = 256,
};

static void
fill_memory(uint8_t *memory)
{
    const uint64_t pml4 = PDPT_AT | PRESENT_WRITE, pdpt = PD_AT | PRESENT_WRITE,
                   pd = PRESENT_WRITE | LARGE;

    memcpy(memory + PML4_AT, &pml4, sizeof pml4);
    memcpy(memory + PDPT_AT, &pdpt, sizeof pdpt);
    memcpy(memory + PD_AT, &pd, sizeof pd);
    memcpy(memory + CODE_AT, code, sizeof code);
}

static void
set_segments(struct kvm_sregs *s)
{
    struct kvm_segment data = { .limit = 0xffffffff, .selector = 16, .type = DATA_TYPE,
                                .present = 1, .db = 1, .s = 1, .g = 1 };

    s->ds = s->es = s->fs = s->gs = s->ss = data;
    s->cs = data;
    s->cs.selector = 8;
    s->cs.type = CODE_TYPE;
    s->cs.db = 0;
    s->cs.l = 1;
}

/* Long mode and SSE exist for a guest only where its CPUID says so. */
static int
set_cpuid(int kvm, int cpu)
{
    CLEANUP(mem_free)
    struct kvm_cpuid2 *all = calloc(1, sizeof *all + CPUID_MAX * sizeof *all->entries);

    if (!all)
        return -1;
    all->nent = CPUID_MAX;
    if (ioctl(kvm, KVM_GET_SUPPORTED_CPUID, all) < 0)
        return -1;
    return ioctl(cpu, KVM_SET_CPUID2, all);
}

static int
set_registers(int cpu)
{
    struct kvm_sregs sregs;
    struct kvm_regs regs = { .rip = CODE_AT, .rsp = STACK_AT, .rflags = 2 };

    if (ioctl(cpu, KVM_GET_SREGS, &sregs) < 0)
        return -1;
    set_segments(&sregs);
    sregs.cr0 = (uint32_t)CR0_ON;
    sregs.cr3 = PML4_AT;
    sregs.cr4 = CR4_ON;
    sregs.efer = EFER_LONG;
    if (ioctl(cpu, KVM_SET_SREGS, &sregs) < 0)
        return -1;
    return ioctl(cpu, KVM_SET_REGS, &regs);
}

/* The two exits in their order; everything else means that guests do not run. */
static bool
run_to_halt(int cpu, struct kvm_run *run)
{
    const uint8_t *data = (const uint8_t *)run;

    if (ioctl(cpu, KVM_RUN, 0) < 0 || run->exit_reason != KVM_EXIT_IO ||
        run->io.port != ANSWER_PORT || run->io.direction != KVM_EXIT_IO_OUT ||
        data[run->io.data_offset] != ANSWER)
        return false;
    return ioctl(cpu, KVM_RUN, 0) == 0 && run->exit_reason == KVM_EXIT_HLT;
}

static bool
run_vm(int kvm)
{
    CLEANUP(fd_close) int vm = ioctl(kvm, KVM_CREATE_VM, 0);
    uint8_t *memory = mmap(NULL, MEMORY, PROT_READ | PROT_WRITE, MAP_SHARED | MAP_ANONYMOUS, -1, 0);
    int size = ioctl(kvm, KVM_GET_VCPU_MMAP_SIZE, 0);
    struct kvm_userspace_memory_region region = { .memory_size = MEMORY,
                                                  .userspace_addr = (uintptr_t)memory };
    struct kvm_run *run;

    if (vm < 0 || memory == MAP_FAILED || size < (int)sizeof *run)
        return false;
    fill_memory(memory);
    if (ioctl(vm, KVM_SET_USER_MEMORY_REGION, &region) < 0)
        return false;
    CLEANUP(fd_close) int cpu = ioctl(vm, KVM_CREATE_VCPU, 0);

    if (cpu < 0 || set_cpuid(kvm, cpu) < 0 || set_registers(cpu) < 0)
        return false;
    run = mmap(NULL, (size_t)size, PROT_READ | PROT_WRITE, MAP_SHARED, cpu, 0);
    return run != MAP_FAILED && run_to_halt(cpu, run);
}

#else

/* Elsewhere there is no machine code of ours: a VM that can be made has to do. */
static bool
run_vm(int kvm)
{
    CLEANUP(fd_close) int vm = ioctl(kvm, KVM_CREATE_VM, 0);

    return vm >= 0;
}

#endif

static bool
ended_well(pid_t child, int pidfd)
{
    struct pollfd p = { .fd = pidfd, .events = POLLIN };
    int status = -1;

    if (poll(&p, 1, PROBE_MS) != 1)
        kill(child, SIGKILL);
    while (waitpid(child, &status, 0) < 0 && errno == EINTR)
        ;
    return WIFEXITED(status) && WEXITSTATUS(status) == 0;
}

/* In a child: a KVM_RUN that never comes back can then be killed from outside. */
bool
kvm_probe(void)
{
    CLEANUP(fd_close) int kvm = open("/dev/kvm", O_RDWR | O_CLOEXEC);
    CLEANUP(fd_close) int pidfd = -1;
    pid_t child;

    if (kvm < 0 || ioctl(kvm, KVM_GET_API_VERSION, 0) != KVM_API_VERSION)
        return false;
    child = fork();
    if (child < 0)
        return false;
    if (child == 0)
        _exit(run_vm(kvm) ? 0 : 1);
    pidfd = (int)syscall(SYS_pidfd_open, child, 0);
    return ended_well(child, pidfd);
}
