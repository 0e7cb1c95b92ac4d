# shellcheck shell=bash
# shellcheck disable=SC2034 # the lists are for those who source this file
# packages.sh - Debian packages that virtid needs; used by quickstart and check

PACKAGES_BUILD=(autoconf automake libtool pkg-config gcc make libc6-dev perl
    libssl-dev libevent-dev libcurl4-openssl-dev libjansson-dev libtss2-dev libsqlite3-dev
    libxml2-dev libvirt-dev libguestfs-dev libinih-dev libsmartcols-dev libseccomp-dev)

# For `make deb`.
PACKAGES_DEB=(dpkg-dev debhelper)

# libvirtd without Debian's configuration of it: nothing is started on this machine.
PACKAGES_RUN=(libvirt-daemon libvirt-daemon-driver-qemu libvirt-clients qemu-system-x86
    qemu-utils swtpm swtpm-tools libguestfs0 guestfish supermin busybox-static cpio gzip kmod e2fsprogs
    iproute2 util-linux procps dnsmasq-base mmdebstrap debian-archive-keyring
    python3 python3-jwt python3-cryptography ca-certificates)

# Of Apache the program and its modules; the package apache2 would start a server on this machine.
PACKAGES_TEST=(apache2-bin libapache2-mod-auth-openidc lintian libcmocka-dev shellcheck jose nodejs sqlite3 tpm2-tools openssl strace
    xfsprogs dosfstools cryptsetup-bin python3-yaml python3-jsonschema lvm2 fdisk virtinst systemd prometheus)

# packages_missing NAME...: those that are not installed, one per line.
packages_missing() {
    dpkg-query -W -f '${db:Status-Status} ${binary:Package}\n' "$@" 2>/dev/null |
        awk '$1 == "installed" { sub(/:.*/, "", $2); print $2 }' | sort >"${TMPDIR:-/tmp}/packages.$$"
    printf '%s\n' "$@" | sort | comm -23 - "${TMPDIR:-/tmp}/packages.$$"
    rm -f "${TMPDIR:-/tmp}/packages.$$"
}

# A kernel for libguestfs's appliance: any with its modules; else the small cloud kernel.
packages_kernel() {
    local image

    for image in /boot/vmlinuz-*; do
        [ -d "/lib/modules/${image#/boot/vmlinuz-}" ] && return 0
    done
    echo linux-image-cloud-amd64
}

# packages_install NAME...: installs what is missing, and says what.
packages_install() (
    local missing policy=/usr/sbin/policy-rc.d

    mapfile -t missing < <(packages_missing "$@" && packages_kernel)
    [ ${#missing[@]} -gt 0 ] || return 0
    echo "installing ${missing[*]}"
    export DEBIAN_FRONTEND=noninteractive
    # Whoever interrupted an earlier run may have stopped dpkg half-way.
    [ -z "$(ls /var/lib/dpkg/updates)" ] || dpkg --configure -a || return 1
    # No daemon that comes with them is started (prometheus); a policy of the machine's own stays, and ours, where we
    # were killed, does not.
    if ! [ -e "$policy" ] || grep -qs '^# virtid installs packages$' "$policy"; then
        trap 'rm -f "$policy"' EXIT
        printf '#!/bin/sh\n# virtid installs packages\nexit 101\n' >"$policy" && chmod 755 "$policy" || return 1
    fi
    # Lists that are there are tried first: an update costs more than most installs.
    packages_get install -y --no-install-recommends "${missing[@]}" ||
        { packages_get update && packages_get install -y --no-install-recommends "${missing[@]}"; }
)

# A machine that just booted may be at its own upgrades: those are waited for.
packages_get() {
    apt-get -o DPkg::Lock::Timeout=300 "$@"
}
