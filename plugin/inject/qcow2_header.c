#include "config.h"

#include "plugin/inject/qcow2_header.h"

#include <stdbool.h>
#include <string.h>

/* Offsets of docs/interop/qcow2.txt (QEMU). */
enum {
    AT_VERSION = 4,
    AT_BACKING_OFFSET = 8,
    AT_BACKING_LEN = 16,
    AT_CLUSTER_BITS = 20,
    AT_SIZE = 24,
    AT_CRYPT = 32,
    AT_INCOMPATIBLE = 72,
    AT_HEADER_LEN = 100,
    V2_LEN = 72,
    V3_LEN = 104,
    EXTENSION_BACKING_FORMAT = (int)0xe2792aca,
    EXTENSION_DATA_FILE = 0x44415441,
    EXTENSION_FULL_DISK_ENCRYPTION = 0x0537be77,
    EXTENSIONS_MAX = 64,
};

static const uint64_t DIRTY = 1, CORRUPT = 2, DATA_FILE = 4, COMPRESSION = 8, EXTENDED_L2 = 16;

static uint32_t
be32(const uint8_t *at)
{
    return (uint32_t)at[0] << 24 | (uint32_t)at[1] << 16 | (uint32_t)at[2] << 8 | at[3];
}

static uint64_t
be64(const uint8_t *at)
{
    return (uint64_t)be32(at) << 32 | be32(at + 4);
}

static int
refuse(struct error *err, const char *problem, const char *what)
{
    return error_problem(err, ERROR_DENIED, problem, "qcow2: %s", what);
}

static int
check_features(uint64_t incompatible, struct error *err)
{
    if (incompatible & CORRUPT)
        return refuse(err, "image-format", "marked corrupt; see qemu-img check");
    if (incompatible & DIRTY)
        return refuse(err, "image-dirty", "its tables were not closed cleanly; see qemu-img check -r");
    if (incompatible & DATA_FILE)
        return refuse(err, "image-format", "its data lie in another file");
    if (incompatible & ~(COMPRESSION | EXTENDED_L2))
        return refuse(err, "image-format", "it needs features that are unknown here");
    return 0;
}

static int
read_backing(const uint8_t *bytes, size_t len, struct qcow2_header *h, struct error *err)
{
    uint64_t at = be64(bytes + AT_BACKING_OFFSET);
    uint32_t n = be32(bytes + AT_BACKING_LEN);

    if (at == 0)
        return 0;
    if (n == 0 || n > INJECT_NAME_MAX || at > len || n > len - at)
        return refuse(err, "image-chain", "the backing file's name lies outside of the header");
    if (memchr(bytes + at, '\0', n))
        return refuse(err, "image-chain", "a NUL in the backing file's name");
    memcpy(h->backing, bytes + at, n);
    h->backing[n] = '\0';
    return 0;
}

static int
take_format(const uint8_t *bytes, uint32_t n, struct qcow2_header *h, struct error *err)
{
    if (n >= sizeof h->backing_format || memchr(bytes, '\0', n))
        return refuse(err, "image-chain", "the backing file's format is not raw or qcow2");
    memcpy(h->backing_format, bytes, n);
    h->backing_format[n] = '\0';
    return 0;
}

/* Extensions are (type, length, bytes padded to 8), up to type 0. */
static int
read_extensions(const uint8_t *bytes, size_t len, size_t at, struct qcow2_header *h,
                struct error *err)
{
    for (int i = 0; i < EXTENSIONS_MAX; i++) {
        uint32_t type, n;

        if (len < 8 || at > len - 8)
            return refuse(err, "image-format", "its header ends too early");
        type = be32(bytes + at);
        n = be32(bytes + at + 4);
        at += 8;
        if (type == 0)
            return 0;
        if (n > len - at)
            return refuse(err, "image-format", "a header extension is longer than the header");
        if (type == (uint32_t)EXTENSION_DATA_FILE)
            return refuse(err, "image-format", "its data lie in another file");
        if (type == (uint32_t)EXTENSION_FULL_DISK_ENCRYPTION)
            return refuse(err, "image-encrypted", "encrypted by QEMU");
        if (type == (uint32_t)EXTENSION_BACKING_FORMAT && take_format(bytes + at, n, h, err) < 0)
            return -1;
        at += ((size_t)n + 7) & ~(size_t)7;
    }
    return refuse(err, "image-format", "too many header extensions");
}

/* "json:{...}", "nbd://host" and "rbd:pool" are no files; a colon before any '/' is how QEMU tells. */
static bool
names_a_protocol(const char *name)
{
    const char *colon = strchr(name, ':'), *slash = strchr(name, '/');

    return colon && (!slash || colon < slash);
}

static int
check_backing(const struct qcow2_header *h, struct error *err)
{
    if (!h->backing[0])
        return 0;
    if (names_a_protocol(h->backing))
        return refuse(err, "image-chain", "its backing is no plain file name");
    if (!h->backing_format[0])
        return refuse(err, "image-chain",
                      "its backing file has no format; qemu-img rebase -u -F raw|qcow2 -b names it");
    if (strcmp(h->backing_format, "raw") != 0 && strcmp(h->backing_format, "qcow2") != 0)
        return refuse(err, "image-chain", "the backing file's format is not raw or qcow2");
    return 0;
}

static int
read_lengths(const uint8_t *bytes, size_t len, struct qcow2_header *h, size_t *ret_header_len,
             struct error *err)
{
    uint32_t bits = be32(bytes + AT_CLUSTER_BITS);
    size_t header_len = V2_LEN;

    if (h->version == 3) {
        if (len < V3_LEN)
            return refuse(err, "image-format", "its header ends too early");
        header_len = be32(bytes + AT_HEADER_LEN);
        if (header_len < V3_LEN || header_len > len)
            return refuse(err, "image-format", "its header has an impossible length");
        if (check_features(be64(bytes + AT_INCOMPATIBLE), err) < 0)
            return -1;
    }
    if (bits < 9 || bits > 21)
        return refuse(err, "image-format", "impossible cluster size");
    *ret_header_len = header_len;
    return 0;
}

int
qcow2_header_read(const uint8_t *bytes, size_t len, struct qcow2_header *ret, struct error *err)
{
    struct qcow2_header h = { 0 };
    size_t header_len = 0;

    if (len < V2_LEN || memcmp(bytes, "QFI\xfb", 4) != 0)
        return refuse(err, "image-format", "not a qcow2 file");
    h.version = be32(bytes + AT_VERSION);
    h.size = be64(bytes + AT_SIZE);
    if (h.version != 2 && h.version != 3)
        return refuse(err, "image-format", "unknown version");
    if (read_lengths(bytes, len, &h, &header_len, err) < 0)
        return -1;
    if (be32(bytes + AT_CRYPT) != 0)
        return refuse(err, "image-encrypted", "encrypted by QEMU");
    if (read_extensions(bytes, len, header_len, &h, err) < 0 ||
        read_backing(bytes, len, &h, err) < 0 || check_backing(&h, err) < 0)
        return -1;
    *ret = h;
    return 0;
}
