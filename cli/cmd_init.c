/*
 * virtid init - make a trust domain on this machine
 *
 * The keys are made by virtid-signer, as its own user; here only folders and
 * the configuration of virtid-tokend are made.
 */
#include "config.h"

#include <errno.h>
#include <getopt.h>
#include <pwd.h>
#include <stdio.h>
#include <string.h>
#include <unistd.h>

#include "cli/command.h"
#include "cli/service_files.h"
#include "lib/common/buf.h"
#include "lib/common/clock.h"
#include "lib/common/fdio.h"
#include "lib/common/process.h"
#include "lib/wire/names.h"

enum { SIGNER_SAYS_MAX = 16384, SIGNER_MS = 30000, TEXT_MAX = 300 };

struct wish {
    const char *trust_domain, *issuer, *names, *listen, *enrol;
    const char *config_dir, *state_dir, *key_dir, *run_dir, *signer;
    char hosts[TEXT_MAX], guests[TEXT_MAX], host_name[TEXT_MAX], port[8];
    bool test;
};

/* https://HOST[:PORT]... -> HOST and PORT. */
static int
split_issuer(struct wish *wish, struct error *err)
{
    const char *host, *end, *colon;

    if (!wish->issuer || !name_is_issuer(wish->issuer))
        return error_set(err, ERROR_INPUT, "--issuer is https://HOST[:PORT][/PATH]");
    host = wish->issuer + strlen("https://");
    end = host + strcspn(host, "/");
    colon = *host == '[' ? strchr(strchr(host, ']') ? strchr(host, ']') : host, ':')
                         : memchr(host, ':', (size_t)(end - host));
    if (colon && colon > end)
        colon = NULL;
    snprintf(wish->host_name, sizeof wish->host_name, "%.*s",
             (int)((colon ? colon : end) - host), host);
    snprintf(wish->port, sizeof wish->port, "%.*s", colon ? (int)(end - colon - 1) : 3,
             colon ? colon + 1 : "443");
    return 0;
}

static int
complete_wish(struct wish *wish, struct error *err)
{
    if (!wish->trust_domain || !name_is_trust_domain(wish->trust_domain))
        return error_set(err, ERROR_INPUT, "--trust-domain is a name like example.test");
    if (split_issuer(wish, err) < 0)
        return -1;
    if (strcmp(wish->enrol, "open") && strcmp(wish->enrol, "placed"))
        return error_set(err, ERROR_INPUT, "--enrol is open or placed");
    if (!wish->hosts[0])
        snprintf(wish->hosts, sizeof wish->hosts, "%.280s:8444", wish->host_name);
    if (!wish->guests[0])
        snprintf(wish->guests, sizeof wish->guests, "%.280s:8445", wish->host_name);
    return 0;
}

static int
make_keys(const struct wish *wish, struct buf *ret_says, struct error *err)
{
    char names[2 * TEXT_MAX];
    const char *argv[16];
    struct process_spawn spawn = PROCESS_SPAWN(argv);
    struct passwd *who = geteuid() == 0 ? getpwnam(SIGNER_USER) : NULL;
    struct error because = { 0 };
    size_t n = 0;
    int out[2];
    pid_t pid;

    snprintf(names, sizeof names, "%s %s", wish->host_name, wish->names);
    argv[n++] = wish->signer;
    argv[n++] = "--init";
    argv[n++] = "--key-dir";
    argv[n++] = wish->key_dir;
    argv[n++] = "--trust-domain";
    argv[n++] = wish->trust_domain;
    argv[n++] = "--issuer";
    argv[n++] = wish->issuer;
    argv[n++] = "--names";
    argv[n++] = names;
    argv[n++] = "--guests";
    argv[n++] = wish->guests;
    if (wish->test)
        argv[n++] = "--test";
    argv[n] = NULL;
    if (pipe(out) < 0)
        return error_sys(err, errno, "pipe");
    spawn.stdout_fd = out[1];
    spawn.stderr_fd = STDERR_FILENO;
    if (who) {
        spawn.uid = who->pw_uid;
        spawn.gid = who->pw_gid;
    }
    if (process_start(&spawn, &pid, err) < 0) {
        close(out[0]);
        close(out[1]);
        return -1;
    }
    close(out[1]);
    (void)fd_read_to_end(out[0], ret_says, &because);
    close(out[0]);
    if (process_wait(pid, clock_monotonic_ms() + SIGNER_MS, err) < 0)
        return error_wrap(err, "virtid-signer --init");
    return 0;
}

/* The value of "name=value" in the signer's answer; "" if it is not there. */
static void
said(const char *says, const char *name, char *ret, size_t room)
{
    size_t len = strlen(name);

    *ret = '\0';
    for (const char *at = says; at && *at; at = strchr(at, '\n') ? strchr(at, '\n') + 1 : NULL) {
        if (strncmp(at, name, len) == 0 && at[len] == '=')
            snprintf(ret, room, "%.*s", (int)strcspn(at + len + 1, "\n"), at + len + 1);
    }
}

static int
write_configuration(const struct wish *wish, struct error *err)
{
    CLEANUP(buf_clear) struct buf text = BUF(8192);
    char path[TEXT_MAX];

    buf_printf(&text,
               "# virtid-tokend(8); made by virtid init\n"
               "[service]\ntrust_domain = %s\nissuer = %s\nnames = %s %s\nstate_dir = %s\n"
               "key_dir = %s\nenrol = %s\ntest = %s\n",
               wish->trust_domain, wish->issuer, wish->host_name, wish->names,
               wish->state_dir, wish->key_dir, wish->enrol, wish->test ? "yes" : "no");
    if (strcmp(wish->signer, VIRTID_LIBEXECDIR "/virtid-signer"))
        buf_printf(&text, "signer_program = %s\n", wish->signer);
    buf_printf(&text,
               "[listen]\npublic = %s:%s\nhosts = %s:%s\nguests = %s:%s\n"
               "admin = %s/admin.sock\nhosts_advertised = %s\nguests_advertised = %s\n",
               wish->listen, wish->port, wish->listen, strrchr(wish->hosts, ':') + 1,
               wish->listen, strrchr(wish->guests, ':') + 1, wish->run_dir, wish->hosts,
               wish->guests);
    if (!buf_ok(&text))
        return error_set(err, ERROR_INPUT, "the settings are too long");
    snprintf(path, sizeof path, "%s/tokend.conf", wish->config_dir);
    return file_replace(path, text.data, text.len, 0644, err);
}

static int
publish_ca(const struct wish *wish, struct error *err)
{
    CLEANUP(buf_clear) struct buf pem = BUF(16384);
    char path[TEXT_MAX];

    snprintf(path, sizeof path, "%s/ca.pem", wish->key_dir);
    if (file_read(path, &pem, err) < 0)
        return -1;
    snprintf(path, sizeof path, "%s/ca.pem", wish->config_dir);
    return file_replace(path, pem.data, pem.len, 0644, err);
}

static int
make_domain(const struct wish *wish, struct buf *ret_says, struct error *err)
{
    if (service_folder(wish->config_dir, 0755, NULL, err) < 0 ||
        service_folder(wish->key_dir, 0700, SIGNER_USER, err) < 0 ||
        service_folder(wish->state_dir, 0700, SERVICE_USER, err) < 0 ||
        make_keys(wish, ret_says, err) < 0 || publish_ca(wish, err) < 0 ||
        write_configuration(wish, err) < 0)
        return error_wrap(err, "trust domain %s", wish->trust_domain);
    return 0;
}

static int
read_options(struct wish *wish, int argc, char **argv)
{
    static const struct option options[] = {
        { "trust-domain", required_argument, NULL, 't' },
        { "issuer", required_argument, NULL, 'i' },
        { "hosts", required_argument, NULL, 'H' },
        { "guests", required_argument, NULL, 'G' },
        { "names", required_argument, NULL, 'n' },
        { "listen", required_argument, NULL, 'l' },
        { "config-dir", required_argument, NULL, 'c' },
        { "state-dir", required_argument, NULL, 's' },
        { "key-dir", required_argument, NULL, 'k' },
        { "run-dir", required_argument, NULL, 'r' },
        { "signer", required_argument, NULL, 'S' },
        { "enrol", required_argument, NULL, 'e' },
        { "test", no_argument, NULL, 'T' },
        { 0 },
    };
    int option;

    while ((option = getopt_long(argc, argv, "", options, NULL)) != -1) {
        const char **text = option == 't'   ? &wish->trust_domain
                            : option == 'i' ? &wish->issuer
                            : option == 'n' ? &wish->names
                            : option == 'l' ? &wish->listen
                            : option == 'c' ? &wish->config_dir
                            : option == 's' ? &wish->state_dir
                            : option == 'k' ? &wish->key_dir
                            : option == 'r' ? &wish->run_dir
                            : option == 'S' ? &wish->signer
                            : option == 'e' ? &wish->enrol
                                            : NULL;

        if (option == '?')
            return -1;
        if (option == 'T')
            wish->test = true;
        else if (text)
            *text = optarg;
        else if (!strchr(optarg, ':') || strlen(optarg) >= TEXT_MAX)
            return -1;
        else
            strcpy(option == 'H' ? wish->hosts : wish->guests, optarg);
    }
    return optind == argc ? 0 : -1;
}

static void
print_result(const struct cli *cli, const struct wish *wish, const char *says)
{
    char fingerprint[TEXT_MAX];

    said(says, "ca_sha256", fingerprint, sizeof fingerprint);
    if (cli->json) {
        printf("{\"trust_domain\":\"%s\",\"issuer\":\"%s\",\"ca_file\":\"%s/ca.pem\","
               "\"ca_sha256\":\"%s\"}\n",
               wish->trust_domain, wish->issuer, wish->config_dir, fingerprint);
        return;
    }
    printf("Trust domain    %s%s\nIssuer          %s\nCA certificate  %s/ca.pem\n"
           "CA fingerprint  SHA256:%s\nConfiguration   %s/tokend.conf\n\n"
           "Next:  systemctl enable --now virtid-tokend   (or run virtid-tokend)\n"
           "then:  virtid host add NAME                   for each libvirt host\n",
           wish->trust_domain, wish->test ? "  (test: simulated TPMs are accepted)" : "",
           wish->issuer, wish->config_dir, fingerprint, wish->config_dir);
}

int
cmd_init(const struct cli *cli, int argc, char **argv)
{
    struct wish wish = { .names = "",
                         .listen = "0.0.0.0",
                         .enrol = "open",
                         .config_dir = VIRTID_SYSCONFDIR,
                         .state_dir = SERVICE_STATE_DIR,
                         .key_dir = SERVICE_KEY_DIR,
                         .run_dir = "/run/virtid-token",
                         .signer = VIRTID_LIBEXECDIR "/virtid-signer" };
    CLEANUP(buf_clear) struct buf says = BUF(SIGNER_SAYS_MAX);
    struct error err = { 0 };

    if (read_options(&wish, argc, argv) < 0)
        return cli_usage("wrong option of init");
    if (complete_wish(&wish, &err) < 0) {
        cli_fail(&err);
        return EXIT_USAGE;
    }
    if (make_domain(&wish, &says, &err) < 0)
        return cli_fail(&err);
    print_result(cli, &wish, buf_text(&says) ? (const char *)says.data : "");
    return EXIT_DONE;
}
