#include "config.h"

#include "tokenservice/mint/signer_init.h"

#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <pwd.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include "lib/common/fdio.h"
#include "lib/crypto/random.h"
#include "lib/crypto/x509.h"
#include "lib/wire/token.h"
#include "tokenservice/mint/signer_keys.h"

enum {
    CONF_MAX = 4096,
    CONF_VALUE_MAX = 180, /* inih takes lines of 200 */
    NAME_ROOM = 256,
};

static int
check_names(const struct signer_init *init, struct error *err)
{
    const char *port = strrchr(init->guests, ':');

    if (!name_is_trust_domain(init->trust_domain))
        return error_set(err, ERROR_INPUT,
                         "trust domain \"%s\": 1 to 63 of a-z 0-9 . -",
                         init->trust_domain);
    if (!name_is_issuer(init->issuer))
        return error_set(
            err, ERROR_INPUT,
            "issuer \"%s\": https://HOST[:PORT][/PATH], no slash at the end",
            init->issuer);
    if (strlen(init->issuer) >= strlen(TOKEN_BOUND_PATH) &&
        strcmp(init->issuer + strlen(init->issuer) - strlen(TOKEN_BOUND_PATH), TOKEN_BOUND_PATH) == 0)
        return error_set(err, ERROR_INPUT, "issuer \"%s\": a name that ends so is that of bound tokens", init->issuer);
    if (!port || port == init->guests || strlen(init->guests) > MINT_GUESTS_MAX ||
        strspn(port + 1, "0123456789") != strlen(port + 1) || port[1] == '\0')
        return error_set(err, ERROR_INPUT, "guest listener \"%s\": HOST:PORT",
                         init->guests);
    if (strspn(init->names, "abcdefghijklmnopqrstuvwxyz0123456789.:- ") !=
        strlen(init->names))
        return error_set(err, ERROR_INPUT,
                         "names \"%s\": DNS names and addresses, separated by spaces",
                         init->names);
    return 0;
}

/* Add the host of "HOST[:PORT]..." unless it is among the names. */
static int
add_host(struct buf *names, const char *from, struct error *err)
{
    size_t len = strcspn(from, ":/");
    char host[NAME_ROOM], list[MINT_NAMES_MAX + 3], word[NAME_ROOM + 2];

    if (from[0] == '[') { /* an IPv6 address */
        from++;
        len = strcspn(from, "]");
    }
    if (len == 0 || len >= sizeof host || !buf_text(names) ||
        names->len > MINT_NAMES_MAX)
        return error_set(err, ERROR_INPUT, "a name is empty or too long");
    memcpy(host, from, len);
    host[len] = '\0';
    (void)snprintf(list, sizeof list, " %s ", buf_text(names));
    (void)snprintf(word, sizeof word, " %s ", host);
    if (strstr(list, word))
        return 0;
    buf_printf(names, "%s%s", names->len > 0 ? " " : "", host);
    return 0;
}

static const char *const FILES[] = {
    SIGNER_FILE_TOKENS,   SIGNER_FILE_CAS, SIGNER_FILE_RECEIPT, SIGNER_FILE_NONCE, SIGNER_FILE_ACTIVATE,
    SIGNER_FILE_ROW,      SIGNER_FILE_CA_CERT, SIGNER_FILE_CONF, SIGNER_FILE_AUDIT, SIGNER_FILE_HEAD,
};
enum { N_FILES = sizeof FILES / sizeof FILES[0] };

/* The folder's name must last as long as what it holds. */
static int
open_folder(const char *path, int *ret_dir, struct error *err)
{
    CLEANUP(fd_close) int dir = -1;
    CLEANUP(fd_close) int above = -1;

    if (mkdir(path, 0700) < 0 && errno != EEXIST)
        return error_sys(err, errno, "make %s", path);
    dir = open(path, O_RDONLY | O_DIRECTORY | O_CLOEXEC | O_NOFOLLOW);
    above = dir < 0 ? -1 : openat(dir, "..", O_RDONLY | O_DIRECTORY | O_CLOEXEC);
    if (above < 0 || fsync(above) < 0)
        return error_sys(err, errno, "%s", path);
    *ret_dir = fd_steal(&dir);
    return 0;
}

/* Anything but the mark of an unfinished start, and what a crash left of that? */
static int
look_in(int dir, bool *ret_full, struct error *err)
{
    const struct dirent *entry;
    int copy = openat(dir, ".", O_RDONLY | O_DIRECTORY | O_CLOEXEC);
    DIR *list = copy < 0 ? NULL : fdopendir(copy);

    if (!list) {
        int saved = errno;

        fd_close(copy);
        return error_sys(err, saved, "list the key folder");
    }
    *ret_full = false;
    while ((errno = 0, entry = readdir(list)) != NULL) {
        if (strcmp(entry->d_name, ".") != 0 && strcmp(entry->d_name, "..") != 0 &&
            strcmp(entry->d_name, SIGNER_FILE_UNFINISHED) != 0 &&
            strcmp(entry->d_name, "." SIGNER_FILE_UNFINISHED ".new") != 0)
            *ret_full = true;
    }
    if (errno) {
        int saved = errno;

        closedir(list);
        return error_sys(err, saved, "list the key folder");
    }
    closedir(list);
    return 0;
}

/* Keys that nobody was told of; an earlier version may have begun. */
static int
remove_unfinished(int dir, struct error *err)
{
    static const char *const old[] = { SIGNER_FILE_TOKEN, SIGNER_FILE_HOST_CA, SIGNER_FILE_EK_CA,
                                       SIGNER_FILE_EK_CA_CERT, SIGNER_FILE_BUNDLE };

    for (size_t i = 0; i < sizeof old / sizeof old[0]; i++) {
        if (unlinkat(dir, old[i], 0) < 0 && errno != ENOENT)
            return error_sys(err, errno, "remove %s of an init that was cut", old[i]);
    }
    for (size_t i = 0; i < N_FILES; i++) {
        char temporary[NAME_ROOM];

        (void)snprintf(temporary, sizeof temporary, ".%s.new", FILES[i]);
        if ((unlinkat(dir, FILES[i], 0) < 0 && errno != ENOENT) ||
            (unlinkat(dir, temporary, 0) < 0 && errno != ENOENT))
            return error_sys(err, errno, "remove %s of an init that was cut", FILES[i]);
    }
    return 0;
}

/* Until the mark is gone there is no trust domain, and init begins anew. */
static int
open_empty(const char *path, int *ret_dir, struct error *err)
{
    CLEANUP(fd_close) int dir = -1;
    bool is_full = false;

    if (open_folder(path, &dir, err) < 0)
        return -1;
    if (faccessat(dir, SIGNER_FILE_UNFINISHED, F_OK, AT_SYMLINK_NOFOLLOW) == 0 &&
        remove_unfinished(dir, err) < 0)
        return -1;
    if (look_in(dir, &is_full, err) < 0)
        return -1;
    if (is_full)
        return error_set(
            err, ERROR_DENIED,
            "%s is not empty; keys are never overwritten (move the folder away "
            "to begin anew)",
            path);
    if (fchmod(dir, 0700) < 0)
        return error_sys(err, errno, "%s", path);
    if (file_replace_at(dir, SIGNER_FILE_UNFINISHED, "", 0, 0600, err) < 0)
        return -1;
    *ret_dir = fd_steal(&dir);
    return 0;
}

static int
finish(int dir, struct error *err)
{
    if (unlinkat(dir, SIGNER_FILE_UNFINISHED, 0) < 0 || fsync(dir) < 0)
        return error_sys(err, errno, "finish the key folder");
    return 0;
}

static int
make_secret(int dir, const char *name, struct error *err)
{
    CLEANUP(secret_free) struct secret *secret = NULL;

    if (secret_new(SIGNER_MASTER_LEN, &secret, err) < 0 ||
        random_bytes(secret->bytes, secret->len, err) < 0)
        return -1;
    return file_replace_at(dir, name, secret->bytes, secret->len, 0600, err);
}

static int
compose(enum x509_kind kind, const char *name, const struct key *subject,
        const struct key *ca_key, const struct buf *ca_der, int64_t now,
        struct buf *into, struct error *err)
{
    CLEANUP(buf_clear) struct buf spki = BUF(256);
    uint8_t point[KEY_POINT_LEN], serial[16];
    struct x509_request request = {
        .kind = kind, .name = name, .serial = serial, .now = now
    };

    if (random_bytes(serial, sizeof serial, err) < 0)
        return -1;
    serial[0] = (uint8_t)((serial[0] & 0x7f) | 0x40); /* positive, always 16 bytes */
    key_point(subject, point);
    if (x509_spki_of_point(point, &spki, err) < 0)
        return -1;
    request.spki = spki.data;
    request.spki_len = spki.len;
    return x509_compose(&request, ca_key, ca_der ? ca_der->data : NULL,
                        ca_der ? ca_der->len : 0, into, err);
}

static int
make_cas(int dir, const struct signer_init *init, int64_t now, struct error *err)
{
    struct ca_names names = { init->trust_domain, init->issuer, init->guests };
    CLEANUP(buf_clear) struct buf pem = BUF(SIGNER_PEM_MAX);
    struct ca_set cas;
    int rc = ca_set_begin(&names, now, &cas, err);

    if (rc == 0)
        rc = ca_file_make(dir, SIGNER_FILE_CAS, &cas, err);
    if (rc == 0)
        rc = ca_set_pem(&cas, &pem, err);
    explicit_bzero(&cas, sizeof cas);
    return rc < 0 ? -1 : file_replace_at(dir, SIGNER_FILE_CA_CERT, pem.data, pem.len, 0600, err);
}

/* One key; the signer publishes the next when it begins, and makes those of bound tokens. */
static int
make_rings(int dir, int64_t now, struct error *err)
{
    CLEANUP(key_free) struct key *key = NULL;
    struct key_rings rings = { 0 };
    int rc = key_generate(&key, err);

    if (rc == 0)
        rc = key_ring_begin(key, now, &rings.of[RING_TOKEN], err);
    if (rc == 0)
        rc = key_file_make(dir, SIGNER_FILE_TOKENS, &rings, err);
    explicit_bzero(&rings, sizeof rings);
    return rc;
}

static int
make_all_keys(int dir, const struct signer_init *init, int64_t now, struct error *err)
{
    CLEANUP(key_free) struct key *receipt = NULL, *audit = NULL;

    if (make_rings(dir, now, err) < 0 ||
        signer_key_make(dir, SIGNER_FILE_RECEIPT, &receipt, err) < 0 ||
        signer_key_make(dir, SIGNER_FILE_AUDIT, &audit, err) < 0 ||
        head_file_make(dir, SIGNER_FILE_HEAD, now, err) < 0 ||
        make_secret(dir, SIGNER_FILE_NONCE, err) < 0 ||
        make_secret(dir, SIGNER_FILE_ACTIVATE, err) < 0 ||
        make_secret(dir, SIGNER_FILE_ROW, err) < 0)
        return -1;
    return make_cas(dir, init, now, err);
}

/* The text of signer.conf; the hosts that clients will connect to are among the names.
 */
static int
make_conf(const struct signer_init *init, struct buf *names, struct buf *text,
          struct error *err)
{
    buf_add_text(names, init->names);
    if (add_host(names, init->issuer + strlen("https://"), err) < 0 ||
        add_host(names, init->guests, err) < 0)
        return -1;
    if (!buf_text(names) || names->len > CONF_VALUE_MAX ||
        strlen(init->issuer) > CONF_VALUE_MAX || strlen(init->guests) > CONF_VALUE_MAX)
        return error_set(err, ERROR_INPUT,
                         "names, issuer and guest listener: at most %d "
                         "characters each",
                         CONF_VALUE_MAX);
    buf_printf(
        text,
        "# Names of this trust domain; the keys beside this file belong to them.\n"
        "[signer]\n"
        "trust_domain = %s\n"
        "issuer = %s\n"
        "names = %s\n"
        "guests = %s\n"
        "test = %s\n",
        init->trust_domain, init->issuer, buf_text(names), init->guests,
        init->test ? "yes" : "no");
    return buf_ok(text) ? 0 : error_set(err, buf_error_code(text), "the names are too long");
}

/* Whether a server certificate can be made for them: asked before any key is written.
 */
static int
try_names(const char *names, int64_t now, struct error *err)
{
    CLEANUP(buf_clear) struct buf ca = BUF(BUNDLE_CA_MAX), leaf = BUF(X509_DER_MAX);
    CLEANUP(key_free) struct key *key = NULL;
    char list[CONF_VALUE_MAX + 1];
    size_t n = 0;

    for (const char *c = names; *c; c++) {
        if (*c != ' ')
            list[n++] = *c;
        else if (n > 0 && list[n - 1] != ',')
            list[n++] = ',';
    }
    list[n] = '\0';
    if (key_generate(&key, err) < 0 ||
        compose(X509_CA_HOST, "trial", key, key, NULL, now, &ca, err) < 0 ||
        compose(X509_SERVER, list, key, key, &ca, now, &leaf, err) < 0)
        return error_wrap(err, "names \"%s\"", names);
    return 0;
}

static int
give_away(int dir, const char *user, struct error *err)
{
    const struct passwd *who;

    if (!user || geteuid() != 0)
        return 0;
    who = getpwnam(user);
    if (!who)
        return error_set(err, ERROR_MISSING, "there is no user \"%s\"", user);
    for (size_t i = 0; i < N_FILES; i++) {
        if (fchownat(dir, FILES[i], who->pw_uid, who->pw_gid, AT_SYMLINK_NOFOLLOW) < 0)
            return error_sys(err, errno, "give %s to %s", FILES[i], user);
    }
    if (fchown(dir, who->pw_uid, who->pw_gid) < 0)
        return error_sys(err, errno, "give the key folder to %s", user);
    return 0;
}

int
signer_init(const struct signer_init *init, int64_t now, struct error *err)
{
    CLEANUP(buf_clear) struct buf names = BUF(MINT_NAMES_MAX), conf = BUF(CONF_MAX);
    CLEANUP(fd_close) int dir = -1;

    if (check_names(init, err) < 0 || make_conf(init, &names, &conf, err) < 0 ||
        try_names(buf_text(&names), now, err) < 0 ||
        open_empty(init->key_dir, &dir, err) < 0)
        return -1;
    if (make_all_keys(dir, init, now, err) < 0 ||
        file_replace_at(dir, SIGNER_FILE_CONF, conf.data, conf.len, 0600, err) < 0)
        return error_wrap(err, "%s", init->key_dir);
    return give_away(dir, init->user, err) < 0 ? -1 : finish(dir, err);
}
