#!/bin/bash
# devices.sh - the secret onto a logical volume of this host, and not onto an NBD that its server has open
#
#   sudo make check-long-devices
# Needs a kernel with device-mapper and NBD, which containers and small VMs do not have: no part of ./check. What is
# missing is named; with CI=true that is a failure.
set -u
# shellcheck source=tests/lib/privd.sh
. "$(dirname "$0")/../lib/privd.sh"
# shellcheck source=tests/system/rig/guest.sh
. "$(dirname "$0")/../system/rig/guest.sh"
# shellcheck source=tests/lib/images.sh
. "$(dirname "$0")/../lib/images.sh"
# shellcheck source=tests/lib/images_try.sh
. "$(dirname "$0")/../lib/images_try.sh"

on_device() { # on_device TEST NAME: as the list says
    if [ -z "${device_of[$2]:-}" ]; then
        n=$((n + 1))
        echo "ok $n - $1 # SKIP ${missing_of[$2]:-no loop devices here}"
        [ "${CI:-}" != true ] || failures=$((failures + 1))
    else
        ok "$1" tried "$2"
    fi
}

tried() {
    try_image "$1"
    echo "$answer ($seconds s), identical: $identical"
    as_expected && { [ "$expected" != injected ] || boots_with_secret; }
}

images_up
ok images_are_made images_make lv nbd
ok guest_is_made boot_files
ok privd_starts privd_up
on_device secret_comes_onto_a_logical_volume lv
on_device nbd_that_is_served_here_is_left_alone nbd
done_testing
