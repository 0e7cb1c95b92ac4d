/*
 * fdio.h - descriptors: whole reads and writes, passing them, durable files
 *
 * All descriptors made here are close-on-exec.
 */
#pragma once

#include <stddef.h>
#include <stdint.h>
#include <sys/types.h>

#include "lib/common/buf.h"
#include "lib/common/cleanup.h"
#include "lib/common/error.h"

/* Accepts -1. */
void fd_close(int fd);
DEFINE_CLEANUP(int, fd_close);

/* The descriptor; *fd is -1 from here on. */
int fd_steal(int *fd);

/* All `len` bytes, or an error; EINTR is repeated. ERROR_MISSING: end of file before `len`. */
int fd_read_all(int fd, void *ret, size_t len, struct error *err);
int fd_write_all(int fd, const void *bytes, size_t len, struct error *err);
/* At `at` of a file, durable after return 0; after a failure what stood there may be half of each. */
int fd_write_at(int fd, const void *bytes, size_t len, int64_t at, struct error *err);

/* Everything up to end of file into `into` (bounded by into->max: ERROR_INPUT if longer). */
int fd_read_to_end(int fd, struct buf *into, struct error *err);

/* A whole regular file, at most into->max bytes. ERROR_MISSING: it is not there. */
int file_read(const char *path, struct buf *into, struct error *err);

/*
 * Put `bytes` in place of `path`, with `mode`: temporary file in the same
 * folder, fsync, rename, fsync of the folder.  After return 0 the content
 * survives power loss; after a failure the old content stands.
 */
int file_replace(const char *path, const void *bytes, size_t len, mode_t mode,
                 struct error *err);
/* As file_replace, relative to an open folder. `name` holds no '/'. */
int file_replace_at(int dir, const char *name, const void *bytes, size_t len, mode_t mode,
                    struct error *err);

/* mkdir -p of the last component only; an existing folder is kept as it is. */
int dir_make(const char *path, mode_t mode, struct error *err);

enum { FD_MESSAGE_FDS_MAX = 24 };

/*
 * One packet with descriptors over a SOCK_SEQPACKET (or stream) Unix socket.
 * fd_receive: *ret_len bytes, *ret_n descriptors, now yours; a packet longer than
 * `max` or with more than `n_max` descriptors is ERROR_INPUT, end of file is
 * ERROR_MISSING; received descriptors are closed on failure.
 */
int fd_send(int sock, const void *bytes, size_t len, const int *fds, size_t n,
            struct error *err);
int fd_receive(int sock, void *ret, size_t max, size_t *ret_len, int *ret_fds,
               size_t n_max, size_t *ret_n, struct error *err);

/* A listening Unix stream (or seqpacket) socket; an old socket file is replaced. */
int unix_listen(const char *path, int type, mode_t mode, int *ret_fd, struct error *err);
int unix_connect(const char *path, int type, int *ret_fd, struct error *err);

/* SO_PEERCRED of a connected Unix socket. */
int unix_peer(int fd, pid_t *ret_pid, uid_t *ret_uid, gid_t *ret_gid, struct error *err);
