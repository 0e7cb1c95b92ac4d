#include "config.h"

#include "plugin/domain/domain.h"

#include <libxml/parser.h>
#include <libxml/tree.h>
#include <string.h>

#include "lib/common/cleanup.h"

DEFINE_CLEANUP(xmlDocPtr, xmlFreeDoc);

const char *
domain_tpm_name(enum domain_tpm tpm)
{
    static const char *const names[] = {
        [DOMAIN_TPM_NONE] = "none",
        [DOMAIN_TPM_EMULATOR] = "emulator 2.0",
        [DOMAIN_TPM_ENCRYPTED] = "emulator 2.0, encrypted",
        [DOMAIN_TPM_OTHER] = "of another kind",
    };

    return names[tpm];
}

const char *
domain_disk_name(enum domain_disk disk)
{
    static const char *const names[] = {
        [DOMAIN_DISK_NONE] = "none",       [DOMAIN_DISK_FILE] = "file",
        [DOMAIN_DISK_BLOCK] = "block",     [DOMAIN_DISK_NETWORK] = "network",
        [DOMAIN_DISK_OTHER] = "other",
    };

    return names[disk];
}

/* libxml2 would print to stderr; our callers get one error of their own. */
static void
say_nothing(void *context, const char *fmt, ...)
{
    (void)context;
    (void)fmt;
}

static bool
is_element(const xmlNode *node, const char *name)
{
    return node->type == XML_ELEMENT_NODE && strcmp((const char *)node->name, name) == 0;
}

static const xmlNode *
next_element(const xmlNode *node, const char *name)
{
    while (node && !is_element(node, name))
        node = node->next;
    return node;
}

static const xmlNode *
child(const xmlNode *parent, const char *name)
{
    return parent ? next_element(parent->children, name) : NULL;
}

/*
 * Text of an attribute without entities: one text node, borrowed; NULL if
 * there is none.  (xmlGetProp would allocate.)
 */
static const char *
attribute(const xmlNode *node, const char *name)
{
    const xmlAttr *a = node ? node->properties : NULL;

    while (a && strcmp((const char *)a->name, name) != 0)
        a = a->next;
    if (!a || !a->children || a->children->type != XML_TEXT_NODE)
        return NULL;
    return (const char *)a->children->content;
}

static bool
attribute_is(const xmlNode *node, const char *name, const char *value)
{
    const char *is = attribute(node, name);

    return is && strcmp(is, value) == 0;
}

/* False if it does not fit: a path that is cut is another path. */
static bool
copy_text(char *ret, size_t size, const char *text)
{
    size_t len = text ? strlen(text) : 0;

    if (len >= size)
        return false;
    memcpy(ret, text ? text : "", len);
    ret[len] = '\0';
    return true;
}

static const char *
text_of(const xmlNode *node)
{
    if (!node || !node->children || node->children->type != XML_TEXT_NODE || node->children->next)
        return NULL;
    return (const char *)node->children->content;
}

/* Iterative, so that hostile depth costs no stack of ours. */
static bool
is_too_deep(const xmlNode *root)
{
    const xmlNode *at = root;
    int depth = 1;

    while (at) {
        if (at->type == XML_ELEMENT_NODE && at->children) {
            at = at->children;
            if (++depth > DOMAIN_DEPTH_MAX)
                return true;
            continue;
        }
        while (at && !at->next && at != root) {
            at = at->parent;
            depth--;
        }
        if (at == root)
            return false;
        at = at ? at->next : NULL;
    }
    return false;
}

static bool
has_marker(const xmlNode *root)
{
    const xmlNode *metadata = child(root, "metadata");
    const xmlNode *at = metadata ? next_element(metadata->children, "identity") : NULL;

    while (at) {
        if (at->ns && strcmp((const char *)at->ns->href, DOMAIN_MARKER_NAMESPACE) == 0)
            return true;
        at = next_element(at->next, "identity");
    }
    return false;
}

static void
read_channel(const xmlNode *devices, struct domain *ret)
{
    const xmlNode *at = child(devices, "channel");

    for (; at; at = next_element(at->next, "channel")) {
        const xmlNode *target = child(at, "target");

        if (!attribute_is(at, "type", "unix") || !attribute_is(target, "type", "virtio") ||
            !attribute_is(target, "name", DOMAIN_CHANNEL_NAME))
            continue;
        ret->channel = true;
        ret->channel_connected = attribute_is(target, "state", "connected");
        if (!copy_text(ret->channel_path, sizeof ret->channel_path,
                       attribute(child(at, "source"), "path")))
            ret->channel_path[0] = '\0';
        return;
    }
}

static void
read_tpm(const xmlNode *devices, struct domain *ret)
{
    const xmlNode *tpm = child(devices, "tpm");
    const xmlNode *backend = child(tpm, "backend");
    const char *version = attribute(backend, "version");

    if (!tpm)
        return;
    ret->tpm_persistent = attribute_is(backend, "persistent_state", "yes");
    /* Without a version libvirt takes 2.0 for every model but tpm-tis on old machines; it writes it at define. */
    if (!attribute_is(backend, "type", "emulator") || (version && strcmp(version, "2.0") != 0) ||
        child(backend, "source")) /* a state that lies elsewhere */
        ret->tpm = DOMAIN_TPM_OTHER;
    else if (child(backend, "encryption"))
        ret->tpm = DOMAIN_TPM_ENCRYPTED;
    else
        ret->tpm = DOMAIN_TPM_EMULATOR;
}

static const xmlNode *
first_disk(const xmlNode *devices)
{
    const xmlNode *at = child(devices, "disk");

    while (at) {
        const char *device = attribute(at, "device");

        if (!device || strcmp(device, "disk") == 0)
            return at;
        at = next_element(at->next, "disk");
    }
    return NULL;
}

static enum domain_disk
disk_kind(const char *type)
{
    if (!type || strcmp(type, "file") == 0)
        return DOMAIN_DISK_FILE;
    if (strcmp(type, "block") == 0)
        return DOMAIN_DISK_BLOCK;
    if (strcmp(type, "network") == 0)
        return DOMAIN_DISK_NETWORK;
    return DOMAIN_DISK_OTHER;
}

static void
read_disk(const xmlNode *devices, struct domain *ret)
{
    const xmlNode *disk = first_disk(devices);
    const xmlNode *source = child(disk, "source");
    const xmlNode *backing = child(disk, "backingStore");
    const char *path;

    if (!disk)
        return;
    ret->disk = disk_kind(attribute(disk, "type"));
    ret->disk_readonly = child(disk, "readonly") != NULL;
    ret->disk_transient = child(disk, "transient") != NULL;
    ret->disk_encrypted = child(disk, "encryption") || child(source, "encryption");
    ret->disk_backing_given = backing && (backing->children || backing->properties);
    path = attribute(source, ret->disk == DOMAIN_DISK_BLOCK ? "dev" : "file");
    if (!copy_text(ret->disk_path, sizeof ret->disk_path, path) ||
        !copy_text(ret->disk_format, sizeof ret->disk_format, attribute(child(disk, "driver"), "type")))
        ret->disk = DOMAIN_DISK_OTHER;
}

/* Of the running domain it is the one that the guest sees; libvirt makes a new one when a state is put back. */
static void
read_genid(const xmlNode *root, struct domain *ret)
{
    const char *text = text_of(child(root, "genid"));
    struct vm_uuid genid;
    struct error err;

    if (text && vm_uuid_parse(text, &genid, &err) == 0)
        vm_uuid_print(&genid, ret->genid);
}

static int
read_domain(const xmlNode *root, struct domain *ret, struct error *err)
{
    const char *name = text_of(child(root, "name"));
    const char *uuid = text_of(child(root, "uuid"));
    const xmlNode *devices = child(root, "devices");

    if (!name || !name_is_domain(name) || !copy_text(ret->name, sizeof ret->name, name))
        return error_set(err, ERROR_INPUT, "domain XML without a usable <name>");
    if (!uuid || vm_uuid_parse(uuid, &ret->uuid, err) < 0)
        return error_set(err, ERROR_INPUT, "domain XML of %s without a usable <uuid>", name);
    ret->marker = has_marker(root);
    read_genid(root, ret);
    read_channel(devices, ret);
    read_tpm(devices, ret);
    read_disk(devices, ret);
    return 0;
}

int
domain_parse(const char *xml, size_t len, struct domain *ret, struct error *err)
{
    CLEANUP(xmlFreeDoc) xmlDocPtr doc = NULL;
    struct domain found = { 0 };
    const xmlNode *root;

    if (len == 0 || len > DOMAIN_XML_MAX)
        return error_set(err, ERROR_INPUT, "domain XML of %zu bytes, at most %d", len, DOMAIN_XML_MAX);
    xmlSetGenericErrorFunc(NULL, say_nothing);
    doc = xmlReadMemory(xml, (int)len, "domain.xml", NULL,
                        XML_PARSE_NONET | XML_PARSE_NOERROR | XML_PARSE_NOWARNING | XML_PARSE_NOCDATA);
    if (!doc)
        return error_set(err, ERROR_INPUT, "domain XML is not well-formed");
    if (doc->intSubset || doc->extSubset)
        return error_set(err, ERROR_INPUT, "domain XML with a document type");
    root = xmlDocGetRootElement(doc);
    if (!root || !is_element(root, "domain"))
        return error_set(err, ERROR_INPUT, "the XML is no <domain>");
    if (is_too_deep(root))
        return error_set(err, ERROR_INPUT, "domain XML is nested deeper than %d", DOMAIN_DEPTH_MAX);
    if (read_domain(root, &found, err) < 0)
        return -1;
    *ret = found;
    return 0;
}
