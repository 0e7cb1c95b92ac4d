#include "config.h"

#include "tests/faults/fault_run.h"

#include <errno.h>
#include <fcntl.h>
#include <sched.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/mount.h>
#include <sys/stat.h>
#include <sys/statvfs.h>
#include <sys/wait.h>
#include <unistd.h>

#include "tests/faults/durable.h"
#include "tests/faults/fault.h"

enum {
    CHILD_SECONDS = 60,
    EVERY = 97,
    ERRORS_MAX = 500,
    PAGE = 4096,
    PAGES_MAX = 4096,
    SAMPLE_PAGES = 23,
    VIOLATIONS_MAX = 20, /* then it is known */
    DONE = 0,
    REFUSED = 1,
    NO_MOUNT = 77,
};

static char top[40], prepared[80], work_dir[96], shadow[80], volume[80];
static void *acks;

/* Thousands of forks: memory that was freed need not be kept, nor copied each time. */
const char *__asan_default_options(void);
const char *
__asan_default_options(void)
{
    return "quarantine_size_mb=1:malloc_context_size=5";
}

unsigned
fault_every(void)
{
    const char *text = getenv("VIRTID_FAULTS_EVERY");
    long every = text ? strtol(text, NULL, 10) : EVERY;

    return every > 0 ? (unsigned)every : EVERY;
}

void
fault_folder_make(void)
{
    strcpy(top, "/dev/shm/virtid-faults-XXXXXX");
    if (!mkdtemp(top)) {
        strcpy(top, "/tmp/virtid-faults-XXXXXX");
        if (!mkdtemp(top))
            abort();
    }
    snprintf(prepared, sizeof prepared, "%s/prepared", top);
    snprintf(work_dir, sizeof work_dir, "%s/work", top);
    snprintf(shadow, sizeof shadow, "%s/shadow", top);
    snprintf(volume, sizeof volume, "%s/volume", top);
    fault_watch(work_dir);
    if (!acks)
        acks = mmap(NULL, ACKS_SIZE, PROT_READ | PROT_WRITE, MAP_SHARED | MAP_ANONYMOUS, -1, 0);
}

void
fault_folder_remove(void)
{
    tree_remove(top);
}

static void
prepare(const struct fault_case *c)
{
    tree_remove(prepared);
    if (mkdir(prepared, 0700) < 0)
        abort();
    if (c->prepare)
        c->prepare(prepared);
}

/* ---- processes ---- */

/* An assertion that fails ends the child instead of going back into the test that forked it. */
static pid_t
child(void)
{
    pid_t pid;

    fflush(NULL);
    pid = fork();
    if (pid == 0) {
        setenv("CMOCKA_TEST_ABORT", "1", 1);
        alarm(CHILD_SECONDS);
    }
    return pid;
}

static int
status_of(pid_t pid)
{
    int status = 0;

    if (pid < 0 || waitpid(pid, &status, 0) != pid)
        abort();
    return WIFEXITED(status) ? WEXITSTATUS(status) : 128 + WTERMSIG(status);
}

static int
work_with(const struct fault_case *c, const struct fault *fault)
{
    pid_t pid = child();

    if (pid == 0) {
        fault_arm(fault);
        _exit(c->work(work_dir, acks) == 0 ? DONE : REFUSED);
    }
    return status_of(pid);
}

/* As after a restart; the work has to be finished by itself. */
static int
go_on(const struct fault_case *c)
{
    pid_t pid = child();

    if (pid == 0) {
        c->check(work_dir, acks);
        if (c->work(work_dir, acks) != 0)
            _exit(REFUSED);
        c->check(work_dir, acks);
        _exit(DONE);
    }
    return status_of(pid);
}

static void
fresh(void)
{
    memset(acks, 0, ACKS_SIZE);
    tree_remove(work_dir);
    tree_copy(prepared, work_dir);
}

/* How many calls the whole of it makes. */
static unsigned
count_calls(const struct fault_case *c, const char *calls)
{
    const struct fault none = { .kind = FAULT_NONE, .calls = calls };
    int ended, after;

    fresh();
    ended = work_with(c, &none);
    after = ended == DONE ? go_on(c) : -1;
    if (ended == DONE && after == DONE && fault_report->n <= FAULT_CALLS_MAX)
        return fault_report->n;
    printf("# %s: without a fault it ended with %d, once more with %d\n", c->name, ended, after);
    return 0;
}

static bool
is_chosen(const struct fault_case *c, unsigned n, unsigned calls, unsigned variant)
{
    unsigned every = c->every && !getenv("VIRTID_FAULTS_EVERY") ? c->every : fault_every();

    return n == 1 || n == calls || (n + 11 * variant) % every == 0;
}

static void
tell(struct fault_counts *counts, const struct fault_case *c, const char *fault, unsigned n, const char *what,
     int status)
{
    counts->violations++;
    printf("# VIOLATION %s: %s at call %u (%c): %s, status %d\n", c->name, fault, n,
           fault_report->calls[n - 1], what, status);
}

/* ---- the process or the power goes ---- */

enum cut { CUT_CRASH, CUT_TORN, CUT_POWER, CUT_POWER_BYTES, CUTS };
static const char *const CUT_NAMES[CUTS] = { "killed", "torn", "power lost", "power lost, names kept" };

static void
cut_at(const struct fault_case *c, enum cut cut, unsigned n, struct fault_counts *counts)
{
    const struct fault fault = { .kind = cut == CUT_TORN ? FAULT_TORN : FAULT_CRASH,
                                 .calls = FAULT_CHANGES,
                                 .at = n };
    bool loses = cut == CUT_POWER || cut == CUT_POWER_BYTES;
    int status;

    fresh();
    if (loses)
        durable_begin(work_dir, shadow);
    status = work_with(c, &fault);
    durable_end();
    counts->runs++;
    if (status != FAULT_EXIT) {
        tell(counts, c, CUT_NAMES[cut], n, "it was not cut there", status);
        return;
    }
    if (loses)
        durable_lose(work_dir, shadow, cut == CUT_POWER_BYTES);
    status = go_on(c);
    if (status != DONE)
        tell(counts, c, CUT_NAMES[cut], n, "it did not go on", status);
}

struct fault_counts
fault_run_crashes(const struct fault_case *c)
{
    struct fault_counts counts = { 0 };
    static uint8_t calls[FAULT_CALLS_MAX];

    prepare(c);
    counts.calls = count_calls(c, FAULT_CHANGES);
    if (counts.calls == 0)
        counts.violations++;
    memcpy(calls, fault_report->calls, sizeof calls);
    for (unsigned n = 1; n <= counts.calls; n++) {
        for (int cut = 0; cut < CUTS; cut++) {
            if (is_chosen(c, n, counts.calls, (unsigned)cut) && (cut != CUT_TORN || calls[n - 1] == CALL_WRITE))
                cut_at(c, (enum cut)cut, n, &counts);
        }
    }
    printf("# %s: %u calls, %u crash points, %u violations\n", c->name, counts.calls, counts.runs,
           counts.violations);
    return counts;
}

/* ---- calls fail ---- */

static const struct hindrance {
    const char *name, *calls; /* those that can fail so */
    enum fault_kind kind;
    bool onward;
    int error;
} HINDRANCES[] = {
    { "EIO", FAULT_ALL, FAULT_ERROR, false, EIO },
    { "EIO from then on", FAULT_ALL, FAULT_ERROR, true, EIO },
    { "ENOSPC", "wcnt", FAULT_ERROR, false, ENOSPC },
    { "ENOSPC from then on", "wct", FAULT_ERROR, true, ENOSPC },
    { "EDQUOT", "wcnt", FAULT_ERROR, false, EDQUOT },
    { "EINTR", "wsdor", FAULT_ERROR, false, EINTR },
    { "EMFILE", "co", FAULT_ERROR, false, EMFILE },
    { "short", "wr", FAULT_SHORT, false, 0 },
};

static const char *
failing(const struct fault_case *c)
{
    return c->fails ? c->fails : FAULT_ALL;
}

static void
hinder_at(const struct fault_case *c, const struct hindrance *h, unsigned n, struct fault_counts *counts)
{
    /* From then on only such calls fail: with a full disk one can still read. */
    const struct fault fault = { .kind = h->kind,
                                 .calls = h->onward && h->error == ENOSPC ? h->calls : failing(c),
                                 .at = n,
                                 .onward = h->onward,
                                 .error = h->error };
    int status;

    fresh();
    status = work_with(c, &fault);
    counts->runs++;
    if (status != DONE && status != REFUSED && status != WORK_ENDED)
        tell(counts, c, h->name, n, "it died", status);
    else if (status == DONE && c->decides && h->error == EIO && fault_report->struck &&
             strchr(c->decides, fault_report->calls[n - 1]))
        tell(counts, c, h->name, n, "a failed fsync was passed over", status);
    status = go_on(c);
    if (status != DONE)
        tell(counts, c, h->name, n, "it did not go on", status);
}

struct fault_counts
fault_run_errors(const struct fault_case *c)
{
    struct fault_counts counts = { 0 };
    static uint8_t calls[FAULT_CALLS_MAX];
    unsigned most;

    prepare(c);
    counts.calls = count_calls(c, failing(c));
    if (counts.calls == 0)
        counts.violations++;
    memcpy(calls, fault_report->calls, sizeof calls);
    most = counts.calls < ERRORS_MAX ? counts.calls : ERRORS_MAX;
    for (unsigned n = 1; n <= most; n++) {
        for (unsigned i = 0; i < sizeof HINDRANCES / sizeof HINDRANCES[0]; i++) {
            if (is_chosen(c, n, most, i) && strchr(HINDRANCES[i].calls, calls[n - 1]))
                hinder_at(c, &HINDRANCES[i], n, &counts);
        }
    }
    printf("# %s: %u calls, %u failed calls, %u violations\n", c->name, counts.calls, counts.runs,
           counts.violations);
    return counts;
}

/* ---- the disk is full ---- */

static bool
write_text(const char *path, const char *text)
{
    int fd = open(path, O_WRONLY | O_CLOEXEC);
    bool done = fd >= 0 && write(fd, text, strlen(text)) == (ssize_t)strlen(text);

    if (fd >= 0)
        close(fd);
    return done;
}

/* Who is not root is it in a namespace of users of his own, under his own number. */
static bool
mount_volume(void)
{
    char map[64];
    unsigned uid = geteuid(), gid = getegid();

    if (uid == 0 ? unshare(CLONE_NEWNS) < 0 : unshare(CLONE_NEWUSER | CLONE_NEWNS) < 0)
        return false;
    if (uid != 0) {
        (void)write_text("/proc/self/setgroups", "deny");
        snprintf(map, sizeof map, "%u %u 1", gid, gid);
        if (!write_text("/proc/self/gid_map", map))
            return false;
        snprintf(map, sizeof map, "%u %u 1", uid, uid);
        if (!write_text("/proc/self/uid_map", map))
            return false;
    }
    return mount(NULL, "/", NULL, MS_REC | MS_PRIVATE, NULL) == 0 &&
           (mkdir(volume, 0700) == 0 || errno == EEXIST) &&
           mount("virtid-test", volume, "tmpfs", MS_NOSUID | MS_NODEV, "size=16m,mode=0700") == 0;
}

/* Fills what is free but for `left` pages; ret: the file to remove for room. */
static void
fill(unsigned left, char ret[static 96])
{
    static const char page[PAGE];
    struct statvfs fs;
    int fd;

    snprintf(ret, 96, "%s/ballast", volume);
    fd = open(ret, O_WRONLY | O_CREAT | O_TRUNC | O_CLOEXEC, 0600);
    if (fd < 0 || statvfs(volume, &fs) < 0 || fs.f_bsize != PAGE)
        abort();
    for (fsblkcnt_t i = fs.f_bavail; i > left; i--) {
        if (write(fd, page, sizeof page) != (ssize_t)sizeof page)
            abort();
    }
    close(fd);
}

/* False: all of it fitted. */
static bool
try_full(const struct fault_case *c, unsigned left, struct fault_counts *counts)
{
    const struct fault none = { .kind = FAULT_NONE, .calls = "" };
    char ballast[96];
    int status, after;

    fresh();
    fill(left, ballast);
    status = work_with(c, &none);
    if (unlink(ballast) < 0)
        abort();
    after = go_on(c);
    counts->runs++;
    if ((status == DONE || status == REFUSED || status == WORK_ENDED) && after == DONE)
        return status != DONE;
    counts->violations++;
    printf("# VIOLATION %s: %u pages left: status %d, with room again %d\n", c->name, left, status, after);
    return true;
}

unsigned
fault_run_each(const struct fault_case *cases, size_t n, struct fault_counts (*run)(const struct fault_case *c))
{
    unsigned violations = 0;

    for (size_t i = 0; i < n; i++)
        violations += run(&cases[i]).violations;
    return violations;
}

struct fault_counts
fault_run_full(const struct fault_case *c, bool *ret_skipped)
{
    struct fault_counts *counts = mmap(NULL, sizeof *counts, PROT_READ | PROT_WRITE,
                                       MAP_SHARED | MAP_ANONYMOUS, -1, 0), result;
    int status;
    pid_t pid;

    prepare(c);
    fflush(NULL);
    pid = fork();
    if (pid == 0) {
        unsigned left = 0;

        if (!mount_volume()) {
            printf("# what is missing: a mount of a tmpfs, as root or in a user namespace of one's own: %s\n",
                   strerror(errno));
            fflush(NULL);
            _exit(NO_MOUNT);
        }
        snprintf(work_dir, sizeof work_dir, "%s/work", volume);
        fault_watch(work_dir);
        while (left < PAGES_MAX && counts->violations < VIOLATIONS_MAX && try_full(c, left, counts))
            left += fault_every() == 1 ? 1 : SAMPLE_PAGES;
        fflush(NULL);
        _exit(DONE);
    }
    status = status_of(pid);
    result = *counts;
    munmap(counts, sizeof *counts);
    *ret_skipped = status == NO_MOUNT;
    if (status != NO_MOUNT && (status != DONE || result.runs < 2 || result.runs >= PAGES_MAX))
        result.violations++; /* it was never full, or always */
    printf("# %s: %u sizes of what was left, %u violations\n", c->name, result.runs, result.violations);
    return result;
}
