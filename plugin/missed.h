/*
 * missed.h - what libvirt's hook wrote down while nobody answered it
 *
 * run_dir/missed/UUID holds lines "OP TIME"; root writes them, we read and remove them.
 */
#pragma once

#include <stdbool.h>

#include "lib/common/error.h"
#include "lib/wire/vm_uuid.h"

struct missed_run {
    bool is;      /* there was one */
    bool came_in; /* by migration */
};

/* A migration that was only announced is no run: it may never come. */
struct missed {
    bool any;
    bool ended;                /* stopped or release is its last word: nothing runs behind it */
    struct missed_run over;    /* began and ended again; if several, one that came in counts */
    struct missed_run present; /* began, and its end is not in the mark */
    bool announced;            /* `migrate` is its last word */
    bool restores;             /* `restore` is */
};

/* Make the folder. */
int missed_open(const char *run_dir, struct error *err);
/* What was missed of this VM. */
struct missed missed_look(const char *run_dir, const struct vm_uuid *uuid);
/* The mark is gone; when what it says is in the journal. */
void missed_drop(const char *run_dir, const struct vm_uuid *uuid);
