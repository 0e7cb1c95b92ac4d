/*
 * run_dir.h - a private folder for the sockets and temporary files of one appliance
 */
#pragma once

#include "lib/common/cleanup.h"
#include "lib/common/error.h"

struct run_dir {
    char path[76]; /* 108 less "/libguestfsXXXXXX/guestfsd.sock"; "" none */
};

/* A fresh 0700 folder in `cache_dir`. */
int run_dir_make(const char *cache_dir, struct run_dir *ret, struct error *err);
/* With all that is in it; links are removed, not followed. */
void run_dir_clear(struct run_dir *dir);
#define run_dir_clear_at run_dir_clear

/* Remove those of workers that were killed. */
void run_dir_clean_all(const char *cache_dir);
