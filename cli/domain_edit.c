#include "config.h"

#include "cli/domain_edit.h"

#include <errno.h>
#include <libxml/parser.h>
#include <libxml/tree.h>
#include <limits.h>
#include <string.h>

#define MARKER_NS "urn:virtid:domain:1"
#define CHANNEL_NAME "org.virtid.0"

DEFINE_CLEANUP(xmlDocPtr, xmlFreeDoc);

static xmlNodePtr
child(xmlNodePtr parent, const char *name)
{
    for (xmlNodePtr at = parent ? parent->children : NULL; at; at = at->next) {
        if (at->type == XML_ELEMENT_NODE && xmlStrcmp(at->name, BAD_CAST name) == 0)
            return at;
    }
    return NULL;
}

static bool
has_value(xmlNodePtr node, const char *attribute, const char *value)
{
    xmlChar *text = node ? xmlGetNoNsProp(node, BAD_CAST attribute) : NULL;
    bool same = text && xmlStrcmp(text, BAD_CAST value) == 0;

    xmlFree(text);
    return same;
}

static xmlNodePtr
find_marker(xmlNodePtr domain)
{
    xmlNodePtr metadata = child(domain, "metadata");

    for (xmlNodePtr at = metadata ? metadata->children : NULL; at; at = at->next) {
        if (at->type == XML_ELEMENT_NODE && at->ns &&
            xmlStrcmp(at->ns->href, BAD_CAST MARKER_NS) == 0)
            return at;
    }
    return NULL;
}

static xmlNodePtr
find_channel(xmlNodePtr devices)
{
    for (xmlNodePtr at = devices ? devices->children : NULL; at; at = at->next) {
        if (at->type == XML_ELEMENT_NODE && xmlStrcmp(at->name, BAD_CAST "channel") == 0 &&
            has_value(child(at, "target"), "name", CHANNEL_NAME))
            return at;
    }
    return NULL;
}

/* A subtree from its text, as the last child of `parent`. */
static int
graft(xmlNodePtr parent, const char *text, struct error *err)
{
    xmlNodePtr list = NULL;

    if (xmlParseInNodeContext(parent, text, (int)strlen(text),
                              XML_PARSE_NONET | XML_PARSE_NOERROR, &list) != XML_ERR_OK ||
        !list)
        return error_sys(err, ENOMEM, "domain XML");
    xmlAddChildList(parent, list);
    return 0;
}

static int
add_marker(xmlNodePtr domain, struct error *err)
{
    xmlNodePtr metadata = child(domain, "metadata");

    if (!metadata)
        metadata = xmlNewChild(domain, NULL, BAD_CAST "metadata", NULL);
    if (!metadata)
        return error_sys(err, ENOMEM, "domain XML");
    return graft(metadata, "<virtid:identity xmlns:virtid=\"" MARKER_NS "\"/>", err);
}

static int
parse(const char *xml, xmlDocPtr *ret_doc, xmlNodePtr *ret_devices, struct error *err)
{
    size_t len = strlen(xml);
    xmlNodePtr domain;

    if (len > INT_MAX)
        return error_set(err, ERROR_INPUT, "domain XML of %zu bytes", len);
    *ret_doc = xmlReadMemory(xml, (int)len, "domain.xml", NULL,
                             XML_PARSE_NONET | XML_PARSE_NOERROR | XML_PARSE_NOWARNING);
    domain = *ret_doc ? xmlDocGetRootElement(*ret_doc) : NULL;
    *ret_devices = child(domain, "devices");
    if (!*ret_devices || xmlStrcmp(domain->name, BAD_CAST "domain") != 0)
        return error_set(err, ERROR_INPUT, "libvirt's answer is no domain definition");
    return 0;
}

static int
print(xmlDocPtr doc, struct buf *into, struct error *err)
{
    xmlChar *text = NULL;
    int len = 0;

    xmlDocDumpMemory(doc, &text, &len);
    if (!text)
        return error_sys(err, ENOMEM, "domain XML");
    buf_add(into, text, (size_t)len);
    xmlFree(text);
    if (!buf_text(into))
        return error_sys(err, ENOMEM, "domain XML");
    return 0;
}

int
domain_edit_enable(const char *xml, struct buf *into, struct domain_change *ret,
                   struct error *err)
{
    CLEANUP(xmlFreeDoc) xmlDocPtr doc = NULL;
    struct domain_change change = { 0 };
    xmlNodePtr devices, tpm;

    if (parse(xml, &doc, &devices, err) < 0)
        return -1;
    tpm = child(devices, "tpm");
    change.marker = !find_marker(devices->parent);
    change.channel = !find_channel(devices);
    change.tpm = !tpm;
    change.foreign_tpm = tpm && !has_value(child(tpm, "backend"), "type", "emulator");
    if ((change.marker && add_marker(devices->parent, err) < 0) ||
        (change.tpm && graft(devices, "<tpm model='tpm-crb'><backend type='emulator' "
                                      "version='2.0' persistent_state='yes'/></tpm>",
                             err) < 0) ||
        (change.channel && graft(devices, "<channel type='unix'><target type='virtio' "
                                          "name='" CHANNEL_NAME "'/></channel>",
                                 err) < 0) ||
        print(doc, into, err) < 0)
        return -1;
    *ret = change;
    return 0;
}

static void
cut(xmlNodePtr node)
{
    xmlUnlinkNode(node);
    xmlFreeNode(node);
}

int
domain_edit_disable(const char *xml, struct buf *into, struct domain_change *ret,
                    struct error *err)
{
    CLEANUP(xmlFreeDoc) xmlDocPtr doc = NULL;
    struct domain_change change = { 0 };
    xmlNodePtr devices, marker, channel;

    if (parse(xml, &doc, &devices, err) < 0)
        return -1;
    marker = find_marker(devices->parent);
    channel = find_channel(devices);
    change.marker = marker != NULL;
    change.channel = channel != NULL;
    if (marker)
        cut(marker);
    if (channel)
        cut(channel);
    if (print(doc, into, err) < 0)
        return -1;
    *ret = change;
    return 0;
}
