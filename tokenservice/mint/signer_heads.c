#include "config.h"

#include "tokenservice/mint/signer_heads.h"

#include <string.h>

static int
refuse_head(const struct audit_head *newest, const struct audit_head *head, struct error *err)
{
    if (head->id < newest->id)
        return error_problem(err, ERROR_DENIED, "audit-broken", "record %lld of the audit was signed, and this is record %lld",
                             (long long)newest->id, (long long)head->id);
    return error_problem(err, ERROR_DENIED, "audit-broken", "another record %lld of the audit was signed", (long long)head->id);
}

int
signer_head(struct signer_keys *keys, const struct mint_request *request, int64_t now, struct audit_head *ret,
            struct error *err)
{
    const struct audit_head *newest = &keys->head.newest;
    struct audit_head head = { .line = newest->line, .id = request->head_id, .ms = now * 1000 };
    bool same;

    memcpy(head.hash, request->head_hash, sizeof head.hash);
    same = head.id == newest->id && memcmp(head.hash, newest->hash, sizeof head.hash) == 0;
    if (request->new_line)
        head.line = (uint64_t)now > newest->line ? (uint64_t)now : newest->line + 1;
    else if (!same && head.id <= newest->id)
        return refuse_head(newest, &head, err);
    if ((!same || request->new_line) && head_file_write(&keys->head, &head, err) < 0)
        return -1;
    *ret = head;
    return audit_head_sign(ret, keys->audit, err);
}
