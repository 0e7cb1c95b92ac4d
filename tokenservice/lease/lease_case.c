#include "config.h"

#include "tokenservice/lease/lease_case.h"

#include <stdarg.h>
#include <stdio.h>
#include <string.h>

static void __attribute__((format(printf, 4, 5)))
say(struct lease_case *c, const char *state, const char *name, const char *fmt, ...)
{
    va_list ap;
    size_t len;

    c->state = state;
    c->name = name;
    va_start(ap, fmt);
    vsnprintf(c->seen, sizeof c->seen, fmt, ap);
    va_end(ap);
    len = strlen(c->seen);
    if (*name)
        snprintf(c->seen + len, sizeof c->seen - len, " (%s)", name);
}

static void __attribute__((format(printf, 2, 3)))
repair(struct lease_case *c, const char *fmt, ...)
{
    va_list ap;

    va_start(ap, fmt);
    vsnprintf(c->repair, sizeof c->repair, fmt, ap);
    va_end(ap);
}

/* ---- who comes into question ---- */

/* Two that are named, and the number of the others: a line stays a line. */
static const char *
names_of(const struct lease_record *r, enum lease_seen from, enum lease_seen to,
         char ret[static LEASE_CASE_TEXT])
{
    size_t n = 0, len = 0;

    ret[0] = '\0';
    for (size_t i = 0; i < r->n_seen; i++) {
        if (r->seen[i].seen < from || r->seen[i].seen > to)
            continue;
        if (n++ < 2)
            len += (size_t)snprintf(ret + len, LEASE_CASE_TEXT - len, "%s%s", n > 1 ? ", " : "",
                                    r->seen[i].host);
    }
    if (n > 2)
        snprintf(ret + len, LEASE_CASE_TEXT - len, " and %zu more", n - 2);
    return ret;
}

/* The one host that a command is to name, or the word for "one of those". */
static const char *
host_of(const char *names)
{
    return strchr(names, ' ') ? "HOST" : names;
}

static size_t
count(const struct lease_record *r, enum lease_seen from, enum lease_seen to)
{
    size_t n = 0;

    for (size_t i = 0; i < r->n_seen; i++)
        n += r->seen[i].seen >= from && r->seen[i].seen <= to;
    return n;
}

/* ---- FREE, RUNS ---- */

static void
free_case(const struct lease_record *r, struct lease_case *c)
{
    if (r->placed)
        say(c, "waiting", "", "placed on %s", r->hol);
    else
        say(c, "waiting", "", "reserved for %s", r->hol[0] ? r->hol : "any host");
    c->expected = "the VM started there";
}

static void
lapsed_case(const struct lease_record *r, const struct lease_now *now, struct lease_case *c)
{
    int64_t since = r->renewed_ms > now->since_ms ? r->renewed_ms : now->since_ms;

    say(c, "lapsed", "", "holder %s silent %lld s", r->hol, (long long)(now->now_ms - since) / 1000);
    c->expected = "a report every 15 s";
    repair(c, "start virtid-hostd there, or wait; if that host is dead: `virtid host fence %s`", r->hol);
}

/* ---- MOVE ---- */

static void
leaving_case(const struct lease_record *r, struct lease_case *c)
{
    char names[LEASE_CASE_TEXT];

    if (count(r, SEEN_INC, SEEN_PER) > 0)
        say(c, "moving", "", "%s moves it; it may come to %.120s", r->hol,
            names_of(r, SEEN_INC, SEEN_PER, names));
    else
        say(c, "moving", "", "%s moves it; no host has said that it comes", r->hol);
    c->expected = "the guest's proof at its destination, or its source's word that it stays";
}

/* It left, and nobody who may still prove it has ended: that proof decides. */
static void
arriving_case(const struct lease_record *r, struct lease_case *c)
{
    char names[LEASE_CASE_TEXT];

    names_of(r, SEEN_INC, SEEN_RES, names);
    say(c, "moving", "", "left %s, and came to %.120s", r->hol[0] ? r->hol : "a host that was fenced", names);
    c->expected = "the guest's proof there";
    repair(c, "see there why its agent does not prove it: `virtid why DOMAIN`; if that host is dead: "
              "`virtid host fence %.63s`",
           host_of(names));
}

static void
migrated_case(const struct lease_record *r, struct lease_case *c)
{
    char names[LEASE_CASE_TEXT];
    size_t ended = count(r, SEEN_ROF, SEEN_PER);

    if (count(r, SEEN_INC, SEEN_RES) > 0) {
        arriving_case(r, c);
    } else if (ended == 1 && count(r, SEEN_ROF, SEEN_ROF) == 1) {
        say(c, "waiting", "", "moved to %.120s, ended there", names_of(r, SEEN_ROF, SEEN_ROF, names));
        c->expected = "the VM started there";
    } else if (ended > 0) {
        say(c, "unproved", "K1", "moved to %.120s, ended there unproved", names_of(r, SEEN_ROF, SEEN_PER, names));
        c->expected = "a proof, or an end that was watched, on one host";
        repair(c, "`virtid place DOMAIN %.63s`%s", host_of(names), ended > 1 ? ", one of these" : "");
    } else if (count(r, SEEN_CPY, SEEN_CPY) > 0) {
        names_of(r, SEEN_CPY, SEEN_CPY, names);
        say(c, "refused", "K4, K5, K7", "left %s; %.120s runs it, origin unknown, and is refused", r->hol, names);
        c->expected = "a host that was seen to receive it";
        repair(c, "if it is the VM that left: `virtid place DOMAIN %.63s --force`; if it is a copy: destroy it there",
               host_of(names));
    } else {
        say(c, "left", "K3", "left %s, arrival unknown", r->hol);
        c->expected = "the word of its destination";
        repair(c, "wait for that host to report; else `virtid place DOMAIN HOST`");
    }
}

static void
fenced_case(const struct lease_record *r, struct lease_case *c)
{
    char names[LEASE_CASE_TEXT];

    if (r->n_seen == 0) {
        if (r->pool[0])
            say(c, "waiting", "", "its host was fenced; a host of the pool %s may start it", r->pool);
        else
            say(c, "waiting", "", "its host was fenced; any host may start it");
        c->expected = "the VM started on one host";
        repair(c, "start it where it is to run, or `virtid place DOMAIN HOST`");
        return;
    }
    say(c, "doubt", "K2", "its host was fenced; claimed by %.120s", names_of(r, SEEN_CPY, SEEN_PER, names));
    c->expected = "the guest's proof, or an operator's word";
    repair(c, "`virtid place DOMAIN HOST`; destroy what runs elsewhere");
}

static void
doubt_case(const struct lease_record *r, struct lease_case *c)
{
    char names[LEASE_CASE_TEXT];

    if (r->hol[0] == '\0') {
        fenced_case(r, c);
    } else if (r->n_seen == 0) {
        say(c, "doubt", "", "%s does not know what became of it", r->hol);
        c->expected = "one host that runs it";
        repair(c, "start it on %s again, or `virtid place DOMAIN HOST`", r->hol);
    } else {
        say(c, "doubt", "K2", "%s gone unwatched; claimed by %.120s", r->hol, names_of(r, SEEN_CPY, SEEN_PER, names));
        c->expected = "the guest's proof, or an operator's word";
        repair(c, "`virtid place DOMAIN HOST`; destroy what runs elsewhere");
    }
}

void
lease_case(const struct lease_record *r, const struct lease_now *now, struct lease_case *ret)
{
    memset(ret, 0, sizeof *ret);
    ret->expected = "";
    if (lease_lapsed(r, now))
        lapsed_case(r, now, ret);
    else if (r->st == LEASE_RUNS)
        say(ret, "ok", "", "%s holds it, %lld s left", r->hol, (long long)lease_seconds_left(r, now));
    else if (r->st == LEASE_FREE)
        free_case(r, ret);
    else if (r->out == LEASE_OUT_NO)
        leaving_case(r, ret);
    else if (r->out == LEASE_OUT_MIG)
        migrated_case(r, ret);
    else
        doubt_case(r, ret);
}

/* ---- each of the others ---- */

static void
copy_case(const struct lease_record *r, const char *host, struct lease_case *c)
{
    if (r->st == LEASE_RUNS)
        say(c, "no right", "K6", "%s holds, %s runs it without right", r->hol, host);
    else
        say(c, "no right", "", "%s runs it without right", host);
    c->expected = "one host alone";
    repair(c, "`virsh destroy DOMAIN` on %s, and undefine it there if it is a left-over", host);
}

bool
lease_case_other(const struct lease_record *r, size_t i, struct lease_case *ret)
{
    const struct lease_seen_host *s = &r->seen[i];

    memset(ret, 0, sizeof *ret);
    ret->expected = "";
    if (s->seen == SEEN_CPY && (r->st != LEASE_MOVE || r->out != LEASE_OUT_MIG)) {
        copy_case(r, s->host, ret);
        return true;
    }
    if (r->st == LEASE_MOVE || s->seen == SEEN_CPY)
        return false;
    if (s->seen <= SEEN_RES) {
        say(ret, "waiting", "", "%s says that it came in%s; %s has not said that it left", s->host,
            s->seen == SEEN_INC ? ", not resumed" : "", r->hol[0] ? r->hol : "nobody");
        ret->expected = "the word of the host it came from";
        repair(ret, "see that virtid-hostd runs on %s; if it does not come back: `virtid place DOMAIN %s --force`",
               r->hol[0] ? r->hol : "its hosts", s->host);
        return true;
    }
    say(ret, "waiting", "", "%s says that it was there and ended", s->host);
    return true;
}
