#include "config.h"

#include "cli/libvirt.h"

#include <errno.h>
#include <fnmatch.h>
#include <libvirt/libvirt.h>
#include <libvirt/virterror.h>
#include <stdio.h>
#include <string.h>

struct libvirt {
    virConnectPtr connection;
};

static int
failed(struct error *err, enum error_code code, const char *what)
{
    const char *text = virGetLastErrorMessage();

    return error_set(err, code, "%s: %s", what, text ? text : "libvirt gave no reason");
}

/* libvirt prints errors by itself unless told not to. */
static void
be_silent(void *context, virErrorPtr error)
{
    (void)context;
    (void)error;
}

int
libvirt_open(const char *uri, bool read_only, struct libvirt **ret, struct error *err)
{
    CLEANUP(libvirt_close) struct libvirt *libvirt = calloc(1, sizeof *libvirt);

    if (!libvirt)
        return error_sys(err, ENOMEM, "libvirt");
    virSetErrorFunc(NULL, be_silent);
    libvirt->connection = read_only ? virConnectOpenReadOnly(uri) : virConnectOpen(uri);
    if (!libvirt->connection)
        return failed(err, ERROR_BUSY, "cannot connect to libvirt");
    *ret = STEAL(libvirt);
    return 0;
}

void
libvirt_close(struct libvirt *libvirt)
{
    if (!libvirt)
        return;
    if (libvirt->connection)
        virConnectClose(libvirt->connection);
    free(libvirt);
}

int
libvirt_versions(struct libvirt *libvirt, unsigned long *ret_libvirt, unsigned long *ret_qemu,
                 struct error *err)
{
    if (virConnectGetLibVersion(libvirt->connection, ret_libvirt) < 0 ||
        virConnectGetVersion(libvirt->connection, ret_qemu) < 0)
        return failed(err, ERROR_SYSTEM, "versions");
    return 0;
}

static int
describe(virDomainPtr domain, struct libvirt_domain *ret, struct error *err)
{
    const char *name = virDomainGetName(domain);

    if (!name || strlen(name) >= sizeof ret->name ||
        virDomainGetUUIDString(domain, ret->uuid) < 0)
        return failed(err, ERROR_SYSTEM, "domain");
    strcpy(ret->name, name);
    ret->id = (int)virDomainGetID(domain);
    ret->persistent = virDomainIsPersistent(domain) == 1;
    return 0;
}

static bool
is_named(const struct libvirt_domain *domain, const char *word)
{
    char id[16];

    snprintf(id, sizeof id, "%d", domain->id);
    return strcmp(word, domain->name) == 0 || strcmp(word, domain->uuid) == 0 ||
           (domain->id >= 0 && strcmp(word, id) == 0) ||
           (strpbrk(word, "*?[") && fnmatch(word, domain->name, 0) == 0);
}

static int
list_all(struct libvirt *libvirt, struct libvirt_domain **ret, size_t *ret_n,
         struct error *err)
{
    virDomainPtr *domains = NULL;
    int n = virConnectListAllDomains(libvirt->connection, &domains, 0), bad = 0;
    struct libvirt_domain *all;

    if (n < 0)
        return failed(err, ERROR_BUSY, "cannot list domains");
    all = calloc((size_t)n + 1, sizeof *all);
    for (int i = 0; i < n; i++) {
        if (all && !bad)
            bad = describe(domains[i], &all[i], err);
        virDomainFree(domains[i]);
    }
    free(domains);
    if (!all)
        return error_sys(err, ENOMEM, "domains");
    if (bad) {
        free(all);
        return -1;
    }
    *ret = all;
    *ret_n = (size_t)n;
    return 0;
}

int
libvirt_find(struct libvirt *libvirt, char *const *words, size_t n_words,
             struct libvirt_domain **ret, size_t *ret_n, struct error *err)
{
    CLEANUP(mem_free) struct libvirt_domain *all = NULL;
    size_t n = 0, kept = 0;

    if (list_all(libvirt, &all, &n, err) < 0)
        return -1;
    for (size_t w = 0; w < n_words; w++) {
        bool found = false;

        for (size_t i = 0; i < n && !found; i++)
            found = is_named(&all[i], words[w]);
        if (!found)
            return error_set(err, ERROR_MISSING, "failed to get domain '%s'", words[w]);
    }
    for (size_t i = 0; i < n; i++) {
        bool wanted = n_words == 0;

        for (size_t w = 0; w < n_words; w++)
            wanted |= is_named(&all[i], words[w]);
        if (wanted)
            all[kept++] = all[i];
    }
    *ret = STEAL(all);
    *ret_n = kept;
    return 0;
}

int
libvirt_definition(struct libvirt *libvirt, const struct libvirt_domain *domain,
                   char **ret_xml, struct error *err)
{
    virDomainPtr found = virDomainLookupByUUIDString(libvirt->connection, domain->uuid);
    char *xml;

    if (!found)
        return failed(err, ERROR_MISSING, domain->name);
    xml = virDomainGetXMLDesc(found, VIR_DOMAIN_XML_INACTIVE | VIR_DOMAIN_XML_SECURE);
    virDomainFree(found);
    if (!xml)
        return failed(err, ERROR_SYSTEM, domain->name);
    *ret_xml = xml;
    return 0;
}

int
libvirt_define(struct libvirt *libvirt, const char *xml, struct error *err)
{
    virDomainPtr domain =
        virDomainDefineXMLFlags(libvirt->connection, xml, VIR_DOMAIN_DEFINE_VALIDATE);

    if (!domain)
        return failed(err, ERROR_DENIED, "libvirt does not take the new definition");
    virDomainFree(domain);
    return 0;
}
