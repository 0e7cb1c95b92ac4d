#include "config.h"

#include "tokenservice/mint/identity_row.h"

#include <string.h>

#include "lib/common/json.h"
#include "lib/wire/fields.h"
#include "lib/wire/transcript.h"

#define ROW_LABEL "virtid-row-1"
#define ROW_LABEL_RATCHET "virtid-row-2"
#define ROW_LABEL_WORD "virtid-row-3"
#define ROW_LABEL_RENEWAL "virtid-row-4"

enum { RUN_LEN = 16, SEEN_LEN = 13, GRANT_LEN = 24, RESTORED_LEN = 8 };
enum { FACTORS_ALL = FACTOR_HOST | FACTOR_VTPM | FACTOR_SECRET, LABELS_COUNT_MAX = 64 };

const char *
identity_row_state_name(enum row_state state)
{
    switch (state) {
    case ROW_PENDING:
        return "pending";
    case ROW_OK:
        return "ok";
    case ROW_LOCKED:
        return "locked";
    case ROW_ABSENT:
        return "absent";
    case ROW_RETIRED:
        return "retired";
    }
    return "unknown";
}

static int
refuse(struct error *err, const char *member)
{
    return error_set(err, ERROR_INPUT, "identity row: %s", member);
}

static bool
is_printable(const char *text)
{
    for (; *text; text++) {
        if (*text < 0x20 || *text > 0x7e)
            return false;
    }
    return true;
}

/* Names with one space between; so that one list has one spelling. */
static bool
is_audience_list(const char *text)
{
    char name[NAME_AUDIENCE_MAX + 1];

    if (*text == '\0')
        return true;
    for (;;) {
        size_t len = strcspn(text, " ");

        if (len == 0 || len >= sizeof name)
            return false;
        memcpy(name, text, len);
        name[len] = '\0';
        if (!name_is_audience(name))
            return false;
        if (text[len] == '\0')
            return true;
        text += len + 1;
    }
}

/* An object of strings. */
static int
check_labels(const char *text, struct error *err)
{
    CLEANUP(json_decref) json_t *labels = NULL;
    const char *name;
    json_t *value;

    if (json_parse(text, strlen(text), &labels, err) < 0)
        return err->code == ERROR_INPUT ? refuse(err, "labels") : -1;
    if (json_object_size(labels) > LABELS_COUNT_MAX)
        return refuse(err, "labels");
    json_object_foreach(labels, name, value)
    {
        if (!json_is_string(value))
            return refuse(err, "labels");
    }
    return 0;
}

/* Does it need the members that the first two kinds of row have not?  Each row has one spelling. */
static bool
has_word(const struct identity_row *row)
{
    return row->seen.has || row->grant.given || row->restored_ms || row->renewal.given;
}

/* And those of the second kind? */
static bool
has_ratchet(const struct identity_row *row)
{
    return row->ratchet || row->has_next || row->has_xnext || row->pend_run.epoch ||
           row->done_run.epoch || has_word(row);
}

static int
check_ratchet(const struct identity_row *row, struct error *err)
{
    if ((row->ratchet & ~ROW_RATCHET_ALL) != 0)
        return refuse(err, "ratchet");
    if ((row->has_next && !row->has_cur) || (row->has_xnext && !row->has_x))
        return refuse(err, "a step from nowhere");
    if (!(row->ratchet & ROW_RATCHET_ON) &&
        (row->has_next || row->has_xnext || row->pend_run.epoch || row->done_run.epoch))
        return refuse(err, "a step of a VM that makes none");
    if (row->pend_run.epoch > INT64_MAX || row->done_run.epoch > INT64_MAX)
        return refuse(err, "run");
    return 0;
}

static int
check_word(const struct identity_row *row, struct error *err)
{
    const struct row_seen *seen = &row->seen;
    const struct row_grant *grant = &row->grant;

    if (seen->has && (seen->ms < 0 || seen->behind < 1 || seen->behind > 3))
        return refuse(err, "what was seen");
    if (grant->given && (grant->ends_ms < 0 || (grant->epoch != 0 && grant->epoch != row->epoch) ||
                         (grant->epoch != 0) != (grant->from != 0)))
        return refuse(err, "a grant of another epoch");
    return row->restored_ms < 0 ? refuse(err, "restored") : 0;
}

static int
check_renewal(const struct identity_row *row, struct error *err)
{
    const struct row_renewal *r = &row->renewal;

    if (!r->given)
        return 0;
    if (row->state != ROW_OK || row->ek_origin == ROW_EK_NONE)
        return refuse(err, "a new TPM of a VM that has none");
    /* "": the first host of its pool that gets the lease, which then has the right by name */
    if (r->ends_ms < 0 || (r->host[0] ? !name_is_host(r->host) : r->has_ek))
        return refuse(err, "whose new TPM");
    if (r->ek_origin > ROW_EK_HOST || (r->ek_origin != ROW_EK_NONE) != r->has_ek || (r->has_cur && !r->has_ek))
        return refuse(err, "a new TPM without EK");
    return 0;
}

/* A TPM that was a copy gives neither EK nor factor. */
static bool
is_origin(const struct identity_row *row)
{
    if (row->has_ek)
        return row->ek_origin == ROW_EK_CA || row->ek_origin == ROW_EK_HOST;
    return row->ek_origin == ROW_EK_NONE || (row->ek_origin == ROW_EK_COPIED && !(row->floor & FACTOR_VTPM));
}

static int
check(const struct identity_row *row, struct error *err)
{
    if (row->name[0] && !name_is_domain(row->name))
        return refuse(err, "name");
    if (row->gen > INT64_MAX || row->epoch > INT64_MAX) /* they become JSON integers */
        return refuse(err, "gen or epoch");
    if (row->state < ROW_PENDING || row->state > ROW_RETIRED)
        return refuse(err, "state");
    if ((row->floor & ~FACTORS_ALL) != 0)
        return refuse(err, "floor");
    if (row->floor != 0 && !(row->floor & FACTOR_HOST))
        return refuse(err, "a floor without host");
    if (row->floor == 0 && row->state == ROW_OK)
        return refuse(err, "no floor");
    if (!is_printable(row->owner))
        return refuse(err, "owner");
    if (check_labels(row->labels, err) < 0)
        return -1;
    if (!is_audience_list(row->audiences))
        return refuse(err, "audiences");
    if (row->host[0] && !name_is_host(row->host))
        return refuse(err, "host");
    if (!is_origin(row))
        return refuse(err, "EK origin");
    if (row->has_ak && !row->has_ek)
        return refuse(err, "an AK without EK");
    if (check_ratchet(row, err) < 0 || check_word(row, err) < 0)
        return -1;
    return check_renewal(row, err);
}

static void
add_optional(struct buf *into, bool has, const void *bytes, size_t len)
{
    fields_add(into, bytes, has ? len : 0);
}

static void
put_number(uint8_t *bytes, int len, uint64_t number)
{
    for (int i = 0; i < len; i++)
        bytes[i] = (uint8_t)(number >> (8 * (len - 1 - i)));
}

static uint64_t
get_number(const uint8_t *bytes, int len)
{
    uint64_t number = 0;

    for (int i = 0; i < len; i++)
        number = number << 8 | bytes[i];
    return number;
}

static void
add_run(struct buf *into, const struct proof_run *run)
{
    uint8_t bytes[RUN_LEN];

    put_number(bytes, 8, run->epoch);
    put_number(bytes + 8, 4, run->reset_count);
    put_number(bytes + 12, 4, run->restart_count);
    add_optional(into, run->epoch != 0, bytes, sizeof bytes);
}

static void
add_shown(struct buf *into, bool has, const struct proof_shown *shown)
{
    add_optional(into, has && shown->has_cur, shown->cur, sizeof shown->cur);
    add_optional(into, has && shown->has_new, shown->new_, sizeof shown->new_);
    add_optional(into, has && shown->has_x, shown->x, sizeof shown->x);
}

static void
add_word(struct buf *into, const struct identity_row *row)
{
    uint8_t seen[SEEN_LEN], grant[GRANT_LEN], restored[RESTORED_LEN];

    put_number(seen, 8, (uint64_t)row->seen.ms);
    seen[8] = row->seen.behind;
    put_number(seen + 9, 4, row->seen.ago);
    add_optional(into, row->seen.has, seen, sizeof seen);
    add_shown(into, row->seen.has, &row->seen.shown);
    put_number(grant, 8, row->grant.epoch);
    put_number(grant + 8, 8, row->grant.from);
    put_number(grant + 16, 8, (uint64_t)row->grant.ends_ms);
    add_optional(into, row->grant.given, grant, sizeof grant);
    add_shown(into, row->grant.given, &row->grant.shown);
    put_number(restored, 8, (uint64_t)row->restored_ms);
    add_optional(into, row->restored_ms != 0, restored, sizeof restored);
}

static void
add_renewal(struct buf *into, const struct row_renewal *r)
{
    fields_add_u64(into, (uint64_t)r->ends_ms);
    fields_add_text(into, r->host);
    add_optional(into, r->has_ek, r->ek_digest, sizeof r->ek_digest);
    fields_add_u8(into, (uint8_t)r->ek_origin);
    add_optional(into, r->has_ek, r->x, sizeof r->x);
    add_optional(into, r->has_cur, r->cur, sizeof r->cur);
}

static void
add_ratchet(struct buf *into, const struct identity_row *row)
{
    fields_add_u8(into, row->ratchet);
    add_optional(into, row->has_next, row->next, sizeof row->next);
    add_optional(into, row->has_xnext, row->xnext, sizeof row->xnext);
    add_optional(into, row->has_xnext, row->v, sizeof row->v);
    add_run(into, &row->pend_run);
    add_run(into, &row->done_run);
}

static const char *
label_of(const struct identity_row *row)
{
    if (row->renewal.given)
        return ROW_LABEL_RENEWAL;
    if (has_word(row))
        return ROW_LABEL_WORD;
    return has_ratchet(row) ? ROW_LABEL_RATCHET : ROW_LABEL;
}

int
identity_row_encode(const struct identity_row *row, struct buf *into, struct error *err)
{
    if (check(row, err) < 0)
        return -1;
    fields_add_text(into, label_of(row));
    fields_add(into, row->uuid.bytes, sizeof row->uuid.bytes);
    fields_add_text(into, row->name);
    fields_add_u64(into, row->gen);
    fields_add_u8(into, (uint8_t)row->state);
    fields_add_u8(into, row->floor);
    fields_add_text(into, row->owner);
    fields_add_text(into, row->labels);
    fields_add_text(into, row->audiences);
    fields_add_text(into, row->host);
    fields_add_u64(into, row->epoch);
    add_optional(into, row->has_ak, row->ak_name, sizeof row->ak_name);
    add_optional(into, row->has_ek, row->ek_digest, sizeof row->ek_digest);
    fields_add_u8(into, (uint8_t)row->ek_origin);
    add_optional(into, row->has_cur, row->cur, sizeof row->cur);
    add_optional(into, row->has_x, row->x, sizeof row->x);
    if (has_ratchet(row))
        add_ratchet(into, row);
    if (has_word(row))
        add_word(into, row);
    if (row->renewal.given)
        add_renewal(into, &row->renewal);
    if (!buf_ok(into))
        return error_set(err, buf_error_code(into), "identity row: too long");
    return 0;
}

/* UTF-8 text of at most `max` bytes without NUL; check() knows the grammar. */
static int
take_text(struct fields *f, size_t max, char *ret, struct error *err)
{
    const uint8_t *bytes;
    size_t len;

    if (fields_take(f, 0, max, &bytes, &len, err) < 0)
        return -1;
    if (memchr(bytes, 0, len))
        return refuse(err, "a NUL in a text");
    memcpy(ret, bytes, len);
    ret[len] = '\0';
    return 0;
}

/* Nothing, or exactly `len` bytes. */
static int
take_optional(struct fields *f, bool *ret_has, uint8_t *ret, size_t len,
              struct error *err)
{
    const uint8_t *bytes;
    size_t n;

    if (fields_take(f, 0, len, &bytes, &n, err) < 0)
        return -1;
    if (n != 0 && n != len)
        return refuse(err, "a member's length");
    *ret_has = n != 0;
    memcpy(ret, bytes, n);
    return 0;
}

static int
take_names(struct fields *f, struct identity_row *row, struct error *err)
{
    uint8_t state;

    if (fields_take_exact(f, row->uuid.bytes, sizeof row->uuid.bytes, err) < 0 ||
        take_text(f, sizeof row->name - 1, row->name, err) < 0 ||
        fields_take_u64(f, &row->gen, err) < 0 || fields_take_u8(f, &state, err) < 0 ||
        fields_take_u8(f, &row->floor, err) < 0 ||
        take_text(f, sizeof row->owner - 1, row->owner, err) < 0 ||
        take_text(f, sizeof row->labels - 1, row->labels, err) < 0 ||
        take_text(f, sizeof row->audiences - 1, row->audiences, err) < 0 ||
        take_text(f, sizeof row->host - 1, row->host, err) < 0 ||
        fields_take_u64(f, &row->epoch, err) < 0)
        return -1;
    if (state < ROW_PENDING || state > ROW_RETIRED)
        return refuse(err, "state");
    row->state = (enum row_state)state;
    return 0;
}

static int
take_keys(struct fields *f, struct identity_row *row, struct error *err)
{
    uint8_t origin;

    if (take_optional(f, &row->has_ak, row->ak_name, sizeof row->ak_name, err) < 0 ||
        take_optional(f, &row->has_ek, row->ek_digest, sizeof row->ek_digest, err) <
            0 ||
        fields_take_u8(f, &origin, err) < 0 ||
        take_optional(f, &row->has_cur, row->cur, sizeof row->cur, err) < 0 ||
        take_optional(f, &row->has_x, row->x, sizeof row->x, err) < 0)
        return -1;
    if (origin > ROW_EK_COPIED)
        return refuse(err, "EK origin");
    row->ek_origin = (enum row_ek_origin)origin;
    return 0;
}

static int
take_run(struct fields *f, struct proof_run *ret, struct error *err)
{
    uint8_t b[RUN_LEN];
    bool has;

    if (take_optional(f, &has, b, sizeof b, err) < 0)
        return -1;
    if (!has)
        return 0;
    ret->epoch = get_number(b, 8);
    ret->reset_count = (uint32_t)get_number(b + 8, 4);
    ret->restart_count = (uint32_t)get_number(b + 12, 4);
    return ret->epoch ? 0 : refuse(err, "run");
}

static int
take_ratchet(struct fields *f, struct identity_row *row, struct error *err)
{
    bool has_v;

    if (fields_take_u8(f, &row->ratchet, err) < 0 ||
        take_optional(f, &row->has_next, row->next, sizeof row->next, err) < 0 ||
        take_optional(f, &row->has_xnext, row->xnext, sizeof row->xnext, err) < 0 ||
        take_optional(f, &has_v, row->v, sizeof row->v, err) < 0 ||
        take_run(f, &row->pend_run, err) < 0 || take_run(f, &row->done_run, err) < 0)
        return -1;
    if (has_v != row->has_xnext)
        return refuse(err, "v");
    return 0;
}

static int
take_shown(struct fields *f, bool has, struct proof_shown *ret, struct error *err)
{
    if (take_optional(f, &ret->has_cur, ret->cur, sizeof ret->cur, err) < 0 ||
        take_optional(f, &ret->has_new, ret->new_, sizeof ret->new_, err) < 0 ||
        take_optional(f, &ret->has_x, ret->x, sizeof ret->x, err) < 0)
        return -1;
    return has || !(ret->has_cur || ret->has_new || ret->has_x) ? 0 : refuse(err, "a state of nothing");
}

static int
take_word(struct fields *f, struct identity_row *row, struct error *err)
{
    uint8_t seen[SEEN_LEN] = { 0 }, grant[GRANT_LEN] = { 0 }, restored[RESTORED_LEN] = { 0 };
    bool has_restored;

    if (take_optional(f, &row->seen.has, seen, sizeof seen, err) < 0 ||
        take_shown(f, row->seen.has, &row->seen.shown, err) < 0 ||
        take_optional(f, &row->grant.given, grant, sizeof grant, err) < 0 ||
        take_shown(f, row->grant.given, &row->grant.shown, err) < 0 ||
        take_optional(f, &has_restored, restored, sizeof restored, err) < 0)
        return -1;
    row->seen.ms = (int64_t)get_number(seen, 8);
    row->seen.behind = seen[8];
    row->seen.ago = (uint32_t)get_number(seen + 9, 4);
    row->grant.epoch = get_number(grant, 8);
    row->grant.from = get_number(grant + 8, 8);
    row->grant.ends_ms = (int64_t)get_number(grant + 16, 8);
    row->restored_ms = (int64_t)get_number(restored, 8);
    return has_restored == (row->restored_ms != 0) ? 0 : refuse(err, "restored");
}

static int
take_renewal(struct fields *f, struct row_renewal *r, struct error *err)
{
    uint64_t ends;
    uint8_t origin;
    bool has_x;

    if (fields_take_u64(f, &ends, err) < 0 || take_text(f, sizeof r->host - 1, r->host, err) < 0 ||
        take_optional(f, &r->has_ek, r->ek_digest, sizeof r->ek_digest, err) < 0 ||
        fields_take_u8(f, &origin, err) < 0 || take_optional(f, &has_x, r->x, sizeof r->x, err) < 0 ||
        take_optional(f, &r->has_cur, r->cur, sizeof r->cur, err) < 0)
        return -1;
    if (has_x != r->has_ek || origin > ROW_EK_HOST)
        return refuse(err, "a new TPM without EK");
    r->given = true;
    r->ends_ms = (int64_t)ends;
    r->ek_origin = (enum row_ek_origin)origin;
    return 0;
}

/* The members of the label's kind, no more and no fewer than this row needs. */
static int
take_kind(struct fields *f, const char *label, struct identity_row *row, struct error *err)
{
    bool renewal = strcmp(label, ROW_LABEL_RENEWAL) == 0, word = renewal || strcmp(label, ROW_LABEL_WORD) == 0,
         ratchet = word || strcmp(label, ROW_LABEL_RATCHET) == 0;

    if (!ratchet && strcmp(label, ROW_LABEL) != 0)
        return refuse(err, "label");
    if ((ratchet && take_ratchet(f, row, err) < 0) || (word && take_word(f, row, err) < 0) ||
        (renewal && take_renewal(f, &row->renewal, err) < 0))
        return -1;
    return has_ratchet(row) == ratchet && has_word(row) == word ? 0 : refuse(err, "nothing to say of its ratchets");
}

int
identity_row_decode(const uint8_t *bytes, size_t len, struct identity_row *ret,
                    struct error *err)
{
    struct fields f = { .at = bytes, .left = len };
    struct identity_row row = { 0 };
    char label[sizeof ROW_LABEL];

    if (len > ROW_MAX)
        return refuse(err, "too long");
    if (fields_take_text(&f, sizeof label - 1, sizeof label - 1, label, err) < 0)
        return -1;
    if (take_names(&f, &row, err) < 0 || take_keys(&f, &row, err) < 0 ||
        take_kind(&f, label, &row, err) < 0 || fields_end(&f, err) < 0 || check(&row, err) < 0)
        return -1;
    *ret = row;
    return 0;
}
