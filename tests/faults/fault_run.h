/*
 * fault_run.h - a piece of work, cut or hindered at each of its calls, and what must be true after it
 *
 * For each call n and each fault: the folder as it was prepared, the work in a process of its own with
 * the fault at n, and in a third process, without any fault, the check, the same work once more (which
 * has to end well by itself), and the check again.
 *
 * VIRTID_FAULTS_EVERY=k takes each k-th call only, the first and the last always (1: every one).
 */
#pragma once

#include <stdbool.h>
#include <stddef.h>

enum { ACKS_SIZE = 4096 };

/* How work ends otherwise than by 0 (done) and -1 (refused: nothing more was acknowledged). */
enum work_end { WORK_ENDED = 3 /* exit status: the program ended itself, as it must on a lost disk */ };

struct fault_case {
    const char *name;
    /* Fills an empty folder, without faults; in the test's own process. NULL: it stays empty. */
    void (*prepare)(const char *folder);
    /* What was acknowledged goes into `acks`, zero at first, which outlives the process. It has to
     * go on from whatever it finds. fault_disarm() before what may fail without being told. */
    int (*work)(const char *folder, void *acks);
    /* Fails by assertion. */
    void (*check)(const char *folder, const void *acks);
    const char *decides; /* those of enum fault_call of which an EIO has to end or refuse the work */
    const char *fails; /* those of enum fault_call that fail in turn; NULL: all */
    unsigned every; /* the sample, where it is not that of all the others; 0: theirs */
};

struct fault_counts {
    unsigned calls, runs, violations;
};

/* Crash, torn write, loss of all that was not synced, loss of bytes that were not synced. */
struct fault_counts fault_run_crashes(const struct fault_case *c);
/* EIO, ENOSPC, EDQUOT, EINTR, EMFILE, short writes and reads; EIO and ENOSPC once and from then on. */
struct fault_counts fault_run_errors(const struct fault_case *c);
/* Each of these cases by one of the two above: the violations of all. */
unsigned fault_run_each(const struct fault_case *cases, size_t n, struct fault_counts (*run)(const struct fault_case *c));
/* The folder is a volume on which k*4 KiB are left, for each k until the work fits; then there is
 * room again. *ret_skipped: this process may not mount one, and has said so. */
struct fault_counts fault_run_full(const struct fault_case *c, bool *ret_skipped);

/* Every how many calls. */
unsigned fault_every(void);

/* A folder in memory for one test, and its end. */
void fault_folder_make(void);
void fault_folder_remove(void);
