/*
 * virtid backup, virtid restore - database, keys and configuration of the token service, in one sealed file
 *
 * The file is a tar in CMS (lib/crypto/sealed.h): whoever has the passphrase or key and no virtid at hand opens it by
 * `openssl cms -decrypt -inform DER` and tar.
 */
#include "config.h"

#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <getopt.h>
#include <signal.h>
#include <stdio.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include "cli/command.h"
#include "cli/sealing.h"
#include "cli/service_files.h"
#include "lib/common/clock.h"
#include "lib/common/fdio.h"
#include "lib/common/process.h"

#define TAR "/usr/bin/tar"
#define COPY "backup.db" /* as virtid-tokend --copy-database makes it */
#define DATABASE "tokend.db"

enum { TAR_MS = 3600 * 1000, PATH_ROOM = 2 * SERVICE_PATH_MAX };

struct wish {
    const char *file, *config, *pem, *tokend;
    struct service_files files;
};

static volatile sig_atomic_t interrupted;

static void
note_signal(int number)
{
    (void)number;
    interrupted = 1;
}

/*
 * We have secrets in memory.  Ctrl-C ends our children and interrupts what we wait for: then we clean up, as after any
 * failure.
 */
static void
prepare(void)
{
    const int signals[] = { SIGINT, SIGTERM, SIGHUP };

    process_harden();
    for (size_t i = 0; i < sizeof signals / sizeof *signals; i++)
        (void)sigaction(signals[i], &(struct sigaction){ .sa_handler = note_signal }, NULL);
}

static int
read_options(int argc, char **argv, const char *pem_option, struct wish *ret, struct error *err)
{
    const struct option options[] = { { "config", required_argument, NULL, 'c' },
                                      { "tokend", required_argument, NULL, 't' },
                                      { pem_option, required_argument, NULL, 'p' },
                                      { 0 } };
    int option;

    while ((option = getopt_long(argc, argv, "", options, NULL)) != -1) {
        if (option == 'c')
            ret->config = optarg;
        else if (option == 't')
            ret->tokend = optarg;
        else if (option == 'p')
            ret->pem = optarg;
        else
            return error_set(err, ERROR_INPUT, "wrong option");
    }
    if (optind != argc - 1)
        return error_set(err, ERROR_INPUT, "it takes one FILE");
    ret->file = argv[optind];
    return service_files_find(ret->config, &ret->files, err);
}

static int
join(char ret[static PATH_ROOM], const char *folder, const char *name, struct error *err)
{
    if (snprintf(ret, PATH_ROOM, "%s/%s", folder, name) >= PATH_ROOM)
        return error_set(err, ERROR_INPUT, "%s/%s is too long", folder, name);
    return 0;
}

/* ---- backup ---- */

static int
copy_database(const struct wish *wish, struct error *err)
{
    const char *argv[] = { wish->tokend, "--config", wish->config, "--copy-database", NULL };

    if (service_tool(argv, err) < 0)
        return error_wrap(err, "the database was not copied");
    return 0;
}

/* Everything but the database stands in its folder already, and goes from there into the sealed file. */
static int
start_tar(const struct service_files *f, int out, pid_t *ret, struct error *err)
{
    char drop_ins[PATH_ROOM], drop_in_name[SERVICE_PATH_MAX + 2];
    const char *argv[32];
    struct process_spawn spawn = PROCESS_SPAWN(argv);
    size_t n = 0;

    snprintf(drop_in_name, sizeof drop_in_name, "%s.d", f->config_name);
    if (join(drop_ins, f->config_dir, drop_in_name, err) < 0)
        return -1;
    argv[n++] = TAR;
    argv[n++] = "--create";
    argv[n++] = "--numeric-owner";
    argv[n++] = "--transform=s,^" COPY "$," DATABASE ",";
    argv[n++] = "--transform=s,^\\./,keys/,";
    argv[n++] = "--transform=s,^\\.$,keys,";
    argv[n++] = "--directory";
    argv[n++] = f->key_dir;
    argv[n++] = ".";
    argv[n++] = "--directory";
    argv[n++] = f->config_dir;
    argv[n++] = f->config_name;
    if (access(drop_ins, F_OK) == 0)
        argv[n++] = drop_in_name;
    argv[n++] = "--directory";
    argv[n++] = f->state_dir;
    argv[n++] = COPY;
    argv[n] = NULL;
    spawn.stdout_fd = out;
    spawn.stderr_fd = STDERR_FILENO;
    return process_start(&spawn, ret, err);
}

static int
seal_into(const struct wish *wish, const struct sealed_for *who, int out, struct error *err)
{
    struct error end = { 0 };
    int ends[2], failed;
    pid_t tar;

    if (pipe2(ends, O_CLOEXEC) < 0)
        return error_sys(err, errno, "pipe");
    failed = start_tar(&wish->files, ends[1], &tar, err);
    close(ends[1]);
    if (failed == 0) {
        failed = sealed_write(who, ends[0], out, err);
        close(ends[0]); /* a tar that still writes ends by that */
        if (process_wait(tar, clock_monotonic_ms() + TAR_MS, &end) < 0 && failed == 0) {
            *err = end;
            return error_wrap(err, "tar");
        }
        /* A read that a signal ends looks like the end of what was to be read. */
        return failed == 0 && interrupted ? error_set(err, ERROR_SYSTEM, "interrupted") : failed;
    }
    close(ends[0]);
    return -1;
}

/* A file that is there is replaced when the new one is whole. */
static int
write_file(const struct wish *wish, const struct sealed_for *who, struct error *err)
{
    CLEANUP(fd_close) int fd = -1;
    char path[PATH_ROOM];

    if (strcmp(wish->file, "-") == 0)
        return seal_into(wish, who, STDOUT_FILENO, err);
    if (snprintf(path, sizeof path, "%s.new", wish->file) >= (int)sizeof path)
        return error_set(err, ERROR_INPUT, "%s is too long", wish->file);
    fd = open(path, O_WRONLY | O_CREAT | O_TRUNC | O_NOFOLLOW | O_CLOEXEC, 0600);
    if (fd < 0)
        return error_sys(err, errno, "%s", path);
    if (seal_into(wish, who, fd, err) < 0) {
        (void)unlink(path);
        return -1;
    }
    if (fsync(fd) < 0 || rename(path, wish->file) < 0) {
        error_sys(err, errno, "%s", wish->file);
        (void)unlink(path);
        return -1;
    }
    return 0;
}

static int
back_up(const struct wish *wish, const struct sealed_for *who, struct error *err)
{
    char copy[PATH_ROOM];
    int failed;

    if (!wish->files.configured)
        return error_set(err, ERROR_MISSING, "there is no %s: is this the token service's machine?", wish->config);
    if (copy_database(wish, err) < 0)
        return -1;
    failed = write_file(wish, who, err);
    if (join(copy, wish->files.state_dir, COPY, err) < 0)
        return -1;
    (void)unlink(copy);
    return failed;
}

int
cmd_backup(const struct cli *cli, int argc, char **argv)
{
    struct wish wish = { .config = VIRTID_SYSCONFDIR "/tokend.conf", .tokend = VIRTID_SBINDIR "/virtid-tokend" };
    CLEANUP(sealing_clear) struct sealing sealing = SEALING();
    struct error err = { 0 };

    (void)cli;
    if (read_options(argc, argv, "recipient", &wish, &err) < 0)
        return cli_usage("backup: %s", err.text);
    if (strcmp(wish.file, "-") == 0 && isatty(STDOUT_FILENO))
        return cli_usage("backup: standard output is a terminal");
    prepare();
    if (sealing_read(wish.pem, true, &sealing, &err) < 0 || back_up(&wish, &sealing.who, &err) < 0)
        return cli_fail(&err);
    if (strcmp(wish.file, "-") != 0)
        printf("%s: database, keys and configuration of %s\n", wish.file, wish.config);
    return EXIT_DONE;
}

/* ---- restore ---- */

static bool
is_empty(const char *path)
{
    DIR *folder = opendir(path);
    struct dirent *entry;
    bool empty = true;

    if (!folder)
        return errno == ENOENT;
    while ((entry = readdir(folder)))
        empty &= entry->d_name[0] == '.' && (!entry->d_name[1] || !strcmp(entry->d_name, ".."));
    closedir(folder);
    return empty;
}

/* Nothing that is there is written over: it may be the newer one. */
static int
check_place(const struct service_files *f, struct error *err)
{
    char database[PATH_ROOM];

    if (join(database, f->state_dir, DATABASE, err) < 0)
        return -1;
    if (access(database, F_OK) == 0)
        return error_set(err, ERROR_DENIED, "%s is there; stop virtid-tokend, and move it and its -wal and -shm away", database);
    if (!is_empty(f->key_dir))
        return error_set(err, ERROR_DENIED, "%s is not empty; move what is in it away", f->key_dir);
    return 0;
}

static int
unpack(const char *file, const struct sealed_for *who, const char *into, struct error *err)
{
    CLEANUP(fd_close) int in = open(file, O_RDONLY | O_CLOEXEC), out = -1;
    char archive[PATH_ROOM];
    const char *argv[] = { TAR, "--extract", "--preserve-permissions", "--no-same-owner", "--directory", into,
                           "--file", archive, NULL };
    int failed;

    if (in < 0)
        return error_sys(err, errno, "%s", file);
    if (join(archive, into, "archive", err) < 0)
        return -1;
    out = open(archive, O_WRONLY | O_CREAT | O_EXCL | O_CLOEXEC, 0600);
    if (out < 0)
        return error_sys(err, errno, "%s", archive);
    if (sealed_read(who, in, out, err) < 0)
        return error_wrap(err, "%s", file);
    failed = service_tool(argv, err);
    (void)unlink(archive);
    return failed;
}

static int
move(const char *from, const char *name, const char *to, struct error *err)
{
    char source[PATH_ROOM];
    const char *argv[] = { "/usr/bin/mv", "--no-clobber", "--", source, to, NULL };

    return join(source, from, name, err) < 0 ? -1 : service_tool(argv, err);
}

static bool
has(const char *folder, const char *name, mode_t type)
{
    char path[PATH_ROOM];
    struct error ignored;
    struct stat st;

    return join(path, folder, name, &ignored) == 0 && lstat(path, &st) == 0 && (st.st_mode & S_IFMT) == type;
}

/* The configuration of the backup, where there is none. */
static int
put_configuration(const char *from, const struct service_files *f, struct error *err)
{
    char name[SERVICE_PATH_MAX + 2], path[PATH_ROOM];

    snprintf(name, sizeof name, "%s.d", f->config_name);
    if (move(from, f->config_name, f->config, err) < 0 || join(path, f->config_dir, name, err) < 0)
        return -1;
    return has(from, name, S_IFDIR) ? move(from, name, path, err) : 0;
}

/* The keys last: without them no service starts. */
static int
put_in_place(const char *from, const struct service_files *f, struct error *err)
{
    char database[PATH_ROOM], keys[PATH_ROOM], ca[PATH_ROOM], published[PATH_ROOM];
    const char *copy_ca[] = { "/usr/bin/install", "-m", "644", "--", ca, published, NULL };

    if (join(keys, from, "keys", err) < 0 || join(ca, keys, "ca.pem", err) < 0 ||
        join(published, f->config_dir, "ca.pem", err) < 0 || join(database, f->state_dir, DATABASE, err) < 0 ||
        service_folder(f->config_dir, 0755, NULL, err) < 0 ||
        service_folder(f->state_dir, 0700, f->service_user, err) < 0 ||
        (!f->configured && put_configuration(from, f, err) < 0) || service_tool(copy_ca, err) < 0 ||
        move(from, DATABASE, database, err) < 0 || service_give(database, f->service_user, err) < 0 ||
        service_give(keys, f->signer_user, err) < 0)
        return -1;
    if (rmdir(f->key_dir) < 0 && errno != ENOENT)
        return error_sys(err, errno, "%s", f->key_dir);
    return move(from, "keys", f->key_dir, err);
}

static int
restore_from(struct wish *wish, const struct sealed_for *who, const char *at, struct error *err)
{
    char config[PATH_ROOM];

    if (unpack(wish->file, who, at, err) < 0)
        return -1;
    /* The signer's user could put a link into its folder; what it leads to must not be published. */
    if (!has(at, DATABASE, S_IFREG) || !has(at, "keys", S_IFDIR) || !has(at, "keys/ca.pem", S_IFREG) ||
        !has(at, wish->files.config_name, S_IFREG))
        return error_set(err, ERROR_INPUT, "%s holds no backup of a %s", wish->file, wish->files.config_name);
    if (join(config, at, wish->files.config_name, err) < 0)
        return -1;
    if (!wish->files.configured && service_files_read(config, &wish->files, err) < 0)
        return -1;
    if (check_place(&wish->files, err) < 0)
        return -1;
    return put_in_place(at, &wish->files, err);
}

static int
restore(struct wish *wish, const struct sealed_for *who, struct error *err)
{
    char at[PATH_ROOM];
    const char *clean[] = { "/usr/bin/rm", "-rf", "--", at, NULL };
    struct error ignored;
    int failed;

    if (wish->files.configured && check_place(&wish->files, err) < 0)
        return -1;
    /*
     * Where the keys go may stand in what is to be unpacked: so beside the configuration's folder.  Of one name: what a
     * killed restore left there, keys among it, goes with the next.
     */
    if (snprintf(at, sizeof at, "%s.restore", wish->files.config_dir) >= (int)sizeof at)
        return error_set(err, ERROR_INPUT, "%s is too long", wish->files.config_dir);
    if (service_tool(clean, err) < 0)
        return -1;
    if (mkdir(at, 0700) < 0)
        return error_sys(err, errno, "%s", at);
    failed = restore_from(wish, who, at, err);
    (void)service_tool(clean, &ignored);
    return failed;
}

int
cmd_restore(const struct cli *cli, int argc, char **argv)
{
    struct wish wish = { .config = VIRTID_SYSCONFDIR "/tokend.conf" };
    CLEANUP(sealing_clear) struct sealing sealing = SEALING();
    struct error err = { 0 };
    bool kept;

    (void)cli;
    if (read_options(argc, argv, "key", &wish, &err) < 0)
        return cli_usage("restore: %s", err.text);
    prepare();
    kept = wish.files.configured;
    if (sealing_read(wish.pem, false, &sealing, &err) < 0 || restore(&wish, &sealing.who, &err) < 0)
        return cli_fail(&err);
    printf("Database        %s/" DATABASE "\nKeys            %s\nConfiguration   %s%s\n\n"
           "Next:  virtid-tokend --recovery   once, if hosts may have gone on since this backup\n"
           "       (see RECOVERY.md); else systemctl enable --now virtid-tokend\n",
           wish.files.state_dir, wish.files.key_dir, wish.config, kept ? "  (was there, and is as it was)" : "");
    return EXIT_DONE;
}
