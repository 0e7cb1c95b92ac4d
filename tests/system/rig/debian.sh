# shellcheck shell=bash
# debian.sh - root folders and images of Debian 12, from the machine's own apt sources
#
# Sourced by those that put something into one.
. "$(dirname "${BASH_SOURCE[0]}")/../../lib/apt-sources.sh"

DEBIAN_SUITE=bookworm

# debian_root ROOT PACKAGE,...: makes the folder, without recommended packages and without
# documentation.
debian_root() {
    local root=$1 packages=$2 list

    list=$(apt_sources $DEBIAN_SUITE "${root%/*}") || return 1
    rm -rf "$root"
    # A mount namespace of its own: an interrupted run leaves nothing mounted.
    unshare --mount --propagation private mmdebstrap --mode=root --variant=minbase \
        --include="$packages" --dpkgopt='path-exclude=/usr/share/man/*' \
        --dpkgopt='path-exclude=/usr/share/locale/*' --dpkgopt='path-exclude=/usr/share/doc/*' \
        --dpkgopt=force-unsafe-io --aptopt='Acquire::Languages "none"' \
        --aptopt='APT::Install-Recommends "false"' --skip=cleanup/apt/lists \
        --format=directory $DEBIAN_SUITE "$root" "$list" </dev/null || return 1
    rm -rf "${root:?}"/var/cache/apt/* "$root"/var/lib/apt/lists/* "$root"/usr/share/{doc,man,locale}/*
}

# debian_image ROOT SIZE IMAGE: an ext4 image without partitions; whole or not there.
debian_image() {
    rm -f "$3.new"
    truncate -s "$2" "$3.new" &&
        /sbin/mke2fs -q -F -t ext4 -L debian -E lazy_itable_init=0 -d "$1" "$3.new" &&
        mv "$3.new" "$3"
}
