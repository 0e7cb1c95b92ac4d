#include "config.h"

#include "tokenservice/lease/lease_record.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

const char *
lease_state_name(enum lease_state st)
{
    return st == LEASE_FREE ? "free" : st == LEASE_RUNS ? "runs" : "move";
}

const char *
lease_out_name(enum lease_out out)
{
    return out == LEASE_OUT_NO ? "no" : out == LEASE_OUT_MIG ? "migrated" : "doubt";
}

const char *
lease_seen_name(enum lease_seen seen)
{
    static const char *const NAMES[] = {
        [SEEN_NONE] = "none",   [SEEN_CPY] = "copy",  [SEEN_INC] = "incoming",
        [SEEN_RES] = "resumed", [SEEN_ROF] = "ended", [SEEN_PER] = "perhaps",
    };

    return NAMES[seen];
}

static size_t
print_one(char *into, size_t room, bool more, const struct lease_seen_host *s)
{
    const char *space = more ? " " : "";
    int n;

    if (s->ce)
        n = snprintf(into, room, "%s%s=%d:%llu", space, s->host, (int)s->seen, (unsigned long long)s->ce);
    else
        n = snprintf(into, room, "%s%s=%d", space, s->host, (int)s->seen);
    return (size_t)n;
}

void
lease_seen_print(const struct lease_record *r, char ret[static LEASE_SEEN_TEXT_MAX + 1])
{
    size_t len = 0;

    ret[0] = '\0';
    for (size_t i = 0; i < r->n_seen; i++)
        len += print_one(ret + len, LEASE_SEEN_TEXT_MAX + 1 - len, i > 0, &r->seen[i]);
}

static int
not_seen(struct error *err)
{
    return error_set(err, ERROR_INPUT, "not the hosts seen of a lease");
}

/* HOST=SEEN or HOST=SEEN:EPOCH, ended by NUL. */
static int
parse_one(const char *text, struct lease_record *r, struct error *err)
{
    struct lease_seen_host *s = &r->seen[r->n_seen];
    size_t len = strcspn(text, "=");
    char *end = NULL;

    if (r->n_seen == LEASE_SEEN_MAX || len > NAME_HOST_MAX || text[len] != '=' ||
        text[len + 1] <= '0' || text[len + 1] > '0' + SEEN_PER)
        return not_seen(err);
    memcpy(s->host, text, len);
    s->seen = (enum lease_seen)(text[len + 1] - '0');
    if (text[len + 2] == ':' && text[len + 3] >= '1' && text[len + 3] <= '9')
        s->ce = strtoull(text + len + 3, &end, 10);
    if (!name_is_host(s->host) || (end ? *end : text[len + 2]) != '\0')
        return not_seen(err);
    r->n_seen++;
    return 0;
}

int
lease_seen_parse(const char *text, struct lease_record *r, struct error *err)
{
    char copy[LEASE_SEEN_TEXT_MAX + 1], *rest = copy, *word;

    memset(r->seen, 0, sizeof r->seen);
    r->n_seen = 0;
    if (strlen(text) >= sizeof copy)
        return not_seen(err);
    strcpy(copy, text);
    while ((word = strsep(&rest, " ")) != NULL) {
        if ((*word || rest) && parse_one(word, r, err) < 0)
            return -1;
    }
    return 0;
}

/* Whose it is: HOST, "" for ANY, "@POOL" for ANY of a pool; an older service refuses that, and opens it to nobody. */
enum { WHOSE_MAX = NAME_HOST_MAX + 1 };

void
lease_receipt(const struct lease_record *r, const struct vm_uuid *uuid,
              struct buf *into)
{
    char seen[LEASE_SEEN_TEXT_MAX + 1], whose[WHOSE_MAX + 1];

    lease_seen_print(r, seen);
    snprintf(whose, sizeof whose, "%s%s", r->pool[0] ? "@" : "", r->pool[0] ? r->pool : r->hol);
    fields_add(into, uuid->bytes, sizeof uuid->bytes);
    fields_add_u8(into, (uint8_t)r->st);
    fields_add_text(into, whose);
    fields_add_u64(into, r->ep);
    fields_add_u64(into, r->nx);
    fields_add_u8(into, (uint8_t)r->out);
    fields_add_u8(into, r->placed);
    fields_add_u64(into, r->ver);
    fields_add_text(into, seen);
}

static bool
read_whose(const char *whose, struct lease_record *ret)
{
    const char *name = whose[0] == '@' ? whose + 1 : whose;

    if (name != whose ? !name_is_pool(name) : name[0] && !name_is_host(name))
        return false;
    strcpy(name != whose ? ret->pool : ret->hol, name);
    return true;
}

static int
take_state(struct fields *f, struct lease_record *ret, struct error *err)
{
    char whose[WHOSE_MAX + 1];
    uint8_t st, out, placed;

    if (fields_take_u8(f, &st, err) < 0 || fields_take_text(f, 0, WHOSE_MAX, whose, err) < 0 ||
        fields_take_u64(f, &ret->ep, err) < 0 || fields_take_u64(f, &ret->nx, err) < 0 ||
        fields_take_u8(f, &out, err) < 0 || fields_take_u8(f, &placed, err) < 0 ||
        fields_take_u64(f, &ret->ver, err) < 0)
        return -1;
    if (st > LEASE_MOVE || out > LEASE_OUT_DBT || placed > 1 || !read_whose(whose, ret))
        return error_set(err, ERROR_INPUT, "not the record of a lease");
    ret->st = (enum lease_state)st;
    ret->out = (enum lease_out)out;
    ret->placed = placed != 0;
    return 0;
}

int
lease_receipt_take(struct fields *f, struct vm_uuid *ret_uuid, struct lease_record *ret, struct error *err)
{
    char seen[LEASE_SEEN_TEXT_MAX + 1];

    memset(ret, 0, sizeof *ret);
    if (fields_take_exact(f, ret_uuid->bytes, sizeof ret_uuid->bytes, err) < 0 || take_state(f, ret, err) < 0 ||
        fields_take_text(f, 0, LEASE_SEEN_TEXT_MAX, seen, err) < 0)
        return -1;
    return lease_seen_parse(seen, ret, err);
}
