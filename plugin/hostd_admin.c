#include "config.h"

#include "plugin/hostd_admin.h"

#include <errno.h>
#include <event2/util.h>
#include <grp.h>
#include <limits.h>
#include <stdio.h>
#include <string.h>
#include <sys/socket.h>
#include <unistd.h>

#include "lib/common/fdio.h"
#include "lib/common/log.h"
#include "lib/wire/problem.h"
#include "plugin/modes.h"
#include "plugin/no_channel.h"
#include "plugin/observed.h"
#include "plugin/observing.h"
#include "plugin/provision.h"
#include "plugin/vm_walk.h"
#include "plugin/vms.h"

enum { VMS_PAGE = 180, OBSERVED_PAGE = 8 };

/* The HTTP worker asks, the main loop answers. */
struct question {
    struct hostd *hostd;
    const struct http_request *request;
    struct http_reply *reply;
};

static void
answer_json(struct http_reply *reply, json_t *take_value)
{
    struct error err;

    reply->status = take_value && json_print(take_value, &reply->body, &err) == 0 ? 200 : 500;
    json_decref(take_value);
}

static void
refuse(struct http_reply *reply, enum error_code code, const char *problem, const char *text)
{
    struct error err;
    const struct problem *entry = problem_find(problem);

    error_problem(&err, code, problem, "%s", text);
    reply->status = entry ? entry->status : 400;
    reply->content_type = "application/problem+json";
    (void)problem_body(&err, text, &reply->body);
}

/* ?after=UUID */
static const struct vm_uuid *
read_after(const struct question *q, struct vm_uuid *into)
{
    char text[VM_UUID_TEXT] = "";
    struct error err;
    bool given = http_query(q->request->message, "after", text, sizeof text - 1, &err) == 0 &&
                 vm_uuid_parse(text, into, &err) == 0;

    return given ? into : NULL;
}

static json_t *
show_observed(const struct vm *vm)
{
    char uuid[VM_UUID_TEXT];

    vm_uuid_print(&vm->record.uuid, uuid);
    return json_pack("{s:s,s:s,s:s,s:o}", "uuid", uuid, "name", vm->record.name, "mode", lease_mode_name(vm_mode(vm)),
                     "observed", vm->observed ? observed_show(vm->observed) : json_array());
}

/* A list longer than one answer says so; 64 KiB hold some 200 VMs, or what would have been with 8, so pages go by UUID. */
static void
answer_list(struct question *q, json_t *(*show)(const struct vm *vm), unsigned page)
{
    char last[VM_UUID_TEXT] = "";
    json_t *o = json_object(), *vms = json_array();
    struct vm_uuid after;
    const struct vm_uuid *from = read_after(q, &after);
    unsigned n = 0;

    /* Smallest UUID above the last one, again and again: no second table to keep sorted. */
    for (; n < page; n++) {
        const struct vm *next = NULL;

        for (const struct vm *vm = q->hostd->vms; vm; vm = vm->next) {
            const uint8_t *uuid = vm->record.uuid.bytes;

            if (vm->record.managed && (!from || memcmp(uuid, from->bytes, 16) > 0) &&
                (!next || memcmp(uuid, next->record.uuid.bytes, 16) < 0))
                next = vm;
        }
        if (!next)
            break;
        json_array_append_new(vms, show(next));
        from = &next->record.uuid;
    }
    json_object_set_new(o, "vms", vms);
    if (n == page) {
        vm_uuid_print(from, last);
        json_object_set_new(o, "next", json_string(last));
    }
    answer_json(q->reply, o);
}

static void
set_vm(struct question *q, const struct vm_uuid *uuid)
{
    CLEANUP(json_decref) json_t *body = NULL;
    bool install_agent = false;
    struct error err;
    struct vm *vm;

    if (json_parse((const char *)q->request->body, q->request->body_len, &body, &err) < 0 ||
        json_only(body, "install_agent", &err) < 0 ||
        json_get_bool(body, "install_agent", false, &install_agent, &err) < 0) {
        refuse(q->reply, ERROR_INPUT, "bad-request", err.text);
        return;
    }
    if (vms_add(q->hostd, uuid, &vm, &err) < 0) {
        refuse(q->reply, ERROR_BUSY, "unavailable", err.text);
        return;
    }
    /* The disk was written without it: once more, as soon as that is safe. */
    vm->record.agent_due = install_agent && (vm->record.agent_due || !vm->record.install_agent) &&
                           vm->record.steps[STEP_INJECT].state == STEP_DONE;
    vm->record.install_agent = install_agent;
    vm_save(vm);
    provision_consider(vm);
    answer_json(q->reply, vm_walk_summary(vm));
}

static void
disable_vm(struct question *q, struct vm *vm)
{
    vm->record.managed = false;
    vm->record.install_agent = vm->record.agent_due = false;
    vm_save(vm);
    modes_mark(vm);
    observing_forget(vm);
    if (vm->provision)
        provision_hurry(vm); /* what has not touched the disk yet ends */
    host_channel_free(vm->channel);
    vm->channel = NULL;
    log_notice("event=disabled vm=%s", vm->record.name);
    answer_json(q->reply, vm_walk_summary(vm));
}

static void
answer_vm(struct question *q, const char *rest, bool post)
{
    char text[VM_UUID_TEXT] = "";
    bool disable = strlen(rest) > VM_UUID_TEXT - 1 && strcmp(rest + VM_UUID_TEXT - 1, "/disable") == 0;
    struct vm_uuid uuid;
    struct error err;
    struct vm *vm;

    if (strlen(rest) == VM_UUID_TEXT - 1 || disable)
        memcpy(text, rest, VM_UUID_TEXT - 1);
    if (vm_uuid_parse(text, &uuid, &err) < 0) {
        refuse(q->reply, ERROR_MISSING, "not-found", "no such page");
        return;
    }
    vm = vms_find(q->hostd, &uuid);
    if (post && !disable) {
        set_vm(q, &uuid);
        return;
    }
    if (!vm || !vm->record.managed)
        refuse(q->reply, ERROR_MISSING, "not-found", "this host manages no VM with this UUID");
    else if (post)
        disable_vm(q, vm);
    else if (disable)
        refuse(q->reply, ERROR_INPUT, "method-not-allowed", "POST");
    else
        answer_json(q->reply, vm_walk(vm));
}

static void
answer(void *context)
{
    static const char vm_prefix[] = "/v1/vms/";
    struct question *q = context;
    const char *path = q->request->message->path;
    bool post = strcmp(q->request->message->method, "POST") == 0;
    bool get = strcmp(q->request->message->method, "GET") == 0;
    struct vm_uuid after;

    if (!post && !get) {
        refuse(q->reply, ERROR_INPUT, "method-not-allowed", "GET or POST");
    } else if (strncmp(path, vm_prefix, sizeof vm_prefix - 1) == 0) {
        answer_vm(q, path + sizeof vm_prefix - 1, post);
    } else if (get && strcmp(path, "/v1/status") == 0) {
        answer_json(q->reply, vm_walk_status(q->hostd));
    } else if (get && strcmp(path, "/v1/vms") == 0) {
        answer_list(q, vm_walk_summary, VMS_PAGE);
    } else if (get && strcmp(path, "/v1/no-channel") == 0) {
        answer_json(q->reply, no_channel_page(q->hostd, read_after(q, &after), VMS_PAGE));
    } else if (get && strcmp(path, "/v1/observed") == 0) {
        answer_list(q, show_observed, OBSERVED_PAGE);
    } else if (post && strcmp(path, "/v1/sweep") == 0) {
        libvirt_watch_sweep(q->hostd->watch);
        answer_json(q->reply, json_object());
    } else {
        refuse(q->reply, ERROR_MISSING, "not-found", "no such page");
    }
}

static void
handle(void *context, const struct http_request *request, struct http_reply *reply)
{
    struct question q = { context, request, reply };

    mailbox_call(q.hostd->mailbox, answer, &q);
}

static int
give_to_group(const char *path, const char *name, struct error *err)
{
    struct group *group = getgrnam(name);

    if (!group)
        return error_set(err, ERROR_MISSING, "admin_group: there is no group \"%s\"", name);
    if (chown(path, (uid_t)-1, group->gr_gid) < 0)
        return error_sys(err, errno, "%s for group %s", path, name);
    return 0;
}

int
hostd_admin_open(struct hostd *hostd, struct error *err)
{
    const char *group = hostd->settings.admin_group;
    struct http_listener listener = { .body_max = HTTP_BODY_MAX, .connections_max = 64, .handler = handle, .context = hostd };
    char path[PATH_MAX];

    snprintf(path, sizeof path, "%s/hostd.sock", hostd->settings.run_dir);
    if (unix_listen(path, SOCK_STREAM, group[0] ? 0660 : 0600, &listener.fd, err) < 0 ||
        (group[0] && give_to_group(path, group, err) < 0))
        return error_wrap(err, "operator's socket");
    evutil_make_socket_nonblocking(listener.fd);
    if (http_server_new(hostd->base, &hostd->http, err) < 0)
        return -1;
    return http_server_listen(hostd->http, &listener, err);
}
