/*
 * reserve.h - room that is kept for the audit: where the disk is full, decisions go on being recorded
 *
 * audit.reserve beside the database, filled with nothing.  It is given back to the disk when that has less than
 * RESERVE_LOW left, or when a write found it full; made again when there is room.  While it is used an alarm says for how
 * long it lasts; when it is spent nothing is decided any more (problem disk-full): no token without its record.
 */
#pragma once

#include <stdbool.h>
#include <stdint.h>

#include "lib/common/error.h"

struct service;

enum { RESERVE_MIB_MAX = 65536, RESERVE_LOW = 8 << 20 /* the database's log, twice */ };

struct reserve {
    int64_t size;    /* bytes that are wanted; 0: there is none */
    bool held;
    bool spent;      /* a write found no room, and since then there was none */
    int64_t told_ms; /* the alarm was, last */
    struct {
        int64_t ms, record;
    } then, lately;  /* where the audit was some minutes ago, and since */
};

/* Before the store is opened, which on a full disk needs what is kept. */
void reserve_start(struct service *service);
/* Before each request; and, with the store, every few seconds: makes it if there is room. */
void reserve_watch(struct service *service);
void reserve_look(struct service *service);
/* A write found the disk full.  True: there is room now, it may be tried again. */
bool reserve_release(struct service *service);
/* ERROR_SYSTEM "disk-full": nothing can be recorded. */
int reserve_check(const struct service *service, struct error *err);
/* For how many seconds the room that is left, with the reserve, takes records as they come; -1: none came lately. */
int64_t reserve_lasts(const struct service *service);
