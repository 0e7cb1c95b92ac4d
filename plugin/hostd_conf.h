/*
 * hostd_conf.h - what hostd.conf says
 */
#pragma once

#include "lib/wire/names.h"
#include "plugin/hostd.h"

struct hostd_conf {
    struct conf *file;
    const char *path; /* the caller's */
    struct hostd_settings settings; /* texts are borrowed from `file`, or lie in here: it stays where it was read into */
    char strict_dir[4096];
    char name[NAME_HOST_MAX + 1]; /* to join by */
};

/* A missing file is all defaults.  ERROR_INPUT, ERROR_MISSING name the file, and the line where there is one. */
int hostd_conf_read(const char *path, struct hostd_conf *ret, struct error *err);
/*
 * What `fresh`, read from the same file, says of the settings that can be changed while the daemon runs; of `running`'s
 * texts none moves.
 */
void hostd_conf_take(struct hostd_conf *running, struct hostd_conf *fresh);
void hostd_conf_clear(struct hostd_conf *conf);
#define hostd_conf_clear_at hostd_conf_clear
