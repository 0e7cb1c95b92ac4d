/*
 * service_files.h - where a token service keeps what it is: folders, users, and its own hands to them
 *
 * Not here: what is in the files (tokenservice/).
 */
#pragma once

#include <stdbool.h>
#include <sys/types.h>

#include "lib/common/error.h"

enum { SERVICE_PATH_MAX = 256 };

#define SERVICE_STATE_DIR "/var/lib/virtid-token"
#define SERVICE_KEY_DIR "/var/lib/virtid-signer"
#define SERVICE_USER "virtid-token"
#define SIGNER_USER "virtid-signer"

struct service_files {
    char config[SERVICE_PATH_MAX], config_dir[SERVICE_PATH_MAX], config_name[SERVICE_PATH_MAX];
    char state_dir[SERVICE_PATH_MAX], key_dir[SERVICE_PATH_MAX];
    char service_user[64], signer_user[64];
    bool configured; /* the configuration is there */
};

/* What the configuration (a file, or "") says; what it does not say, and all without it, is as `virtid init` makes it. */
int service_files_find(const char *config, struct service_files *ret, struct error *err);
/* The folders and users that another configuration names, e.g. one that is not in its place yet. */
int service_files_read(const char *config, struct service_files *ret, struct error *err);

/* A folder for `user` (as root; NULL: for whoever runs this), 0700 or as `mode` says; an existing one keeps its content. */
int service_folder(const char *path, mode_t mode, const char *user, struct error *err);
/* A file, or a folder with its files, becomes the user's.  Without root nothing. */
int service_give(const char *path, const char *user, struct error *err);

/* A program of this machine to its end, at most ten minutes. */
int service_tool(const char *const *argv, struct error *err);
