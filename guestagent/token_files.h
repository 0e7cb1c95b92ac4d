/*
 * token_files.h - one file per audience in <run_dir>/tokens, always with a token that is valid, or not there
 *
 * The folder is ours whole: what is in it and is not configured goes.  A file is written beside and renamed, so a
 * reader has the one token or the other, whole; it holds the token and nothing else.  A token that ended without a
 * successor is removed.  A file that an earlier agent left stays until the first token, five minutes at most, which is
 * a token's life.
 */
#pragma once

#include "guestagent/refresher.h"
#include "guestagent/workloads.h"

enum { TOKEN_FILE_NAME_MAX = 255, TOKEN_FILES_LEFTOVER_MS = 300000 };

/*
 * The name of an audience's file, and of the credential that asks for it: letters, digits, "._-" stand for
 * themselves (a dot in front does not), anything else is "=XX".  -1: it is longer than a file's name may be.
 */
int token_file_name(const char *audience, char ret[static TOKEN_FILE_NAME_MAX + 1]);
/* The other way; -1: no audience has this name. */
int token_file_audience(const char *name, char ret[static NAME_AUDIENCE_MAX + 1]);

/* Removes every file that an agent left, and calls `tell` for each; no agent runs. */
int token_files_forget(const char *run_dir, void (*tell)(void *context, const char *name), void *context,
                       struct error *err);

struct token_files;

/* Starts the thread that writes; `run_dir` and `refresher` are borrowed for its life. */
int token_files_new(const char *run_dir, struct refresher *refresher, struct token_files **ret, struct error *err);
/* These from now on. Their audiences must be prefetched. */
void token_files_set(struct token_files *files, const struct workloads *workloads);
/* Why the last look did not do all; code NONE: it did. */
void token_files_failure(struct token_files *files, struct error *ret);
/* Ends the thread; the files stay for the next agent. */
void token_files_free(struct token_files *files);
DEFINE_CLEANUP(struct token_files *, token_files_free);
