#include "config.h"

#include "plugin/modes.h"

#include <errno.h>
#include <limits.h>
#include <stdio.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include "lib/common/fdio.h"
#include "lib/common/log.h"
#include "plugin/lease.h"
#include "plugin/provision.h"
#include "plugin/vms.h"

void
modes_mark(const struct vm *vm)
{
    bool wanted = vm->record.managed && vm_is_strict(vm), there;
    char path[PATH_MAX], uuid[VM_UUID_TEXT];
    struct error err = { 0 };
    struct stat st;

    vm_uuid_print(&vm->record.uuid, uuid);
    snprintf(path, sizeof path, "%s/%s", vm->hostd->settings.strict_dir, uuid);
    there = lstat(path, &st) == 0;
    if (wanted == there)
        return;
    if (wanted ? file_replace(path, "", 0, 0644, &err) < 0
               : unlink(path) < 0 && error_sys(&err, errno, "%s", path) < 0)
        log_error(&err, "while this daemon is silent, vm %s %s; going on", vm->record.name,
                  wanted ? "starts although it is strict" : "does not start although it is not strict");
}

static void
follow(struct vm *vm, enum lease_mode before)
{
    modes_mark(vm);
    if (vm_mode(vm) == before)
        return;
    log_notice("event=mode vm=%s mode=%s before=%s", vm->record.name, lease_mode_name(vm_mode(vm)),
               lease_mode_name(before));
    vm->foreseen = false;
    vm->not_before_ms = 0;
    if (vm_mode(vm) == MODE_OBSERVE && vm->provision)
        provision_hurry(vm); /* what has not touched the disk yet ends */
    lease_report_soon(vm);
}

void
modes_take(struct vm *vm, enum lease_mode mode)
{
    enum lease_mode before = vm_mode(vm);

    if (vm->record.mode != mode) {
        vm->record.mode = mode;
        vm_save(vm);
    }
    follow(vm, before);
}

void
modes_of_host(struct hostd *hostd, enum lease_mode mode)
{
    enum lease_mode before = hostd->settings.mode;

    hostd->settings.mode = mode;
    for (struct vm *vm = hostd->vms; vm; vm = vm->next) {
        if (vm->record.managed && vm->record.mode == MODE_OF_HOST)
            follow(vm, before);
    }
}
