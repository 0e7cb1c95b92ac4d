#include "config.h"

#include "tokenservice/api/behind.h"

#include <stdio.h>
#include <string.h>

#include "lib/common/log.h"
#include "tokenservice/api/decision.h"

enum { STEPS_MAX = 2000 }; /* of one VM, looked through for a state that was not seen before */

struct search {
    char thumbprint[17];
    uint32_t ago; /* completed steps that are newer */
    bool found;
};

static int
look(void *context, const struct audit_record *record, struct error *err)
{
    struct search *s = context;

    (void)err;
    if (s->found)
        return 0;
    s->found = strstr(record->seen, s->thumbprint) != NULL;
    s->ago += !s->found;
    return 0;
}

/* Which step was that?  Of the disk, if it is behind, else of the index. */
static int
find_step(struct service *service, const struct prove *p, const struct proof_result *r, uint32_t *ret,
          struct error *err)
{
    bool disk = (r->behind & RATCHET_KEY) != 0;
    struct search s = { .found = false };

    *ret = ROW_AGO_UNKNOWN;
    if (!disk && !p->has_x)
        return 0;
    proof_print_thumbprint(disk ? p->cur : p->x, disk ? sizeof p->cur : sizeof p->x, s.thumbprint);
    if (store_audit_list_steps(service->store, &p->uuid, STEPS_MAX, look, &s, err) < 0)
        return -1;
    if (s.found)
        *ret = s.ago;
    return 0;
}

void
behind_print_ago(uint32_t ago, char ret[static BEHIND_AGO_MAX])
{
    if (ago == ROW_AGO_UNKNOWN)
        snprintf(ret, BEHIND_AGO_MAX, "unknown");
    else
        snprintf(ret, BEHIND_AGO_MAX, "%u step%s ago", ago, ago == 1 ? "" : "s");
}

int
behind_note(struct service *service, const struct prove *p, int64_t now_ms, struct vm_account *a,
            struct proof_result *r, struct error *err)
{
    struct row_seen seen = { .has = true, .ms = now_ms, .behind = (uint8_t)r->behind, .shown = r->shown };
    const struct row_seen *before = &a->id.seen;
    bool known = before->has && before->behind == seen.behind && grant_same(&before->shown, &seen.shown);
    size_t len = strlen(r->seen);
    char ago[BEHIND_AGO_MAX];

    if (!r->behind)
        return 0;
    if (known)
        seen.ago = before->ago;
    else if (find_step(service, p, r, &seen.ago, err) < 0)
        return -1;
    behind_print_ago(seen.ago, ago);
    snprintf(r->seen + len, sizeof r->seen - len, ", %s", ago);
    /* A candidate's epoch may never be the VM's. */
    if (known || !r->may_be_granted || p->epoch != a->id.epoch)
        return 0;
    a->id.seen = seen;
    return vm_account_save(service, a, err);
}

int
behind_record_step(struct service *s, struct api_call *call, const struct vm_account *a, unsigned stepped,
                   struct error *err)
{
    struct decision d = { .uuid = &a->id.uuid, .what = "stepped" };
    char key[17] = "-", x[17] = "-", seen[64], uuid[VM_UUID_TEXT];

    if (stepped & RATCHET_KEY)
        proof_print_thumbprint(a->id.cur, sizeof a->id.cur, key);
    if (stepped & RATCHET_INDEX)
        proof_print_thumbprint(a->id.x, sizeof a->id.x, x);
    snprintf(seen, sizeof seen, "key %s index %s", key, x);
    d.seen = seen;
    vm_uuid_print(&a->id.uuid, uuid);
    log_notice("event=stepped uuid=%s epoch=%llu key=%s index=%s", uuid, (unsigned long long)a->id.epoch, key, x);
    return decision_add(s, call, &d, err);
}
