#include "config.h"

#include "plugin/no_channel.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

struct no_channel {
    struct vm_uuid uuid;
    char name[NAME_DOMAIN_MAX + 1];
    bool seen;
    struct no_channel *next;
};

static void
drop_at(struct hostd *hostd, struct no_channel **at)
{
    struct no_channel *gone = *at;

    *at = gone->next;
    hostd->n_no_channel--;
    free(gone);
}

void
no_channel_sweep_begins(struct hostd *hostd)
{
    for (struct no_channel *d = hostd->no_channel; d; d = d->next)
        d->seen = false;
}

void
no_channel_sweep_ends(struct hostd *hostd)
{
    struct no_channel **at = &hostd->no_channel;

    while (*at) {
        if ((*at)->seen)
            at = &(*at)->next;
        else
            drop_at(hostd, at);
    }
}

static struct no_channel **
find(struct hostd *hostd, const struct vm_uuid *uuid)
{
    struct no_channel **at = &hostd->no_channel;

    while (*at && !vm_uuid_equal(&(*at)->uuid, uuid))
        at = &(*at)->next;
    return at;
}

void
no_channel_see(struct hostd *hostd, const struct domain *domain)
{
    struct no_channel **at = find(hostd, &domain->uuid);

    if (!*at) {
        if (hostd->n_no_channel >= VMS_MAX || !(*at = calloc(1, sizeof **at)))
            return;
        (*at)->uuid = domain->uuid;
        hostd->n_no_channel++;
    }
    snprintf((*at)->name, sizeof (*at)->name, "%s", domain->name);
    (*at)->seen = true;
}

void
no_channel_drop(struct hostd *hostd, const struct vm_uuid *uuid)
{
    struct no_channel **at = find(hostd, uuid);

    if (*at)
        drop_at(hostd, at);
}

void
no_channel_free(struct hostd *hostd)
{
    while (hostd->no_channel)
        drop_at(hostd, &hostd->no_channel);
}

static const struct no_channel *
smallest_behind(const struct hostd *hostd, const struct vm_uuid *after)
{
    const struct no_channel *next = NULL;

    for (const struct no_channel *d = hostd->no_channel; d; d = d->next) {
        if ((!after || memcmp(d->uuid.bytes, after->bytes, 16) > 0) &&
            (!next || memcmp(d->uuid.bytes, next->uuid.bytes, 16) < 0))
            next = d;
    }
    return next;
}

json_t *
no_channel_page(const struct hostd *hostd, const struct vm_uuid *after, unsigned page)
{
    json_t *o = json_object(), *list = json_array();
    const struct no_channel *d = NULL;
    char uuid[VM_UUID_TEXT];

    for (unsigned n = 0; n < page && (d = smallest_behind(hostd, after)); n++) {
        vm_uuid_print(&d->uuid, uuid);
        json_array_append_new(list, json_pack("{s:s,s:s}", "uuid", uuid, "name", d->name));
        after = &d->uuid;
    }
    json_object_set_new(o, "domains", list);
    if (d && smallest_behind(hostd, after))
        json_object_set_new(o, "next", json_string(uuid));
    return o;
}
