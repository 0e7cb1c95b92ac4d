/*
 * Operators: the trust domain's next CA is published, and issues; everybody: the certificates of both.
 */
#include "config.h"

#include "tokenservice/api/api.h"

#include <stdio.h>
#include <string.h>

#include "lib/wire/bundle.h"
#include "tokenservice/api/api_body.h"
#include "tokenservice/api/authority.h"
#include "tokenservice/api/signing_keys.h"

enum { PEM_ROOM = 16384, NAMES_SHOWN = 200 };

/* CA now, and CA next if there is one. */
static int
print_pem(const struct service *s, struct buf *into, struct error *err)
{
    struct bundle bundle;

    if (bundle_decode(s->info.bundle, s->info.bundle_len, &bundle, err) < 0 ||
        x509_to_pem(bundle.ca_now, bundle.ca_now_len, into, err) < 0)
        return -1;
    return bundle.ca_next_len == 0 ? 0 : x509_to_pem(bundle.ca_next, bundle.ca_next_len, into, err);
}

int
api_ca(struct service *s, struct api_call *call, struct error *err)
{
    snprintf(call->reply->headers, sizeof call->reply->headers, "Cache-Control: no-cache\r\n");
    call->reply->content_type = "application/x-pem-file";
    call->reply->status = 200;
    return print_pem(s, &call->reply->body, err);
}

static int
answer_ca(struct service *s, struct api_call *call, struct error *err)
{
    CLEANUP(buf_clear) struct buf pem = BUF(PEM_ROOM);
    CLEANUP(json_decref) json_t *behind = json_array();
    size_t hosts = 0;

    if (print_pem(s, &pem, err) < 0 || authority_behind(s, call->now_ms, behind, &hosts, err) < 0)
        return -1;
    if (!buf_text(&pem))
        return error_set(err, ERROR_SYSTEM, "no memory for an answer");
    return api_body_answer(call, 200,
                           json_pack("{s:I,s:I,s:O,s:s}", "serial", (json_int_t)s->info.bundle_serial, "hosts",
                                     (json_int_t)hosts, "behind", behind, "pem", buf_text(&pem)),
                           err);
}

int
api_admin_ca(struct service *s, struct api_call *call, struct error *err)
{
    return signing_keys_look(s, err) < 0 ? -1 : answer_ca(s, call, err);
}

/* Every host that may come back trusts the next CA, or an operator says that it need not. */
static int
check_hosts(struct service *s, struct api_call *call, struct error *err)
{
    CLEANUP(json_decref) json_t *behind = json_array();
    char names[NAMES_SHOWN + 1] = "";
    size_t hosts = 0, i, len = 0;
    const json_t *name;

    if (authority_behind(s, call->now_ms, behind, &hosts, err) < 0)
        return -1;
    if (json_array_size(behind) == 0)
        return 0;
    json_array_foreach(behind, i, name) {
        int n = snprintf(names + len, sizeof names - len, " %s", json_string_value(name));

        if (n < 0 || (size_t)n >= sizeof names - len) {
            names[len] = '\0';
            break;
        }
        len += (size_t)n;
    }
    return error_problem(err, ERROR_BUSY, "ca-young", "%zu of %zu hosts do not have the next CA yet:%s%s",
                         json_array_size(behind), hosts, names, i < json_array_size(behind) ? " ..." : "");
}

/* What the signer has done is recorded and used, also what a crash or a lost answer kept from it. */
static int
follow_cas(struct service *s, const struct api_call *call, struct mint_keys *ret, struct error *err)
{
    return mint_keys(s->mint, ret, err) < 0 ? -1 : authority_look(s, call, ret, err);
}

static bool
issues_already(const struct mint_keys *keys, const char *kid)
{
    for (size_t i = 0; i < keys->n; i++) {
        if (keys->keys[i].purpose == MINT_KEY_HOST_CA && keys->keys[i].state == MINT_KEY_ACTIVE &&
            strcmp(keys->keys[i].kid, kid) == 0)
            return true;
    }
    return false;
}

int
api_admin_ca_rotate(struct service *s, struct api_call *call, struct error *err)
{
    CLEANUP(json_decref) json_t *body = NULL;
    struct mint_keys keys;
    const char *kid = NULL;
    bool force = false;

    if (api_body_read(call, "kid force", &body, err) < 0 ||
        json_get_string(body, "kid", true, MINT_KID_MAX, &kid, err) < 0 ||
        json_get_bool(body, "force", true, &force, err) < 0)
        return api_body_refuse(err);
    if (kid && kid[0] == '\0')
        return error_problem(err, ERROR_INPUT, "bad-request", "an empty kid");
    /* Before the hosts are looked at: they are asked for the serial that the signer has. */
    if (follow_cas(s, call, &keys, err) < 0)
        return -1;
    if (!kid) {
        if (mint_ca_publish(s->mint, err) < 0)
            return -1;
    } else if (!issues_already(&keys, kid)) {
        if ((!force && check_hosts(s, call, err) < 0) || mint_ca_turn(s->mint, kid, err) < 0)
            return -1;
    }
    return follow_cas(s, call, &keys, err) < 0 ? -1 : answer_ca(s, call, err);
}
