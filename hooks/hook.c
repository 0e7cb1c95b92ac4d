/*
 * virtid-hook: libvirt calls us as NAME OPERATION SUB-OPERATION EXTRA with the
 * domain's XML on stdin.  One message to virtid-hostd, one answer, exit 0 or 1.
 * docs/PROTOCOL-hook.md.
 */
#include "config.h"

#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <time.h>
#include <unistd.h>

#include "hooks/hook_ask.h"
#include "lib/common/clock.h"
#include "lib/common/fdio.h"
#include "lib/wire/hook_msg.h"
#include "lib/wire/vm_uuid.h"

enum {
    UUID_SCAN_MAX = 4096,  /* libvirt writes <uuid> behind <name>, the second element */
    MISSED_MAX = 65536,    /* a mark file is small; a bigger one is not ours to grow */
    PATH_ROOM = 256,
};

static const char usage[] =
    "Usage: virtid-hook NAME OPERATION SUB-OPERATION EXTRA < DOMAIN-XML\n"
    "Called by libvirt for every domain; see virtid-hook(8).\n";

/* The folders; the test variable counts only for a caller who is what he seems. */
static const char *
run_dir(void)
{
    const char *given = secure_getenv("VIRTID_HOOK_RUN_DIR");

    return given && given[0] == '/' && strlen(given) < PATH_ROOM / 2 ? given : VIRTID_RUN_DIR;
}

static void
path_of(char ret[static PATH_ROOM], const char *kind, const char *uuid)
{
    bool moved = run_dir() != NULL && strcmp(run_dir(), VIRTID_RUN_DIR) != 0;

    if (strcmp(kind, "strict") == 0 && !moved)
        snprintf(ret, PATH_ROOM, "%s/strict/%s", VIRTID_STATE_DIR, uuid);
    else
        snprintf(ret, PATH_ROOM, "%s/%s%s%s", run_dir(), kind, uuid[0] ? "/" : "", uuid);
}

/* Read stdin to its end, so that libvirt never blocks; keep what fits. */
static void
drain_stdin(struct buf *xml, bool *ret_truncated)
{
    static uint8_t spill[65536];
    bool truncated = false;

    for (;;) {
        ssize_t n = read(STDIN_FILENO, spill, sizeof spill);

        if (n < 0 && errno == EINTR)
            continue;
        if (n <= 0)
            break;
        if (!truncated)
            buf_add(xml, spill, (size_t)n);
        if (!buf_ok(xml))
            truncated = true;
    }
    *ret_truncated = truncated;
}

/* By plain scan: a parser would be the only code here that can be attacked. */
static void
find_uuid(const struct buf *xml, char ret[static VM_UUID_TEXT])
{
    static const char open_tag[] = "<uuid>";
    size_t len = xml->len < UUID_SCAN_MAX ? xml->len : UUID_SCAN_MAX;
    const char *at = len ? memmem(xml->data, len, open_tag, strlen(open_tag)) : NULL;
    struct vm_uuid uuid;
    struct error err;
    size_t offset;

    ret[0] = '\0';
    if (!at)
        return;
    offset = (size_t)(at - (const char *)xml->data) + strlen(open_tag);
    if (len - offset < VM_UUID_TEXT - 1)
        return;
    memcpy(ret, xml->data + offset, VM_UUID_TEXT - 1);
    ret[VM_UUID_TEXT - 1] = '\0';
    if (vm_uuid_parse(ret, &uuid, &err) < 0)
        ret[0] = '\0';
}

static bool
is_strict(const char *uuid)
{
    char path[PATH_ROOM];
    struct stat st;

    if (!uuid[0])
        return false;
    path_of(path, "strict", uuid);
    return lstat(path, &st) == 0;
}

/*
 * The folder of the marks.  What lies in run_dir is the daemon's, which is not root: no link of its
 * making is followed, and the folder is given to it, or it could not take the marks away.
 */
static int
open_missed(void)
{
    CLEANUP(fd_close) int dir = open(run_dir(), O_RDONLY | O_DIRECTORY | O_CLOEXEC);
    bool made = dir >= 0 && mkdirat(dir, "missed", 0755) == 0;
    int missed = openat(dir, "missed", O_RDONLY | O_DIRECTORY | O_NOFOLLOW | O_CLOEXEC);
    struct stat st;

    if (missed >= 0 && made && fstat(dir, &st) == 0 && geteuid() == 0)
        (void)!fchown(missed, st.st_uid, st.st_gid);
    return missed;
}

/* The daemon was away: its next sweep must know of runs that nobody watched. */
static void
leave_mark(const char *uuid, const char *op)
{
    CLEANUP(fd_close) int dir = uuid[0] ? open_missed() : -1;
    CLEANUP(fd_close) int fd = -1;
    struct stat st;
    char line[80];
    int len;

    if (dir < 0)
        return;
    fd = openat(dir, uuid, O_WRONLY | O_CREAT | O_APPEND | O_CLOEXEC | O_NOFOLLOW | O_NONBLOCK, 0644);
    if (fd < 0 || fstat(fd, &st) < 0 || !S_ISREG(st.st_mode) || st.st_nlink != 1 || st.st_size > MISSED_MAX)
        return;
    len = snprintf(line, sizeof line, "%s %lld\n", op, (long long)(clock_realtime_ms() / 1000));
    (void)!write(fd, line, (size_t)len);
}

static void
copy(char *ret, size_t size, const char *text)
{
    size_t len = strnlen(text, size - 1);

    memcpy(ret, text, len);
    ret[len] = '\0';
}

/* Names are shown on the operator's terminal. */
static void
copy_clean(char *ret, size_t size, const char *text)
{
    copy(ret, size, text);
    for (char *at = ret; *at; at++) {
        if ((unsigned char)*at < 0x20 || *at == 0x7f)
            *at = '?';
    }
}

static int
refuse(const struct hook_msg *m, const char *reason)
{
    fprintf(stderr, "virtid: vm %s may not start: %s\n", m->name, reason);
    return EXIT_FAILURE;
}

static int
ask(const struct hook_msg *m)
{
    CLEANUP(buf_clear) struct buf message = BUF(HOOK_XML_MAX + HOOK_HEAD_MAX + 64);
    char reason[HOOK_REASON_MAX + 1], path[PATH_ROOM];
    enum hook_outcome outcome = HOOK_SILENT;
    struct error err;

    path_of(path, "hook.sock", "");
    if (hook_msg_encode(m, &message, &err) == 0)
        outcome = hook_ask(path, &message, hook_op_waits(m->op), reason);
    if (outcome == HOOK_SILENT)
        leave_mark(m->uuid, m->op);
    if (!hook_op_waits(m->op))
        return EXIT_SUCCESS;
    if (outcome == HOOK_ANSWERED_NO)
        return refuse(m, reason);
    if (outcome == HOOK_SILENT && is_strict(m->uuid))
        return refuse(m, "it is strict and virtid-hostd does not answer; start virtid-hostd");
    return EXIT_SUCCESS;
}

/* libvirt runs us with its own descriptors; whatever we are given, 0 to 2 exist. */
static void
open_standard_descriptors(void)
{
    int fd;

    do {
        fd = open("/dev/null", O_RDWR);
    } while (fd >= 0 && fd <= STDERR_FILENO);
    fd_close(fd);
}

int
main(int argc, char **argv)
{
    CLEANUP(buf_clear) struct buf xml = BUF(HOOK_XML_MAX);
    struct hook_msg m = { 0 };

    open_standard_descriptors();
    if (argc == 2 && strcmp(argv[1], "--help") == 0)
        return fputs(usage, stdout) < 0;
    if (argc == 2 && strcmp(argv[1], "--version") == 0)
        return printf("virtid-hook %s\n", PACKAGE_VERSION) < 0;
    drain_stdin(&xml, &m.truncated);
    /* Fewer arguments come from no libvirt; what we do not know we do not stop. */
    if (argc < 4 || !hook_op_known(argv[2]))
        return EXIT_SUCCESS;
    copy_clean(m.name, sizeof m.name, argv[1]);
    copy(m.op, sizeof m.op, argv[2]);
    copy_clean(m.subop, sizeof m.subop, argv[3]);
    find_uuid(&xml, m.uuid);
    m.xml = m.truncated ? "" : (const char *)xml.data;
    m.xml_len = m.truncated ? 0 : xml.len;
    return ask(&m);
}
