/*
 * fault.h - calls to the file system that fail, end the process, or write half, at the n-th of them
 *
 * A test that links fault.c has its own write(), fsync(), rename() and the like in front of libc's,
 * for itself and for the libraries that it uses (SQLite among them).  Calls below the watched folder
 * are counted; at the one that was asked for the fault strikes.  Preloaded (fault_preload.c) it does
 * the same to a program.
 */
#pragma once

#include <stdbool.h>
#include <stdint.h>

enum fault_kind {
    FAULT_NONE,  /* only count */
    FAULT_CRASH, /* the process is gone before the call */
    FAULT_TORN,  /* half of a write arrives, and the process is gone */
    FAULT_ERROR, /* the call fails with `error` */
    FAULT_SHORT, /* half of a write or read is done, and said */
};

/* What a call does. */
enum fault_call {
    CALL_WRITE = 'w',
    CALL_SYNC = 's',
    CALL_SYNC_NAMES = 'd', /* fsync of a folder */
    CALL_CREATE = 'c', /* open with O_CREAT, mkdir */
    CALL_NAME = 'n',   /* rename, unlink, link, rmdir */
    CALL_SIZE = 't',   /* truncate, fallocate */
    CALL_OPEN = 'o',   /* open of what is there */
    CALL_READ = 'r',
};
#define FAULT_CHANGES "wsdcnt"
#define FAULT_ALL "wsdcntor"

enum { FAULT_CALLS_MAX = 20000, FAULT_EXIT = 42 };

struct fault {
    enum fault_kind kind;
    const char *calls; /* those that count: letters of enum fault_call */
    unsigned at;       /* 1: the first */
    bool onward;       /* and every one behind it */
    int error;
};

/* Shared with children. */
struct fault_report {
    unsigned n;
    bool struck;
    uint8_t calls[FAULT_CALLS_MAX]; /* enum fault_call of each */
};
extern struct fault_report *fault_report;

/* Calls about what lies in `folder`; durable.h hears of them too. */
void fault_watch(const char *folder);
void fault_arm(const struct fault *fault);
void fault_disarm(void);
