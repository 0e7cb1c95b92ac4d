#include "config.h"

#include "tokenservice/api/pulls.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

struct one_pull {
    uint64_t number; /* 0: free */
    char host[NAME_HOST_MAX + 1], asker[NAME_HOST_MAX + 1];
    struct vm_uuid uuid;
    int64_t asked_ms;
    bool answered;
};

struct pulls {
    uint64_t last;
    struct one_pull list[PULLS_MAX];
};

int
pulls_new(int64_t now_ms, struct pulls **ret, struct error *err)
{
    struct pulls *p = calloc(1, sizeof *p);

    if (!p)
        return error_set(err, ERROR_SYSTEM, "no memory");
    p->last = now_ms > 0 ? (uint64_t)now_ms : 0; /* above what an earlier run has given */
    *ret = p;
    return 0;
}

void
pulls_free(struct pulls *p)
{
    free(p);
}

static struct one_pull *
find_pull(struct pulls *p, const char *host, const struct vm_uuid *uuid, const char *asker)
{
    for (size_t i = 0; i < PULLS_MAX; i++) {
        struct one_pull *one = &p->list[i];

        if (one->number != 0 && vm_uuid_equal(&one->uuid, uuid) && strcmp(one->host, host) == 0 &&
            strcmp(one->asker, asker) == 0)
            return one;
    }
    return NULL;
}

/* A free place, or one whose asker came back for its answer no more. */
static struct one_pull *
make_place(struct pulls *p, int64_t now_ms)
{
    for (size_t i = 0; i < PULLS_MAX; i++) {
        if (p->list[i].number == 0 || now_ms - p->list[i].asked_ms > PULL_POLL_MS)
            return &p->list[i];
    }
    return NULL;
}

enum pull_state
pulls_ask(struct pulls *p, const char *host, const struct vm_uuid *uuid, const char *asker, int64_t now_ms,
          bool *ret_new)
{
    struct one_pull *one = find_pull(p, host, uuid, asker);
    bool answered;

    *ret_new = false;
    if (!one) {
        one = make_place(p, now_ms);
        if (!one)
            return PULL_SILENT;
        *one = (struct one_pull){ .number = ++p->last, .uuid = *uuid, .asked_ms = now_ms };
        snprintf(one->host, sizeof one->host, "%s", host);
        snprintf(one->asker, sizeof one->asker, "%s", asker);
        *ret_new = true;
        return PULL_ASKED;
    }
    answered = one->answered;
    if (!answered && now_ms - one->asked_ms < PULL_MS)
        return PULL_ASKED;
    one->number = 0;
    return answered ? PULL_ANSWERED : PULL_SILENT;
}

/* The next that `host` is to answer, in the order of their numbers: places are used again. */
static const struct one_pull *
next_wanted(const struct pulls *p, const char *host, uint64_t after)
{
    const struct one_pull *next = NULL;

    for (size_t i = 0; i < PULLS_MAX; i++) {
        const struct one_pull *one = &p->list[i];

        if (one->number > after && !one->answered && (!next || one->number < next->number) &&
            strcmp(one->host, host) == 0)
            next = one;
    }
    return next;
}

void
pulls_wanted(const struct pulls *p, const char *host, uint64_t after, struct lease_pull *ret)
{
    const struct one_pull *one;

    memset(ret, 0, sizeof *ret);
    while (ret->n < LEASE_VMS_MAX && (one = next_wanted(p, host, after))) {
        ret->uuids[ret->n++] = one->uuid;
        ret->pull = after = one->number;
    }
}

static bool
has_vm(const struct lease_report *report, const struct vm_uuid *uuid)
{
    for (size_t i = 0; i < report->n_vms; i++) {
        if (vm_uuid_equal(&report->vms[i].uuid, uuid))
            return true;
    }
    return false;
}

void
pulls_take(struct pulls *p, const struct lease_report *report, void (*wake)(void *context, const char *asker),
           void *context)
{
    for (size_t i = 0; i < PULLS_MAX && report->pull != 0; i++) {
        struct one_pull *one = &p->list[i];

        if (one->number == 0 || one->answered || one->number > report->pull ||
            strcmp(one->host, report->host) != 0 || !has_vm(report, &one->uuid))
            continue;
        one->answered = true;
        wake(context, one->asker);
    }
}
