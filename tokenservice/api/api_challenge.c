/*
 * A nonce for whoever asks; nothing is kept of it.
 */
#include "config.h"

#include "tokenservice/api/api.h"

#include "lib/crypto/random.h"
#include "tokenservice/api/api_body.h"
#include "tokenservice/attest/nonce.h"

int
api_challenge(struct service *s, struct api_call *call, struct error *err)
{
    CLEANUP(json_decref) json_t *body = NULL;
    const struct service_subkeys *keys;
    uint8_t nonce[NONCE_LEN], random[NONCE_RANDOM_LEN];
    json_t *answer;

    if (api_body_read(call, "", &body, err) < 0 ||
        service_subkeys(s, nonce_hour_now(call->now_ms), &keys, err) < 0 ||
        random_bytes(random, sizeof random, err) < 0 ||
        nonce_make(keys->nonce, s->info.issuer, call->now_ms, random, NULL, nonce,
                   err) < 0)
        return -1;
    answer = json_object();
    if (answer && json_set_bytes(answer, "nonce", nonce, sizeof nonce) < 0) {
        json_decref(answer);
        answer = NULL;
    }
    return api_body_answer(call, 200, answer, err);
}
