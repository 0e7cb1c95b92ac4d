#!/bin/bash
# A domain that nobody enabled keeps its XML and its image, and is never refused.
set -u
# shellcheck source=tests/lib/system.sh
. "$(dirname "$0")/../lib/system.sh"

xml_of() {
    virsh dumpxml --inactive --security-info "$1"
}

unchanged() {
    [ "$(xml_of plain)" = "$before" ]
}

image_unchanged() {
    [ "$(sha256sum <"$box/var-lib/libvirt/images/plain.raw")" = "$image" ]
}

no_account() {
    ! inside virtid list | grep -q "$(uuid_of plain)"
}

stack_up
define plain >/dev/null
before=$(xml_of plain)
image=$(sha256sum <"$box/var-lib/libvirt/images/plain.raw")
# Whatever the daemon would do with it, it would do in a sweep.
inside virtid why plain >/dev/null
ok the_xml_of_an_unmanaged_domain_is_unchanged unchanged
ok the_image_of_an_unmanaged_domain_is_unchanged image_unchanged
ok an_unmanaged_domain_starts virsh start plain
ok the_xml_of_an_unmanaged_domain_is_unchanged_after_its_start unchanged
ok an_unmanaged_domain_has_no_account no_account
virsh destroy plain >/dev/null
stop virtid-hostd
stop virtid-tokend
ok an_unmanaged_domain_starts_without_our_daemons virsh start plain
virsh destroy plain >/dev/null
rm -f "$box/etc/libvirt/hooks/qemu.d/virtid"
define marked marker channel >/dev/null
ok a_managed_domain_starts_after_our_package_is_removed virsh start marked
done_testing
