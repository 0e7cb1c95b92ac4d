#include "config.h"

#include "tokenservice/api/copied.h"

#include <stdio.h>
#include <string.h>

#include "lib/common/log.h"
#include "lib/crypto/hash.h"
#include "tokenservice/api/decision.h"

enum { WHOSE_MAX = VM_UUID_TEXT + NAME_DOMAIN_MAX + 40, COMMANDS_MAX = 5 * VM_UUID_TEXT + NAME_HOST_MAX * 2 + 200 };

int
copied_look(struct service *s, const struct prove *p, struct proof_account *into, struct error *err)
{
    uint8_t digest[ROW_EK_DIGEST_LEN];

    if (hash_sha256(p->ek, p->ek_len, digest, err) < 0)
        return -1;
    return store_vm_ek_owner(s->store, digest, &p->uuid, &into->owner, &into->is_copied, err);
}

/* By its UUID; and by its name, where it is one that we know. */
static int
print_whose(struct service *s, const struct vm_uuid *owner, char ret[static WHOSE_MAX], struct error *err)
{
    char uuid[VM_UUID_TEXT];
    struct vm_account original;
    struct error why = { 0 };
    bool known = vm_account_load(s, owner, &original, &why) == 0 && original.id.name[0];

    if (why.code != ERROR_NONE && why.code != ERROR_MISSING && why.code != ERROR_DENIED) {
        *err = why;
        return -1;
    }
    vm_uuid_print(owner, uuid);
    snprintf(ret, WHOSE_MAX, known ? "the vTPM of %s (%s)" : "the vTPM of %s", uuid, known ? original.id.name : "");
    return 0;
}

int
copied_take(struct service *s, struct api_call *call, struct vm_account *a, const struct vm_uuid *owner,
            struct error *err)
{
    char uuid[VM_UUID_TEXT], whose[WHOSE_MAX];
    struct decision d = { .what = "copied-vtpm", .uuid = &a->id.uuid, .seen = whose, .expected = "a vTPM of its own" };

    if (print_whose(s, owner, whose, err) < 0)
        return -1;
    a->id.ek_origin = ROW_EK_COPIED;
    vm_uuid_print(&a->id.uuid, uuid);
    log_warning("event=copied-vtpm uuid=%s %s", uuid, whose);
    return decision_add(s, call, &d, err);
}

static int
take_copy(void *context, const struct audit_record *record, struct error *err)
{
    (void)err;
    *(struct audit_record *)context = *record;
    return 0;
}

int
copied_step(struct service *s, const struct vm_account *a, json_t *steps, struct error *err)
{
    const char *host = a->stored.lease.hol[0] ? a->stored.lease.hol : "HOST";
    char uuid[VM_UUID_TEXT], commands[COMMANDS_MAX];
    struct audit_record r = { .seen = "the vTPM of another VM" };

    if (a->id.ek_origin != ROW_EK_COPIED)
        return 0;
    if (store_audit_list_copies(s->store, &a->id.uuid, 1, take_copy, &r, err) < 0)
        return -1;
    vm_uuid_print(&a->id.uuid, uuid);
    /* Nothing of ours deletes a vTPM, and a copy is no exception.  By UUID: a name may be anything in a shell. */
    snprintf(commands, sizeof commands,
             "give it one of its own, on %s: `virsh shutdown %s`; when it is off `rm -r /var/lib/libvirt/swtpm/%s`; "
             "`virtid place %s %s --new-vtpm`; `virsh start %s`",
             host, uuid, uuid, uuid, host, uuid);
    json_array_append_new(steps, json_pack("{s:s,s:s,s:s,s:s,s:s}", "step", "vtpm copied", "state", "not counted", "seen",
                                           r.seen, "expected", "a vTPM of its own", "repair", commands));
    return 0;
}
