#include "config.h"

#include "tpmsim/swtpm_box.h"

#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <time.h>
#include <unistd.h>

#include "lib/common/clock.h"
#include "lib/common/fdio.h"
#include "lib/crypto/key.h"
#include "lib/crypto/random.h"
#include "lib/crypto/x509.h"
#include "plugin/vtpm/swtpm_run.h"
#include "tpmsim/janitor.h"

enum { FOLDER_MAX = 55, READY_MS = 10000, PATH_ROOM = 256 };

struct swtpm_box {
    char folder[PATH_ROOM]; /* ours; the state lies in folder/<uuid> */
    char state[PATH_ROOM], ca_file[PATH_ROOM];
    const char *swtpm;
    struct vm_uuid uuid;
    struct vtpm_made made;
    struct swtpm_run *run;
    struct janitor *janitor;
    struct key *ca_key;
    struct buf ca;
};

static void
random_uuid_bits(struct vm_uuid *uuid)
{
    uuid->bytes[6] = (uuid->bytes[6] & 0x0f) | 0x40; /* RFC 9562, 5.4 */
    uuid->bytes[8] = (uuid->bytes[8] & 0x3f) | 0x80;
}

static int
make_folder(struct swtpm_box *box, const char *keep, struct error *err)
{
    const char *tmp = getenv("TMPDIR");

    if (keep) {
        snprintf(box->folder, sizeof box->folder, "%s", keep);
        /* An empty folder may be removed and made anew; a full one is somebody's. */
        if ((rmdir(keep) < 0 && errno != ENOENT) || mkdir(keep, 0700) < 0)
            return error_sys(err, errno, "%s", keep);
        return 0;
    }
    /* A long TMPDIR leaves no room for sockets (unix(7)). */
    if (!tmp || strlen(tmp) > 30)
        tmp = "/tmp";
    snprintf(box->folder, sizeof box->folder, "%s/virtid-tpm-XXXXXX", tmp);
    if (!mkdtemp(box->folder)) {
        error_sys(err, errno, "temporary folder %s", box->folder);
        return -1;
    }
    return janitor_start(box->folder, &box->janitor, err);
}

static int
make_ca(struct swtpm_box *box, struct error *err)
{
    CLEANUP(buf_clear) struct buf spki = BUF(512);
    CLEANUP(buf_clear) struct buf pem = BUF(8192);
    uint8_t point[KEY_POINT_LEN], serial[16];
    struct x509_request request = {
        .kind = X509_CA_EK,
        .name = "virtid simulated EK CA",
        .serial = serial,
        .now = (int64_t)time(NULL),
    };

    if (key_generate(&box->ca_key, err) < 0 || random_bytes(serial, sizeof serial, err) < 0)
        return -1;
    serial[0] &= 0x7f;
    key_point(box->ca_key, point);
    if (x509_spki_of_point(point, &spki, err) < 0)
        return -1;
    request.spki = spki.data;
    request.spki_len = spki.len;
    if (x509_compose(&request, box->ca_key, NULL, 0, &box->ca, err) < 0 ||
        x509_to_pem(box->ca.data, box->ca.len, &pem, err) < 0)
        return -1;
    return file_replace(box->ca_file, pem.data, pem.len, 0644, err);
}

/* vtpm_certify by the box's own CA. */
static int
certify(void *self, const struct vm_uuid *uuid, const uint8_t *ek, size_t ek_len,
        uint8_t *ret_der, size_t *ret_len, struct error *err)
{
    struct swtpm_box *box = self;
    CLEANUP(buf_clear) struct buf spki = BUF(1024);
    CLEANUP(buf_clear) struct buf der = BUF(VTPM_CERT_MAX);
    char name[VM_UUID_TEXT];
    uint8_t serial[16];
    struct credential_ek key;
    struct x509_request request = {
        .kind = X509_EK,
        .name = name,
        .serial = serial,
        .now = (int64_t)time(NULL),
    };

    vm_uuid_print(uuid, name);
    if (random_bytes(serial, sizeof serial, err) < 0 ||
        tpm_ek_check(ek, ek_len, &key, err) < 0 || tpm_ek_spki(&key, &spki, err) < 0)
        return -1;
    serial[0] &= 0x7f;
    request.spki = spki.data;
    request.spki_len = spki.len;
    if (x509_compose(&request, box->ca_key, box->ca.data, box->ca.len, &der, err) < 0)
        return -1;
    memcpy(ret_der, der.data, der.len);
    *ret_len = der.len;
    return 0;
}

int
swtpm_box_new(const char *keep, const char *swtpm, struct swtpm_box **ret, struct error *err)
{
    CLEANUP(swtpm_box_free) struct swtpm_box *box = NULL;
    char text[VM_UUID_TEXT];

    if (keep && strlen(keep) > FOLDER_MAX)
        return error_set(err, ERROR_INPUT, "%s: more than %d characters", keep, FOLDER_MAX);
    box = calloc(1, sizeof *box);
    if (!box)
        return error_sys(err, ENOMEM, "box");
    box->ca = BUF(X509_DER_MAX);
    box->swtpm = swtpm;
    if (make_folder(box, keep, err) < 0)
        return -1;
    snprintf(box->ca_file, sizeof box->ca_file, "%.*s/ek-ca.pem", PATH_ROOM - 16, box->folder);
    if (random_bytes(box->uuid.bytes, sizeof box->uuid.bytes, err) < 0)
        return -1;
    random_uuid_bits(&box->uuid);
    vm_uuid_print(&box->uuid, text);
    snprintf(box->state, sizeof box->state, "%.*s/%s", PATH_ROOM - 48, box->folder, text);
    if (make_ca(box, err) < 0 ||
        vtpm_make(box->folder, &box->uuid, swtpm, certify, box, READY_MS, &box->made, err) < 0 ||
        swtpm_run_start(swtpm, box->state, clock_monotonic_ms() + READY_MS, &box->run, err) < 0)
        return -1;
    *ret = STEAL(box);
    return 0;
}

void
swtpm_box_free(struct swtpm_box *box)
{
    if (!box)
        return;
    swtpm_run_kill(box->run);
    janitor_end(box->janitor);
    key_free(box->ca_key);
    buf_clear(&box->ca);
    free(box);
}

const char *
swtpm_box_tcti(const struct swtpm_box *box)
{
    return swtpm_run_tcti(box->run);
}

const char *
swtpm_box_folder(const struct swtpm_box *box)
{
    return box->folder;
}

const char *
swtpm_box_ca_file(const struct swtpm_box *box)
{
    return box->ca_file;
}

void
swtpm_box_ca(const struct swtpm_box *box, const uint8_t **ret, size_t *ret_len)
{
    *ret = box->ca.data;
    *ret_len = box->ca.len;
}

const struct vtpm_made *
swtpm_box_made(const struct swtpm_box *box)
{
    return &box->made;
}

const struct vm_uuid *
swtpm_box_uuid(const struct swtpm_box *box)
{
    return &box->uuid;
}

pid_t
swtpm_box_pid(const struct swtpm_box *box)
{
    return box->run ? swtpm_run_pid(box->run) : -1;
}

bool
swtpm_box_owns(const struct swtpm_box *box, pid_t pid)
{
    return pid == swtpm_box_pid(box) || (box->janitor && pid == janitor_pid(box->janitor));
}

int
swtpm_box_reset(struct swtpm_box *box, bool hard, struct error *err)
{
    int64_t deadline = clock_monotonic_ms() + READY_MS;

    if (hard)
        swtpm_run_kill(STEAL(box->run));
    else if (swtpm_run_stop(STEAL(box->run), deadline, err) < 0)
        return -1;
    return swtpm_run_start(box->swtpm, box->state, deadline, &box->run, err);
}
