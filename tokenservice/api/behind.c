#include "config.h"

#include "tokenservice/api/behind.h"

#include <stdio.h>
#include <string.h>

enum { RECORDS_MAX = 2000 }; /* of one VM, looked through once for a refusal */

struct search {
    char thumbprint[17];
    unsigned ago; /* completed steps that are newer */
    bool found;
};

static int
look(void *context, const struct store_audit *record, struct error *err)
{
    struct search *s = context;

    (void)err;
    if (s->found || strcmp(record->what, "stepped") != 0)
        return 0;
    s->found = strstr(record->seen, s->thumbprint) != NULL;
    s->ago += !s->found;
    return 0;
}

int
behind_describe(struct service *service, const struct prove *p, struct proof_result *r,
                struct error *err)
{
    bool disk = strcmp(r->problem, "disk-behind") == 0;
    struct search s = { .found = false };
    size_t len = strlen(r->seen);

    if (!disk && (strcmp(r->problem, "tpm-behind") != 0 || !p->has_x))
        return 0;
    proof_print_thumbprint(disk ? p->cur : p->x, disk ? sizeof p->cur : sizeof p->x, s.thumbprint);
    if (store_audit_list(service->store, &p->uuid, RECORDS_MAX, look, &s, err) < 0)
        return -1;
    if (s.found)
        snprintf(r->seen + len, sizeof r->seen - len, ", %u step%s ago", s.ago,
                 s.ago == 1 ? "" : "s");
    else
        snprintf(r->seen + len, sizeof r->seen - len, ", unknown");
    return 0;
}
