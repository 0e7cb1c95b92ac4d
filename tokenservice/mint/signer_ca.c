#include "config.h"

#include "tokenservice/mint/signer_ca.h"

#include <string.h>

#include "lib/crypto/x509.h"

/* On disk, then in use. */
static int
change_cas(struct signer_keys *keys, const struct ca_set *cas, const struct buf *link, struct error *err)
{
    return ca_file_write(&keys->cas_file, link, cas, err) < 0 ? -1 : signer_keys_take_cas(keys, cas, err);
}

static int
make_good(struct signer_keys *keys, int64_t now, struct ca_set *cas, struct error *err)
{
    struct ca_names names = signer_keys_names(keys);
    bool dropped = ca_set_drop(cas, now);

    if (!keys->vouched && ca_set_vouch(cas, &names, now, err) < 0)
        return -1;
    if ((dropped || keys->cas_unsaved || cas->serial != keys->cas.serial) && change_cas(keys, cas, NULL, err) < 0)
        return -1;
    keys->cas_unsaved = false;
    keys->vouched = true;
    return 0;
}

int
signer_ca_tick(struct signer_keys *keys, int64_t now, struct error *err)
{
    struct ca_set cas;
    int rc;

    if (ca_file_even(&keys->cas_file, &keys->cas, err) < 0)
        return -1;
    cas = keys->cas;
    rc = make_good(keys, now, &cas, err);
    explicit_bzero(&cas, sizeof cas);
    return rc;
}

int
signer_ca_publish(struct signer_keys *keys, int64_t now, struct error *err)
{
    struct ca_names names = signer_keys_names(keys);
    struct ca_set cas = keys->cas;
    int rc = ca_set_publish(&cas, &names, now, err);

    if (rc == 0 && cas.serial != keys->cas.serial)
        rc = change_cas(keys, &cas, NULL, err);
    explicit_bzero(&cas, sizeof cas);
    return rc;
}

int
signer_ca_turn(struct signer_keys *keys, const char *kid, int64_t now, struct error *err)
{
    struct ca_names names = signer_keys_names(keys);
    struct ca_set cas = keys->cas;
    CLEANUP(buf_clear) struct buf link = BUF(BUNDLE_MAX);
    int rc = ca_set_turn(&cas, &names, kid, now, &link, err);

    if (rc == 0 && link.len > 0)
        rc = change_cas(keys, &cas, &link, err);
    explicit_bzero(&cas, sizeof cas);
    return rc;
}

int
signer_ca_bundle(const struct signer_keys *keys, uint64_t serial, struct buf *into, struct error *err)
{
    return ca_file_next(&keys->cas_file, &keys->cas, serial, into, err);
}

static int
add_row(struct mint_keys *list, enum mint_key_purpose purpose, const struct ca_pair *pair, const struct mint_ca *cert,
        struct error *err)
{
    struct mint_key *row = &list->keys[list->n];
    struct x509_info info;

    if (cert->len == 0)
        return 0;
    *row = (struct mint_key){ .purpose = purpose, .state = pair->state, .made = pair->made, .since = pair->since };
    if (x509_read(cert->der, cert->len, &info, err) < 0 || ca_kid(cert, row->kid, err) < 0)
        return -1;
    if (purpose == MINT_KEY_EK_CA || pair->state == MINT_KEY_ACTIVE)
        row->step = info.not_after;
    else
        row->step = ca_set_step_at(pair); /* one that is next waits for an operator's word */
    list->n++;
    return 0;
}

int
signer_ca_list(const struct signer_keys *keys, struct mint_keys *list, struct error *err)
{
    list->ca_change = keys->info.ca_change;
    for (size_t i = 0; i < keys->cas.n; i++) {
        if (add_row(list, MINT_KEY_HOST_CA, &keys->cas.of[i], &keys->cas.of[i].host, err) < 0)
            return -1;
    }
    for (size_t i = 0; i < keys->cas.n; i++) {
        if (add_row(list, MINT_KEY_EK_CA, &keys->cas.of[i], &keys->cas.of[i].ek, err) < 0)
            return -1;
    }
    return 0;
}
