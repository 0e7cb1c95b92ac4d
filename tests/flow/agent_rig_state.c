/* What a copy, a put-back or a power loss does to the VM of a rig. */
#include "config.h"

#include "tests/flow/agent_rig.h"

#include <assert.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "lib/common/fdio.h"

enum { STATE_MAX = 256 << 10 };

static void
copy_file(const char *from, const char *to)
{
    CLEANUP(buf_clear) struct buf bytes = BUF(STATE_MAX);
    struct error err = { 0 };

    if (access(from, F_OK) < 0) {
        (void)unlink(to);
        return;
    }
    assert(file_read(from, &bytes, &err) == 0);
    assert(file_replace(to, bytes.data, bytes.len, 0600, &err) == 0);
}

bool
rig_has(const struct rig *r, const char *name)
{
    char path[128];

    snprintf(path, sizeof path, "%s/%s", r->folder, name);
    return access(path, F_OK) == 0;
}

static void
tpm_paths(const struct rig *r, const char *name, char state[static 256], char kept[static 256])
{
    char uuid[VM_UUID_TEXT];

    vm_uuid_print(swtpm_box_uuid(r->tpm), uuid);
    snprintf(state, 256, "%s/%s/tpm2-00.permall", swtpm_box_folder(r->tpm), uuid);
    snprintf(kept, 256, "%s/tpm.%s", r->folder, name);
}

void
rig_keep_tpm(struct rig *r, const char *name)
{
    char state[256], kept[256];

    tpm_paths(r, name, state, kept);
    assert(access(state, F_OK) == 0);
    copy_file(state, kept);
}

void
rig_put_back_tpm(struct rig *r, const char *name)
{
    char state[256], kept[256];
    struct error err = { 0 };

    tpm_paths(r, name, state, kept);
    assert(access(kept, F_OK) == 0);
    assert(kill(swtpm_box_pid(r->tpm), SIGKILL) == 0);
    copy_file(kept, state);
    assert(swtpm_box_reset(r->tpm, true, &err) == 0);
}

static void
copy_slots(const struct rig *r, const char *from, const char *to)
{
    static const char *const SLOTS[] = { "cur", "new" };
    char old[128], copy[128];
    struct error err = { 0 };

    snprintf(copy, sizeof copy, "%s/%s", r->folder, to);
    assert(dir_make(copy, 0700, &err) == 0);
    for (size_t i = 0; i < 2; i++) {
        snprintf(old, sizeof old, "%s/%s/%s", r->folder, from, SLOTS[i]);
        snprintf(copy, sizeof copy, "%s/%s/%s", r->folder, to, SLOTS[i]);
        copy_file(old, copy);
    }
}

void
rig_keep_slots(struct rig *r, const char *name)
{
    copy_slots(r, "state/slots", name);
}

void
rig_put_back_slots(struct rig *r, const char *name)
{
    copy_slots(r, name, "state/slots");
}

void
rig_new_epoch(struct rig *r)
{
    pthread_mutex_lock(&r->lock);
    r->epoch++;
    pthread_mutex_unlock(&r->lock);
    rig_hello(r);
}

void
rig_accept(struct rig *r)
{
    pthread_mutex_lock(&r->lock);
    r->account.ratchet.grant = (struct grant){ .given = true, .epoch = r->epoch + 1, .ends_ms = INT64_MAX, .shown = r->shown };
    pthread_mutex_unlock(&r->lock);
    rig_new_epoch(r);
}

void
rig_power_loss(struct rig *r)
{
    rig_put_back_tpm(r, "durable");
    rig_new_epoch(r);
}
