#include "config.h"

#include "tokenservice/tokend_conf.h"

#include <grp.h>
#include <string.h>

#include "lib/common/conf.h"
#include "lib/common/reload.h"
#include "lib/http/http_server.h"
#include "lib/wire/names.h"
#include "tokenservice/api/reserve.h"

static const struct conf_key KEYS[] = {
    { "service.trust_domain", CONF_TEXT, NULL },
    { "service.issuer", CONF_TEXT, NULL },
    { "service.names", CONF_LIST, "localhost" },
    { "service.state_dir", CONF_TEXT, "/var/lib/virtid-token" },
    { "service.key_dir", CONF_TEXT, "/var/lib/virtid-signer" },
    { "service.enrol", CONF_TEXT, "open" },
    { "service.test", CONF_BOOL, "no" },
    { "service.rotate_days", CONF_INT, "30" },
    { "service.audit_reserve", CONF_INT, "64" },
    { "service.signer_program", CONF_TEXT, VIRTID_LIBEXECDIR "/virtid-signer" },
    { "listen.public", CONF_TEXT, "0.0.0.0:8443" },
    { "listen.hosts", CONF_TEXT, "0.0.0.0:8444" },
    { "listen.guests", CONF_TEXT, "0.0.0.0:8445" },
    { "listen.admin", CONF_TEXT, "/run/virtid-token/admin.sock" },
    { "listen.metrics", CONF_TEXT, "" },
    { "listen.admin_group", CONF_TEXT, "" },
    { "listen.hosts_advertised", CONF_TEXT, "" },
    { "listen.guests_advertised", CONF_TEXT, "" },
    { "users.service", CONF_TEXT, "virtid-token" },
    { "users.signer", CONF_TEXT, "virtid-signer" },
    { NULL, CONF_TEXT, NULL },
};

/* What can be taken while it runs; of the names only the first counts here, the certificate's are the signer's. */
static const char *const LIVE[] = { "service.enrol", "service.names", "listen.hosts_advertised",
                                    "listen.guests_advertised", NULL };

static int
check_listen(const struct tokend_conf *c, struct error *err)
{
    const char *const addresses[][2] = {
        { "public", c->public_ }, { "hosts", c->hosts }, { "guests", c->guests },
    };

    for (size_t i = 0; i < sizeof addresses / sizeof addresses[0]; i++) {
        if (http_address_check(addresses[i][1], err) < 0)
            return error_wrap(err, "[listen] %s", addresses[i][0]);
    }
    if (c->metrics[0] && http_metrics_check(c->metrics, err) < 0)
        return error_wrap(err, "[listen]");
    if (c->admin_group[0] && !getgrnam(c->admin_group))
        return error_set(err, ERROR_MISSING, "[listen] admin_group: there is no group \"%s\"", c->admin_group);
    return 0;
}

static int
check(struct tokend_conf *c, struct error *err)
{
    const char *enrol = conf_text(c->file, "service.enrol");
    const char *advertised = conf_text(c->file, "listen.hosts_advertised");

    if (!name_is_trust_domain(c->trust_domain))
        return error_set(err, ERROR_INPUT, "[service] trust_domain: \"%s\" is none",
                         c->trust_domain);
    if (!name_is_issuer(c->issuer))
        return error_set(err, ERROR_INPUT,
                         "[service] issuer: \"%s\" is not https://HOST[:PORT]",
                         c->issuer);
    if (!c->first_name)
        return error_set(err, ERROR_INPUT, "[service] names: there is none, and hosts connect to the first");
    if (strcmp(enrol, "open") != 0 && strcmp(enrol, "placed") != 0)
        return error_set(err, ERROR_INPUT,
                         "[service] enrol: open or placed, not \"%s\"", enrol);
    if (strlen(advertised) >= sizeof c->hosts_advertised || strpbrk(advertised, ", \t"))
        return error_set(err, ERROR_INPUT, "[listen] hosts_advertised: not HOST:PORT");
    if (conf_int(c->file, "service.rotate_days") < 1 || conf_int(c->file, "service.rotate_days") > 365)
        return error_set(err, ERROR_INPUT, "[service] rotate_days: 1 to 365");
    if (conf_int(c->file, "service.audit_reserve") < 1 || conf_int(c->file, "service.audit_reserve") > RESERVE_MIB_MAX)
        return error_set(err, ERROR_INPUT, "[service] audit_reserve: 1 to %d MiB", RESERVE_MIB_MAX);
    c->audit_reserve = (int64_t)conf_int(c->file, "service.audit_reserve") << 20;
    c->rotate_days = (int)conf_int(c->file, "service.rotate_days");
    c->enrol_placed = strcmp(enrol, "placed") == 0;
    strcpy(c->hosts_advertised, advertised);
    return check_listen(c, err);
}

static void
read_texts(struct tokend_conf *c)
{
    c->trust_domain = conf_text(c->file, "service.trust_domain");
    c->issuer = conf_text(c->file, "service.issuer");
    c->first_name = conf_item(c->file, "service.names", 0);
    c->state_dir = conf_text(c->file, "service.state_dir");
    c->key_dir = conf_text(c->file, "service.key_dir");
    c->signer_program = conf_text(c->file, "service.signer_program");
    c->test = conf_bool(c->file, "service.test");
    c->public_ = conf_text(c->file, "listen.public");
    c->hosts = conf_text(c->file, "listen.hosts");
    c->guests = conf_text(c->file, "listen.guests");
    c->admin = conf_text(c->file, "listen.admin");
    c->metrics = conf_text(c->file, "listen.metrics");
    c->admin_group = conf_text(c->file, "listen.admin_group");
    c->guests_advertised = conf_text(c->file, "listen.guests_advertised");
    c->service_user = conf_text(c->file, "users.service");
    c->signer_user = conf_text(c->file, "users.signer");
}

int
tokend_conf_read(const char *path, struct tokend_conf *ret, struct error *err)
{
    CLEANUP(tokend_conf_clear) struct tokend_conf c = { .path = path };

    if (conf_read(path, KEYS, false, &c.file, err) < 0)
        return -1;
    read_texts(&c);
    if (check(&c, err) < 0)
        return error_wrap(err, "%s", path);
    *ret = c;
    c.file = NULL;
    return 0;
}

void
tokend_conf_take(struct tokend_conf *running, struct tokend_conf *fresh)
{
    struct error ignored;

    reload_take(running->path, running->file, fresh->file, LIVE);
    read_texts(running);
    (void)check(running, &ignored); /* each of its settings has passed in one file or the other */
    tokend_conf_clear(fresh);
}

void
tokend_conf_clear(struct tokend_conf *c)
{
    conf_free(c->file);
    c->file = NULL;
}
