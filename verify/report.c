#include "config.h"

#include "verify/report.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>

#include "lib/common/encode.h"
#include "lib/common/json.h"

static const char *const factor_names[] = { "host", "vtpm", "secret" };

/* Bytes from a token reach a terminal: nothing but printable characters and UTF-8 text
 * may. */
static void
print_line(const char *label, const char *text)
{
    printf("  %-9s ", label);
    for (; *text; text++) {
        unsigned char c = (unsigned char)*text;

        if (c < 0x20 || c == 0x7f)
            printf("\\x%02x", c);
        else
            putchar(c);
    }
    putchar('\n');
}

static void
print_time(const char *label, int64_t when, const char *tail)
{
    time_t t = (time_t)when;
    struct tm parts;
    char text[64] = "?";

    if (gmtime_r(&t, &parts))
        strftime(text, sizeof text, "%Y-%m-%d %H:%M:%S UTC", &parts);
    printf("  %-9s %s%s\n", label, text, tail);
}

static void
print_factors(unsigned factors)
{
    char text[64] = "";

    for (unsigned i = 0; i < 3; i++) {
        if (factors & 1u << i)
            snprintf(text + strlen(text), sizeof text - strlen(text), "%s%s",
                     *text ? ", " : "", factor_names[i]);
    }
    print_line("factors", *text ? text : "none");
}

/* The two claims whose place in the token is fixed. */
static void
print_claims(const struct virtid_identity *vm)
{
    const char *text = virtid_identity_claims(vm), *issuer = "", *audience = "";
    CLEANUP(json_decref) json_t *claims = NULL;
    struct error ignored;

    if (json_parse(text, strlen(text), &claims, &ignored) < 0)
        return;
    (void)json_get_string(claims, "iss", true, 255, &issuer, &ignored);
    (void)json_get_string(claims, "aud", true, 255, &audience, &ignored);
    print_line("issuer", issuer);
    if (*audience)
        print_line("audience", audience);
}

static void
print_text(const struct virtid_identity *vm, int64_t now)
{
    const char *name = virtid_identity_name(vm);
    int64_t left = virtid_identity_expires(vm) - now;
    char tail[64];

    puts("VALID");
    if (*name)
        print_line("vm", name);
    print_line("uuid", virtid_identity_uuid(vm));
    print_line("subject", virtid_identity_subject(vm));
    print_claims(vm);
    print_factors(virtid_identity_factors(vm));
    printf("  %-9s %lld\n", "gen", (long long)virtid_identity_generation(vm));
    printf("  %-9s %llu\n", "epoch", (unsigned long long)virtid_identity_epoch(vm));
    if (left >= 0)
        snprintf(tail, sizeof tail, " (in %lld s)", (long long)left);
    else
        snprintf(tail, sizeof tail, " (%lld s ago, within the skew allowed)",
                 (long long)-left);
    print_time("issued", virtid_identity_issued(vm), "");
    print_time("expires", virtid_identity_expires(vm), tail);
}

static void
print_object(json_t *take_object)
{
    CLEANUP(json_decref) json_t *object = take_object;

    if (!object || json_dumpf(object, stdout, JSON_INDENT(2)) < 0)
        abort(); /* no memory for one line: exit status and output must not differ */
    putchar('\n');
}

static json_t *
identity_object(const struct virtid_identity *vm)
{
    const char *text = virtid_identity_claims(vm);
    json_t *factors = json_array();
    struct error ignored;
    json_t *claims = NULL;

    for (unsigned i = 0; i < 3; i++) {
        if (virtid_identity_factors(vm) & 1u << i)
            json_array_append_new(factors, json_string(factor_names[i]));
    }
    if (json_parse(text, strlen(text), &claims, &ignored) < 0)
        claims = json_null();
    return json_pack("{s:b,s:s,s:s,s:s,s:o,s:I,s:I,s:I,s:I,s:s,s:o}", "valid", 1,
                     "uuid", virtid_identity_uuid(vm), "name", virtid_identity_name(vm),
                     "subject", virtid_identity_subject(vm), "factors", factors, "gen",
                     (json_int_t)virtid_identity_generation(vm), "epoch",
                     (json_int_t)virtid_identity_epoch(vm), "issued",
                     (json_int_t)virtid_identity_issued(vm), "expires",
                     (json_int_t)virtid_identity_expires(vm), "kid",
                     virtid_identity_key_id(vm), "claims", claims);
}

void
report_valid(const struct virtid_identity *vm, bool json, int64_t now)
{
    if (json)
        print_object(identity_object(vm));
    else
        print_text(vm, now);
}

/* Texts with bytes of a stranger's token in them may be no UTF-8. */
static json_t *
safe_string(const char *text)
{
    json_t *string = json_string(text);

    return string ? string : json_string("(not UTF-8)");
}

void
report_invalid(const struct virtid_error *error, bool json)
{
    if (json) {
        print_object(json_pack(
            "{s:b,s:s,s:o,s:s}", "valid", 0, "problem",
            *error->problem ? error->problem : virtid_result_name(error->result),
            "reason", safe_string(error->text), "repair", error->repair));
        return;
    }
    puts(error->result == VIRTID_UNREACHABLE ? "NOT KNOWN" : "NOT VALID");
    print_line("reason", error->text);
    if (*error->problem)
        print_line("problem", error->problem);
    if (*error->repair)
        print_line("repair", error->repair);
}
