#include "config.h"

#include "plugin/vtpm/vtpm.h"

#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include "lib/common/clock.h"
#include "lib/common/fdio.h"
#include "lib/tpm/tpm_device.h"
#include "plugin/vtpm/swtpm_run.h"

enum { FOLDER_MAX = 55, STOP_MS = 5000 };

static void
dir_close(DIR *dir)
{
    if (dir)
        closedir(dir);
}
DEFINE_CLEANUP(DIR *, dir_close);

/* Files and sockets only: nothing of ours has a folder in it. */
static int
remove_folder(const char *path, struct error *err)
{
    CLEANUP(dir_close) DIR *dir = NULL;
    int fd = open(path, O_RDONLY | O_DIRECTORY | O_NOFOLLOW | O_CLOEXEC);

    if (fd < 0 && errno == ENOENT)
        return 0;
    if (fd < 0)
        return error_sys(err, errno, "open %s", path);
    dir = fdopendir(fd);
    if (!dir) {
        close(fd);
        return error_sys(err, ENOMEM, "open %s", path);
    }
    for (struct dirent *e = readdir(dir); e; e = readdir(dir)) {
        if (strcmp(e->d_name, ".") == 0 || strcmp(e->d_name, "..") == 0)
            continue;
        if (unlinkat(fd, e->d_name, 0) < 0 && errno != ENOENT)
            return error_sys(err, errno, "remove %s/%s", path, e->d_name);
    }
    if (rmdir(path) < 0 && errno != ENOENT)
        return error_sys(err, errno, "remove %s", path);
    return 0;
}

static int
state_folder(const char *folder, const struct vm_uuid *uuid, char ret[static VTPM_PATH_MAX],
             struct error *err)
{
    char text[VM_UUID_TEXT];

    if (strlen(folder) > FOLDER_MAX)
        return error_set(err, ERROR_INPUT, "%s: a folder for vTPMs has at most %d characters",
                         folder, FOLDER_MAX);
    vm_uuid_print(uuid, text);
    snprintf(ret, VTPM_PATH_MAX, "%s/%s", folder, text);
    return 0;
}

int
vtpm_forget(const char *folder, const struct vm_uuid *uuid, struct error *err)
{
    char path[VTPM_PATH_MAX];

    return state_folder(folder, uuid, path, err) < 0 ? -1 : remove_folder(path, err);
}

/* What vtpm_make was asked for. */
struct order {
    const struct vm_uuid *uuid;
    vtpm_certify *certify;
    void *self;
};

/* An EK and, where it can be had, its certificate. */
static int
make_ek(struct tpm_device *tpm, bool rsa, const struct order *order, struct buf *ret_ek,
        bool *ret_cert, struct error *err)
{
    uint8_t der[VTPM_CERT_MAX];
    size_t len = 0;
    struct error why;

    *ret_cert = false;
    if (tpm_make_ek(tpm, rsa, ret_ek, err) < 0)
        return -1;
    if (!order->certify ||
        order->certify(order->self, order->uuid, ret_ek->data, ret_ek->len, der, &len, &why) < 0)
        return 0;
    if (tpm_store_ek_cert(tpm, rsa, der, len, err) < 0)
        return -1;
    *ret_cert = true;
    return 0;
}

static int
fill(const char *tcti, const struct order *order, struct vtpm_made *made, struct error *err)
{
    CLEANUP(tpm_close) struct tpm_device *tpm = NULL;
    CLEANUP(buf_clear) struct buf rsa = BUF(VTPM_EK_MAX);
    CLEANUP(buf_clear) struct buf p384 = BUF(VTPM_EK_MAX);
    struct order rsa_order = *order;
    bool rsa_cert;

    if (tpm_open(tcti, &tpm, err) < 0)
        return -1;
    if (make_ek(tpm, false, order, &p384, &made->ek_cert, err) < 0)
        return -1;
    /* With a certificate for the RSA key alone a guest would take that one for the VM's. */
    if (!made->ek_cert)
        rsa_order.certify = NULL;
    if (make_ek(tpm, true, &rsa_order, &rsa, &rsa_cert, err) < 0 ||
        tpm_make_index(tpm, made->x0, err) < 0 || tpm_finish(tpm, err) < 0)
        return -1;
    memcpy(made->ek, p384.data, p384.len);
    made->ek_len = p384.len;
    return 0;
}

/* swtpm itself never syncs. */
static int
make_durable(const char *folder, const char *path, struct error *err)
{
    CLEANUP(fd_close) int dir = open(folder, O_RDONLY | O_DIRECTORY | O_CLOEXEC);
    CLEANUP(fd_close) int file = open(path, O_RDONLY | O_NOFOLLOW | O_CLOEXEC);

    if (dir < 0 || file < 0)
        return error_sys(err, errno, "open %s", path);
    if (fsync(file) < 0 || fsync(dir) < 0)
        return error_sys(err, errno, "fsync %s", path);
    return 0;
}

static int
make_in(const char *folder, const char *swtpm, const struct order *order, int64_t deadline_ms,
        struct vtpm_made *made, struct error *err)
{
    CLEANUP(swtpm_run_kill) struct swtpm_run *run = NULL;

    if (mkdir(folder, 0700) < 0)
        return error_sys(err, errno, "mkdir %s", folder);
    if (swtpm_run_start(swtpm, folder, deadline_ms, &run, err) < 0)
        return -1;
    if (fill(swtpm_run_tcti(run), order, made, err) < 0)
        return -1;
    if (swtpm_run_stop(STEAL(run), clock_monotonic_ms() + STOP_MS, err) < 0)
        return -1;
    snprintf(made->path, sizeof made->path, "%.*s/tpm2-00.permall", VTPM_PATH_MAX - 32, folder);
    return make_durable(folder, made->path, err);
}

int
vtpm_make(const char *folder, const struct vm_uuid *uuid, const char *swtpm,
          vtpm_certify *certify, void *self, int64_t limit_ms, struct vtpm_made *ret,
          struct error *err)
{
    struct order order = { uuid, certify, self };
    struct vtpm_made made = { 0 };
    char path[VTPM_PATH_MAX];
    struct error why;

    if (state_folder(folder, uuid, path, err) < 0 || remove_folder(path, err) < 0)
        return -1;
    if (make_in(path, swtpm, &order, clock_monotonic_ms() + limit_ms, &made, err) < 0) {
        (void)remove_folder(path, &why);
        return error_wrap(err, "new vTPM");
    }
    *ret = made;
    return 0;
}
