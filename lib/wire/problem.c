#include "config.h"

#include "lib/wire/problem.h"

#include <errno.h>
#include <string.h>

#include "lib/common/error_map.h"
#include "lib/common/json.h"

static const char prefix[] = "urn:virtid:problem:";

static const struct problem table[] = {
    /* proofs, as the guest sees them */
    { "refused", 403, "The proof was refused", "run `virtid why DOMAIN` where the service runs: it names the check" },
    { "stale", 409, "The nonce is too old or was used before", "nothing: the agent repeats with a fresh nonce; if it persists, compare the clocks of service and hosts" },
    { "activation-failed", 403, "The credential was not activated by this TPM", "the vTPM is not the one that is registered: `virtid why DOMAIN`" },
    { "quote-invalid", 403, "The TPM's quote does not fit the proof", "update virtid-agent in the guest; if it persists, `virtid why DOMAIN`" },
    { "certify-invalid", 403, "The TPM's statement about its NV index does not fit the proof", "update virtid-agent in the guest; if it persists, `virtid why DOMAIN`" },
    { "secret-signature", 403, "The signature by the VM's own key does not fit", "the disk may be another VM's: `virtid why DOMAIN`" },
    { "host-signature", 403, "The host's signature does not fit", "see that virtid-hostd on the VM's host is joined and runs: `virtid host list`" },
    { "disk-behind", 409, "The VM's disk shows an older secret than the last one accepted", "if that disk is the right one (a snapshot reverted, a backup restored): `virtid accept DOMAIN`; else start it with the newer disk" },
    { "tpm-behind", 409, "The VM's TPM shows an older state than the last one accepted", "if that state is the right one (a snapshot reverted, a backup restored): `virtid accept DOMAIN`; else start it with the newer vTPM state" },
    { "tpm-endorsement-auth", 409, "The TPM's endorsement hierarchy has a password", "in the guest: name the password to virtid-agent (endorsement_password_file), empty it (tpm2_changeauth -c endorsement -p OLD) or clear the TPM (tpm2_clear)" },
    { "tpm-gone", 503, "The guest's TPM does not answer", "see in the guest that /dev/tpmrm0 is there and free; virtid-agent goes on by itself when it answers" },
    { "ratchet-unsupported", 409, "The service asks for a step that the agent does not know", "update virtid-agent in the guest" },
    { "no-sync", 503, "The VM's host is too old for the step that the service asks for", "update virtid-hostd and virtid-privd on the VM's host; the VM goes on by itself" },
    { "sync-failed", 503, "The VM's host could not make the vTPM's state durable", "see virtid-privd's log on the VM's host; the VM goes on by itself" },
    { "floor", 403, "A factor that this VM must show is missing", "`virtid why DOMAIN` names it; vTPM and secret must be in the guest as when it was enrolled" },
    { "locked", 403, "The VM is locked", "`virtid why DOMAIN` says since when and by whom; `virtid unlock DOMAIN` ends it" },
    { "bound-key", 403, "The audience takes bound tokens, and the proof names no key", "update virtid-agent in the guest" },
    { "audience-not-allowed", 403, "This VM has no right to tokens for this audience", "`virtid audience add NAME --all`, or `virtid set DOMAIN --audience NAME`" },

    /* leases and placement */
    { "foreign", 409, "The VM's lease is held by another host", "stop it there, wait until that lease ends, or `virtid place DOMAIN HOST`" },
    { "stale-epoch", 409, "The epoch named is not that of the lease", "nothing: the host daemon reports again and learns the epoch" },
    { "moving", 409, "The VM is being moved", "wait until the migration has ended" },
    { "grace", 503, "The service has just started and waits for the hosts", "wait one lease time (60 s)" },
    { "recovery", 503, "The service works with a restored database: nobody is enrolled and nothing is placed", "`virtid recovery show`, then `virtid recovery finish`" },
    { "key-young", 409, "The next key was not published long enough", "wait as long as it says; `virtid key revoke KID` does not wait" },
    { "ca-young", 409, "Hosts that were seen lately do not have the next CA yet", "start virtid-hostd there and try again, or `virtid host remove NAME`; `virtid key rotate --ca --force` does not wait: such hosts join anew" },
    { "clock", 503, "The service's clock is behind its newest record", "set its clock; if it is right and was ahead before, start virtid-tokend once with --accept-clock" },
    { "claimed", 409, "Another host claimed this VM first", "`virtid why DOMAIN` names it; `virtid place DOMAIN HOST` settles it" },
    { "not-placed", 403, "The VM is not for this host", "`virtid place DOMAIN HOST`; to move it while it runs, `virtid pool set` takes the host into its pool" },
    { "fenced", 409, "Another host has the VM since this one was fenced", "`virsh destroy DOMAIN` on the host that was fenced; if that one is meant: `virtid place DOMAIN HOST --force`" },
    { "retired", 403, "This VM's identity was retired", "`virtid place DOMAIN HOST --reincarnate` begins a new one; or define the VM with a new UUID" },
    { "not-running", 409, "No host holds the VM's lease", "start it; what its proof shows then is what is accepted" },
    { "not-behind", 409, "No proof of this VM was refused as behind since its newest start or move", "`virtid why DOMAIN` says where it stands" },
    { "host-silent", 503, "The host does not answer, and may have to tell of earlier runs", "start virtid-hostd there; `virtid place --force` does not wait for it" },

    /* hosts */
    { "pending-approval", 403, "The host is not approved yet", "compare the fingerprint and run `virtid host approve NAME`" },
    { "join-expired", 403, "The join code is older than 15 minutes", "`virtid host add NAME` prints a new one" },
    { "join-used", 409, "The join code was used by another pair of keys", "if that was not you, `virtid host remove NAME`; then `virtid host add NAME`" },
    { "certificate-unknown", 403, "The certificate is newer than the service's restored database", "nothing: virtid-hostd shows its certificates by itself" },
    { "wrong-host", 403, "The certificate is another host's", "see [host] name in hostd.conf and `virtid host list`" },
    { "not-a-test-domain", 403, "Simulated TPMs are accepted by a test trust domain only", "make one: `virtid init --test`" },
    { "no-client-certificate", 401, "This request needs a client certificate", "`virtid-hostd join` gets one" },
    { "not-admin", 403, "Only an administrator may ask for this", "run it as root where the service runs" },

    /* accounts */
    { "ek-changed", 409, "The VM is registered with another TPM", "start it with its own vTPM state; if that is lost: `virtid place DOMAIN HOST --new-vtpm`" },
    { "secret-changed", 409, "The VM is registered with another secret", "start it with its own disk; another secret is not taken in this release: else define the VM with a new UUID" },
    { "ek-missing", 409, "The VM has no TPM registered, and the proof brought none", "run `virtid-agent` as root in the guest, so that it can read the TPM" },
    { "ek-template", 403, "The TPM's endorsement key is of no kind that is taken", "use an emulated TPM 2.0 made by libvirt or virtid" },
    { "ek-cert", 403, "The endorsement key's certificate does not fit", "the vTPM's certificate is another CA's or another key's: `virtid why DOMAIN`" },
    { "ak-template", 403, "The attestation key is not made from our template", "update virtid-agent in the guest" },
    { "ak-changed", 409, "The attestation key is not the one that was activated", "the vTPM's endorsement seed was changed (tpm2_changeeps): put its state back, or define the VM with a new UUID" },
    { "row-forged", 403, "The VM's row in the database is not what the service wrote", "restore the database from a backup, and find out who wrote in it" },
    { "ek-known", 409, "This TPM is registered for another VM", "a copied vTPM state: while the VM is off remove /var/lib/libvirt/swtpm/UUID, it gets one of its own at the next start" },
    { "secret-known", 409, "This secret is registered for another VM", "a copied disk: remove /etc/virtid/slots in the copy, it gets a secret of its own" },

    /* provisioning: why something was skipped */
    { "image-encrypted", 409, "The disk image is encrypted", "nothing: the secret is made in the guest at first contact" },
    { "image-empty", 409, "The disk image holds no partition and no filesystem", "nothing: the secret is made in the guest at first contact" },
    { "image-layout", 409, "The disk's layout is not one that is written to", "nothing: the secret is made in the guest at first contact" },
    { "image-in-use", 409, "The disk image is open elsewhere", "close what uses it (`fuser IMAGE`); the disk is looked at again within ten minutes while the VM is off and has not proved itself" },
    { "image-backing", 409, "Other images are built upon this one", "a template is not written: enable the VMs on its overlays" },
    { "image-dirty", 409, "The filesystem was not cleanly unmounted", "start the VM and shut it down from inside once" },
    { "image-unmarked", 409, "The filesystem does not tell whether it was cleanly unmounted", "nothing: such a disk is written before the VM's first start only; the secret is made in the guest at first contact" },
    { "image-damaged", 409, "The guest's filesystem cannot be read here", "check it in the guest; it may also be newer than this host's kernel" },
    { "image-path", 403, "The disk image is not where images may be", "add its folder to image_roots in privd.conf, or move it" },
    { "image-format", 409, "The image's format is not taken, or is not the one the XML names", "use raw or qcow2 and name it in the XML" },
    { "image-chain", 409, "The image's backing chain is not taken", "flatten it: `qemu-img convert`; backing files need a format and plain names" },
    { "image-read-only", 409, "The disk is read-only", "nothing: the secret is made in the guest at first contact" },
    { "image-verity", 409, "The guest's files are sealed by verity", "nothing: the secret is made in the guest at first contact" },
    { "image-full", 409, "There is too little room on the guest's filesystem", "make room in the guest, or give it a larger disk" },
    { "host-disk-full", 409, "The host's volume that holds the disk image is full", "make room where the image lies (`df IMAGE`); the secret is made in the guest at first contact" },
    { "host-disk-error", 409, "The host's disk failed under the disk image", "see the host's kernel log (`dmesg`) and the disk; check the guest's filesystem before its data is relied upon" },
    { "image-unsafe", 409, "The guest's files are not as they must be to write among them", "in the guest: /etc and /etc/virtid must be folders of root, no links" },
    { "no-os", 409, "There is no operating system on the disk", "nothing: the secret is made in the guest at first contact" },
    { "two-roots", 409, "There is more than one operating system on the disk", "nothing: the secret is made in the guest at first contact" },
    { "agent-init", 409, "Nothing in the guest would start the agent", "install and start virtid-agent in the guest yourself; --install-agent knows systemd, OpenRC and sysvinit" },
    { "agent-libc", 409, "The guest's C library does not run the agent", "build and install virtid-agent in the guest" },
    { "agent-arch", 409, "The guest is not of the agent's machine type", "build and install virtid-agent in the guest" },
    { "managed-save", 409, "The VM has a saved state", "start it from there, or `virsh managedsave-remove DOMAIN`" },
    { "hibernated", 409, "The guest is hibernated", "start it and shut it down from inside" },
    { "no-disk", 409, "The VM has no disk", NULL },
    { "network-disk", 409, "The VM's disk is not a file or block device of this host", "nothing: the secret is made in the guest at first contact" },
    { "ran-before", 409, "The VM ran before and its last end was not a clean one that was watched", "start the VM and shut it down from inside once" },
    { "no-tpm", 409, "The VM has no TPM", "`virtid enable DOMAIN` adds one" },
    { "tpm-encrypted", 409, "The TPM's state is encrypted by libvirt", "nothing: libvirt's own state is used; its EK is registered at first proof" },
    { "tpm-exists", 409, "The VM has a TPM state already", "nothing: its EK is registered at first proof" },
    { "enrolled", 409, "The VM has proved itself before", "nothing: the secret that it has goes on to count" },
    { "took-too-long", 409, "It did not fit into the time that a start may wait", "the disk is looked at again within ten minutes while the VM is off and has not proved itself; or raise start_wait in hostd.conf" },
    { "inject-off", 409, "Writing to disks is switched off", "inject=auto in hostd.conf" },
    { "inject-failed", 409, "Writing to the disk failed", "the host daemon's log says at what; the image is as before" },

    /* the guest's channel */
    { "channel-busy", 409, "Another program holds the VM's channel", "`virsh dumpxml DOMAIN` and `fuser` on the channel's socket show which" },
    { "channel-foreign", 403, "The channel belongs to another process than the VM's", "`virsh dumpxml DOMAIN` shows the path; was the VM restarted meanwhile?" },
    { "no-channel", 409, "The VM has no channel org.virtid.0", "`virtid enable DOMAIN` adds it; a running VM needs a restart" },
    { "no-agent", 409, "Nobody answers on the VM's channel", "install and start virtid-agent in the guest: `virtid enable --install-agent DOMAIN`" },
    { "bundle-refused", 403, "The trust bundle offered is not a successor of the one held", "if the trust domain is new, remove /etc/virtid/bundle in the guest" },

    { "bundle-missing", 409, "The guest has no trust bundle", "virtid-hostd brings one over the channel: `virtid why DOMAIN`" },
    { "issuer-changed", 409, "The host names another issuer than the guest's bundle", "if the trust domain is new, remove /etc/virtid/bundle in the guest and restart virtid-agent" },
    { "ca-changed", 403, "The token service's certificate is by another CA than the guest's bundle names", "if the trust domain is new, remove /etc/virtid/bundle in the guest and restart virtid-agent; else find out who answers at the service's address" },
    { "workload-unknown", 403, "No rule of this guest is for whoever asks", "in the guest: name its uid, gid or cgroup in /etc/virtid/workloads.conf, then `systemctl reload virtid-agent`" },
    { "workload-container", 403, "Whoever asks is in another mount or pid namespace, and no rule names its cgroup", "in the guest: name its cgroup in /etc/virtid/workloads.conf, then `systemctl reload virtid-agent`" },
    { "workload-audience", 403, "The rules of this guest give whoever asks no right to this", "in the guest: `virtid-agent audiences` says what they give; /etc/virtid/workloads.conf" },
    { "not-bound", 403, "The audience takes bearer tokens, which have no proof", "`virtid-agent token -a AUDIENCE`; or the operator declares it: `virtid audience add NAME --bound`" },
    { "uuid-changed", 409, "The host names another UUID than before", "restart virtid-agent in the guest, if the VM was given another UUID" },

    /* tokens, as a relying party sees them */
    { "token-malformed", 401, "This is no token of the expected form", "give the token as it is, in one line, unchanged" },
    { "token-algorithm", 401, "The token is not signed with ES256", "refuse it: it is forged or from another issuer" },
    { "token-key", 401, "The token is signed by a key that the issuer does not publish", "fetch the issuer's keys again; if it persists, refuse it" },
    { "token-signature", 401, "The token's signature does not fit", "refuse it: it was altered or is forged" },
    { "token-expired", 401, "The token has expired", "ask for a fresh one: virtid-agent token -a AUDIENCE; compare the clocks" },
    { "token-not-yet", 401, "The token is not valid yet", "compare the clocks of this machine and of the token service" },
    { "token-issuer", 401, "The token is from another issuer", "check --issuer; if it is right, refuse the token" },
    { "token-audience", 401, "The token was made for another audience", "ask for one of the right audience: virtid-agent token -a AUDIENCE" },
    { "token-claims", 401, "The token's claims are not those of a VM's identity", "refuse it; the issuer may need an update" },
    { "token-generation", 401, "The token is of an earlier generation of the VM", "refuse it: it is from before an older state was taken back; ask for a fresh one: virtid-agent token -a AUDIENCE" },
    { "token-proof", 401, "The token was not shown by its owner, here and now", "refuse it: it may be a relay or a copy; ask again over this connection with a new nonce" },
    { "token-bound", 401, "This is a bound token, which counts only with a proof", "ask for a proof: virtid-agent prove -a AUDIENCE in the VM, virtid-verify --proof here" },
    { "connect-proof", 403, "The other end did not prove that it holds the token's key", "refuse it: it may be a relay; connect to the VM directly" },
    { "connect-expect", 403, "The other end is another VM than expected", "check the address and --expect" },
    { "connect-refused", 403, "The other end has no token to show", "see `virtid-agent status` in the VM" },

    /* connections */
    { "server-not-yet", 403, "The server's certificate is not valid yet: the clock here is behind, or the server's ahead", "compare the clocks (`virtid host check`) and set the wrong one; it goes on by itself" },
    { "server-expired", 403, "The server's certificate has ended, or the clock here is ahead", "compare the clocks and set the wrong one; if both are right, see the server's log for why it did not renew its certificate" },
    { "server-untrusted", 403, "The server's certificate is by a CA that is not trusted here", "see that the address is right; if the token service was set up anew, or its CA turned while this host was off: `virtid host remove NAME`, `virtid host add NAME` there, then `virtid-hostd join` here" },
    { "client-expired", 403, "The server says that our certificate has ended", "compare the clocks; if they are right: `virtid host add NAME` at the service, then `virtid-hostd join` here" },
    { "client-not-yet", 403, "The server says that our certificate is not valid yet, or damaged", "compare the clocks; if they are right: `virtid host add NAME` at the service, then `virtid-hostd join` here" },
    { "client-untrusted", 403, "The server does not know the CA of our certificate", "if the token service was set up anew: `virtid host add NAME` there, then `virtid-hostd join` here" },

    /* requests as such */
    { "pending-limit", 429, "This host has too many VMs that never proved themselves", "see that virtid-agent runs in them, or undefine them and define others" },
    { "rate-limited", 429, "Too many requests", "wait; Retry-After says how long" },
    { "not-found", 404, "There is no such thing", NULL },
    { "method-not-allowed", 405, "This method is not taken here", NULL },
    { "bad-request", 400, "The request is not understood", NULL },
    { "conflict", 409, "It is there already, or is not in the right state", NULL },
    { "too-large", 413, "The request is too large", NULL },
    { "unavailable", 503, "The service cannot answer now", "try again; `/readyz` says when it is ready" },
    { "misdirected", 421, "The request names another server", "use a name of the service: `virtid init --names`" },
    { "disk-full", 503, "The service's disk is full", "make room where its state_dir is" },
    { "internal", 500, "The service failed", "its log says at what" },
    { NULL, 0, NULL, NULL },
};
_Static_assert(sizeof table / sizeof table[0] <= PROBLEMS_MAX, "PROBLEMS_MAX is too small");

const struct problem *
problem_table(void)
{
    return table;
}

const struct problem *
problem_find(const char *name)
{
    for (const struct problem *p = table; p->name; p++) {
        if (strcmp(p->name, name) == 0)
            return p;
    }
    return NULL;
}

const struct problem *
problem_of(const struct error *err)
{
    static const char *const by_code[] = {
        [ERROR_NONE] = "internal",     [ERROR_INPUT] = "bad-request",
        [ERROR_DENIED] = "refused",    [ERROR_MISSING] = "not-found",
        [ERROR_BUSY] = "unavailable",  [ERROR_SYSTEM] = "internal",
    };
    const struct problem *p = err->problem[0] ? problem_find(err->problem) : NULL;

    return p ? p : problem_find(by_code[err->code]);
}

int
problem_body(const struct error *err, const char *detail, struct buf *into)
{
    const struct problem *p = problem_of(err);
    CLEANUP(json_decref) json_t *body = NULL;
    struct error ignored;

    body = json_pack("{s:o,s:s,s:i}", "type", json_sprintf("%s%s", prefix, p->name), "title",
                     p->title, "status", p->status);
    if (!body)
        return -1;
    /* A detail that is no UTF-8 is left out: a refusal must always have an answer. */
    if (detail)
        (void)json_object_set_new(body, "detail", json_string(detail));
    return json_print(body, into, &ignored);
}

/* The code that `status` has; the name, and a title from our own table, never the peer's words. */
int
problem_read(int status, const char *body, size_t len, struct error *err)
{
    CLEANUP(json_decref) json_t *object = NULL;
    const struct problem *p = NULL;
    const char *type = "", *detail = NULL;
    struct error ignored;

    if (json_parse(body, len, &object, &ignored) == 0) {
        (void)json_get_string(object, "type", true, 80, &type, &ignored);
        (void)json_get_string(object, "detail", true, 300, &detail, &ignored);
    }
    if (strncmp(type, prefix, sizeof prefix - 1) == 0)
        p = problem_find(type + sizeof prefix - 1);
    if (!p)
        return error_set(err, error_from_http(status), "the service answered %d", status);
    if (detail)
        return error_problem(err, error_from_http(status), p->name, "%s: %s", p->title, detail);
    return error_problem(err, error_from_http(status), p->name, "%s", p->title);
}
