#include "config.h"

#include "tpmsim/sim_provision.h"

#include <stdio.h>
#include <string.h>
#include <unistd.h>

#include "lib/common/fdio.h"
#include "lib/common/log.h"
#include "lib/common/secret.h"
#include "lib/crypto/key.h"
#include "lib/wire/slot.h"
#include "plugin/vtpm/vtpm.h"

enum { READY_MS = 20000, PATH_ROOM = 256 };

struct certifier {
    struct enroll *enroll;
    uint64_t epoch;
};

static int
certify(void *self, const struct vm_uuid *uuid, const uint8_t *ek, size_t ek_len,
        uint8_t *ret_der, size_t *ret_len, struct error *err)
{
    struct certifier *c = self;

    if (enroll_ek_cert(c->enroll, uuid, c->epoch, ek, ek_len, ret_der, ret_len, err) ==
        0)
        return 0;
    log_warning("event=no-ek-certificate %s", err->text);
    return -1;
}

bool
sim_provision_has_tpm(const struct sim_provision *p)
{
    char path[PATH_ROOM], uuid[VM_UUID_TEXT];

    vm_uuid_print(&p->record->uuid, uuid);
    snprintf(path, sizeof path, "%s/%s/tpm2-00.permall", p->folder, uuid);
    return access(path, F_OK) == 0;
}

/* A state that is there and that we do not know (a copy) is used as it is: its EK comes
 * at first proof. */
static int
step_vtpm(struct sim_host *host, const struct sim_provision *p, struct error *err)
{
    struct certifier certifier = { sim_host_enroll(host), p->epoch };
    struct vtpm_made made;

    if (p->no_tpm || sim_provision_has_tpm(p))
        return 0;
    if (vtpm_make(p->folder, &p->record->uuid, p->swtpm, certify, &certifier, READY_MS,
                  &made, err) < 0)
        return error_wrap(err, "no TPM (is swtpm installed?)");
    memcpy(p->record->ek, made.ek, made.ek_len);
    p->record->ek_len = made.ek_len;
    memcpy(p->record->x0, made.x0, sizeof p->record->x0);
    return sim_record_write(p->record_path, p->record, err);
}

static int
write_slot(const char *folder, const struct vm_uuid *uuid,
           uint8_t ret_point[KEY_POINT_LEN], struct error *err)
{
    CLEANUP(secret_free) struct secret *bytes = NULL;
    CLEANUP(key_free) struct key *key = NULL;
    struct slot slot = { .kind = SLOT_PRIVATE, .uuid = *uuid };
    char path[PATH_ROOM + 8];

    if (secret_new(SLOT_MAX, &bytes, err) < 0 || key_generate(&key, err) < 0)
        return -1;
    key_point(key, ret_point);
    key_private(key, slot.body);
    bytes->len = slot_encode(&slot, bytes->bytes);
    explicit_bzero(&slot, sizeof slot);
    snprintf(path, sizeof path, "%s/inject", folder);
    return file_replace(path, bytes->bytes, bytes->len, 0600, err);
}

/* The disk is ours to write: the VM is off, and we hold its lease. */
static int
step_inject(struct sim_host *host, const struct sim_provision *p, struct error *err)
{
    const struct host_channel_identity *id = sim_host_identity(host);
    char disk[PATH_ROOM], slots[PATH_ROOM], bundle[PATH_ROOM];

    if (p->no_secret || p->record->has_secret)
        return 0;
    snprintf(disk, sizeof disk, "%s/disk", p->folder);
    snprintf(slots, sizeof slots, "%s/disk/slots", p->folder);
    snprintf(bundle, sizeof bundle, "%s/disk/bundle", p->folder);
    if (dir_make(disk, 0755, err) < 0 || dir_make(slots, 0700, err) < 0 ||
        file_replace(bundle, id->bundle, id->bundle_len, 0644, err) < 0 ||
        write_slot(slots, &p->record->uuid, p->record->secret, err) < 0)
        return error_wrap(err, "disk");
    p->record->has_secret = true;
    return sim_record_write(p->record_path, p->record, err);
}

static int
step_account(struct sim_host *host, const struct sim_provision *p, struct error *err)
{
    struct enroll_account account = { .uuid = p->record->uuid,
                                      .epoch = p->epoch,
                                      .name = p->record->name };
    char state[ENROLL_STATE_MAX + 1], uuid[VM_UUID_TEXT];

    memcpy(account.ek, p->record->ek, p->record->ek_len);
    account.ek_len = p->record->ek_len;
    account.has_x0 = p->record->ek_len > 0;
    memcpy(account.x0, p->record->x0, sizeof account.x0);
    account.has_secret = p->record->has_secret && !p->record->renewed;
    memcpy(account.secret, p->record->secret, sizeof account.secret);
    if (enroll_account(sim_host_enroll(host), &account, state, err) < 0)
        return -1;
    p->record->enrolled = true;
    vm_uuid_print(&p->record->uuid, uuid);
    log_notice("event=account name=%s uuid=%s state=%s", p->record->name, uuid, state);
    return sim_record_write(p->record_path, p->record, err);
}

/* As plugin/made.c: the TPM that we made for it is not there any more, so it gets a new one, if the service takes that. */
static int
forget_lost_tpm(const struct sim_provision *p, struct error *err)
{
    if (!p->record->enrolled || p->no_tpm || p->record->ek_len == 0 || sim_provision_has_tpm(p))
        return 0;
    log_notice("event=tpm-lost name=%s", p->record->name);
    p->record->ek_len = 0;
    p->record->enrolled = false;
    p->record->renewed = true;
    return sim_record_write(p->record_path, p->record, err);
}

int
sim_provision_run(struct sim_host *host, const struct sim_provision *p,
                  struct error *err)
{
    if (forget_lost_tpm(p, err) < 0)
        return -1;
    if (p->record->enrolled)
        return 0;
    if (step_vtpm(host, p, err) < 0 || step_inject(host, p, err) < 0)
        return -1;
    return step_account(host, p, err);
}
