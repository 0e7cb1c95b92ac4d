/*
 * durable.h - what a disk still has when the power goes: what was synced, and nothing else
 *
 * Beside a folder lies its shadow: the bytes of each file as of its last fsync, the names in each
 * folder as of that folder's last fsync.  durable_lose() makes the folder what the shadow says.
 */
#pragma once

#include <stdbool.h>

/* All that is in `folder` now is durable. `shadow` is emptied. */
void durable_begin(const char *folder, const char *shadow);
void durable_end(void);

/* Heard from fault.c. */
void durable_synced(int fd);
void durable_made(int dir, const char *path);

/* With `names_kept`, names are as they were left, and only bytes that were not synced are gone. */
void durable_lose(const char *folder, const char *shadow, bool names_kept);

/* Whole folders, of files and folders only. */
void tree_copy(const char *from, const char *to);
void tree_remove(const char *path);
