/*
 * sim_child.h - a program that runs beside us, watched by the loop
 */
#pragma once

#include <stdbool.h>
#include <stdint.h>
#include <sys/types.h>

#include "lib/common/error.h"

struct event;
struct event_base;

struct sim_child {
    pid_t pid;  /* 0: none */
    int handle; /* pidfd */
    struct event *event;
    bool ended;
    int status;                    /* exit status, or 128 + signal */
    void (*on_end)(void *context); /* may be NULL */
    void *context;
};

/*
 * Start argv[0] with descriptors 1 and 2 as given (-1: /dev/null).  With `ret_ready`
 * (`size` bytes) it gets
 * --ready-fd=3's descriptor: waits for the line it writes there, without the newline.
 */
int sim_child_start(struct sim_child *child, struct event_base *base,
                    const char *const *argv, int stdout_fd, int stderr_fd,
                    char *ret_ready, size_t size, struct error *err);
/* SIGTERM, then SIGKILL after 5 s; nothing if it ended. */
void sim_child_stop(struct sim_child *child);
