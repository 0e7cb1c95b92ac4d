/*
 * An EK certificate for a vTPM that the lease's holder is making.
 */
#include "config.h"

#include "tokenservice/api/api.h"

#include <string.h>

#include "lib/common/log.h"
#include "lib/crypto/hash.h"
#include "lib/tpm/tpm_data.h"
#include "tokenservice/api/api_body.h"
#include "tokenservice/api/decision.h"
#include "tokenservice/api/vm_account.h"

/*
 * Which EK it was, so that the account knows that we vouch for it.  A vTPM gets two, P-384 and RSA; the
 * VM is known by the first, which the second does not displace.
 */
static int
note(struct service *s, struct api_call *call, struct vm_account *account, bool is_rsa,
     const uint8_t *digest, struct error *err)
{
    struct decision d = { .what = "ek-cert", .uuid = &account->id.uuid };

    if (!is_rsa || !account->stored.has_ek_issued)
        memcpy(account->stored.ek_issued, digest, SHA256_LEN);
    account->stored.has_ek_issued = true;
    if (vm_account_save(s, account, err) < 0)
        return -1;
    return decision_add(s, call, &d, err);
}

int
api_ek_cert(struct service *s, struct api_call *call, struct error *err)
{
    CLEANUP(json_decref) json_t *body = NULL;
    CLEANUP(store_abandon) struct store *txn = NULL;
    CLEANUP(buf_clear) struct buf cert = BUF(MINT_CERT_MAX);
    struct vm_account account;
    struct credential_ek ek;
    struct vm_uuid uuid;
    uint8_t public_[EK_PUBLIC_MAX], digest[SHA256_LEN];
    size_t len;
    uint64_t epoch;
    json_t *answer;

    if (api_body_read(call, "uuid epoch ek", &body, err) < 0 ||
        api_body_uuid(body, &uuid, err) < 0 || api_body_epoch(body, &epoch, err) < 0 ||
        json_get_bytes(body, "ek", false, public_, sizeof public_, &len, err) < 0 ||
        tpm_ek_check(public_, len, &ek, err) < 0 ||
        hash_sha256(public_, len, digest, err) < 0)
        return api_body_refuse(err);
    if (decision_allowed(s, call, err) < 0 || store_begin(s->store, &txn, err) < 0 ||
        vm_account_load(s, &uuid, &account, err) < 0 ||
        vm_account_check_holder(s, &account, call->host.name, epoch, call->now_ms,
                                err) < 0)
        return -1;
    if (service_in_grace(s, call->now_ms, NULL))
        return error_problem(err, ERROR_BUSY, "grace",
                             "waiting for the hosts' reports");
    if (mint_certify_ek(s->mint, &uuid, &ek, &cert, err) < 0 ||
        note(s, call, &account, ek.kind == CREDENTIAL_EK_RSA2048, digest, err) < 0 || store_commit(txn, err) < 0)
        return -1;
    answer = json_object();
    if (answer && json_set_bytes(answer, "cert", cert.data, cert.len) < 0) {
        json_decref(answer);
        answer = NULL;
    }
    return api_body_answer(call, 200, answer, err);
}
