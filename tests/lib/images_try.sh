# shellcheck shell=bash
# images_try.sh - give one image of images.sh to virtid-privd, and look at what became of it

: "${box:=}" "${uuid:=}" "${boot:=}"

# images_up: a box with images' folders, for files and devices; $i is where images lie.
images_up() {
    export TMPDIR=/var/tmp
    # shellcheck disable=SC2034 # for box_up
    more_roots=/dev
    box_up
    i=$box/images
    # shellcheck disable=SC2034 # for images.sh
    fish_accel=force_tcg fish_cache=${appliance_cache_of_root:-$box/fish-cache}
    mkdir -p "$box/fish-cache"
    trap 'images_down; box_down' EXIT
    if "$box/virtid-inject" --probe-kvm 2>/dev/null | grep -q kvm; then
        # shellcheck disable=SC2034
        fish_accel=''
    fi
    images_trees
}

# image_case NAME: its line of the list in layout, file, expected, boot and format.
image_case() {
    # shellcheck disable=SC2034 # layout is for those who print it
    IFS='|' read -r _ layout file expected boot < <(images_list | grep "^$1|")
    format=raw
    [[ $file != *.qcow2 ]] || format=qcow2
    case $file in
    LOOP | LINK | BUSY | LV | NBD) path=${device_of[$1]:-} ;;
    *) path=$i/$file ;;
    esac
}

# What must not change: all of a file but its times, which QEMU's opening may not touch either.
image_state() {
    local file=$1

    [ -f "$file" ] && stat -c '%Y %Z %a %u %s' "$file"
    sha256sum <"$file"
    backing_state
}

# Backing files, and the host's own volume group.
backing_state() {
    (cd "$box" && find images -name '*.raw' -o -path 'images/chain/*' -type f | sort | xargs -r sha256sum
        [ ! -e elsewhere/hostvg.img ] || sha256sum elsewhere/hostvg.img)
}

# try_image NAME: sets answer, seconds, identical (yes, no) and backing (yes, no).
try_image() {
    local before begin backing_before RAN=''

    image_case "$1"
    before=$(image_state "$path")
    backing_before=$(backing_state)
    begin=$(date +%s%N)
    image_user_begins "$1"
    # shellcheck disable=SC2034 # for ask
    [ "$1" != btrfs-ran ] || RAN=1
    answer=$(ask inject $uuid $format "$path" 600000 \
        DIR:755:/etc/virtid 'FILE:644:/etc/virtid/agent.conf:[agent]' BIG:755:/usr/sbin/virtid-agent:3000000)
    image_user_ends
    seconds=$((($(date +%s%N) - begin + 50000000) / 100000000))
    seconds=$((seconds / 10)).$((seconds % 10))
    identical=no backing=no
    [ "$before" != "$(image_state "$path")" ] || identical=yes
    [ "$backing_before" != "$(backing_state)" ] || backing=yes
    result=${answer%% *}
    reason=''
    [ "$result" = injected ] || reason=$(cut -d' ' -f2 <<<"$answer")
}

# Whoever has the image open meanwhile.
image_user_begins() {
    image_user=''
    case $1 in
    in-use)
        qemu-system-x86_64 -M none -nodefaults -display none -qmp unix:"$box/in-use",server=on,wait=off \
            -blockdev driver=file,filename="$path",node-name=disk </dev/null &
        image_user=$!
        until [ -S "$box/in-use" ]; do pause; done
        ;;
    mounted)
        tail -f /dev/null 5<"$path" &
        image_user=$!
        ;;
    esac
}

image_user_ends() {
    [ -z "$image_user" ] || kill "$image_user"
    image_user=''
}

# as_expected: the result of the list, and bit-identical wherever nothing was to be written.
as_expected() {
    [ "$backing" = yes ] || return 1
    if [ "$expected" = injected ]; then
        [ "$result" = injected ]
    else
        [ "$result $reason $identical" = "skipped $expected yes" ]
    fi
}

# boots_with_secret: the guest starts and finds the secret whose public half was answered, for root alone.
boots_with_secret() {
    local said

    boot_says=$(boots $format "$path" "$boot")
    said=$(sed -n 's/^guest-slot //p' <<<"$boot_says")
    grep -q '^guest-booted ' <<<"$boot_says" && [[ $said == "600 0 0 49 "* ]] &&
        slot_fits "${said##* }" "${answer#injected }"
}

# slot_fits SLOT POINT, both in hex
slot_fits() {
    python3 - "$1" "$2" "$uuid" <<'END'
import sys
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.hazmat.primitives.serialization import Encoding, PublicFormat
slot = bytes.fromhex(sys.argv[1])
key = ec.derive_private_key(int.from_bytes(slot[17:], 'big'), ec.SECP256R1())
point = key.public_key().public_bytes(Encoding.X962, PublicFormat.UncompressedPoint).hex()
sys.exit(not (slot[0] == 2 and slot[1:17].hex() == sys.argv[3].replace('-', '') and point == sys.argv[2]))
END
}
