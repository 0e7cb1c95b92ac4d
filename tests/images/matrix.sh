#!/bin/bash
# matrix.sh - give every image of tests/lib/images.sh to virtid-privd and print what became of it
#
#   sudo make check-images                     all of them
#   sudo make check-images IMAGES='NAME...'    these; the others' rows stay as they are
# With VIRTID_IMAGES_DOC=FILE the table is also written there, as docs/IMAGES.md. Needs VIRTID_BUILD.
set -u
# shellcheck source=tests/lib/privd.sh
. "$(dirname "$0")/../lib/privd.sh"
# shellcheck source=tests/system/rig/guest.sh
. "$(dirname "$0")/../system/rig/guest.sh"
# shellcheck source=tests/lib/images.sh
. "$(dirname "$0")/../lib/images.sh"
# shellcheck source=tests/lib/images_try.sh
. "$(dirname "$0")/../lib/images_try.sh"

row() { # row NAME: one line of the table
    local boots=- same=- verdict=''

    try_image "$1"
    if [ "$result" = injected ]; then
        boots_with_secret && boots=yes || boots=no
        [ "$backing" = yes ] && [[ $file == overlay* || $file == chain* ]] && same='backing files'
        [ $boots = yes ] || verdict=wrong
    else
        same=$identical
    fi
    as_expected || verdict=wrong
    [ -z "$verdict" ] || wrong="$wrong $1"
    printf '| %s | %s | %s | %s | %s | %s | %s |\n' "$1" "$layout" "$result" "${reason:--}" "$seconds" "$same" \
        "$boots${verdict:+ (wrong: expected $expected)}"
    [ -z "$verdict" ] || sed "s/^/    /" <<<"$answer
${boot_says:-}" >&2
}

head_of_table() {
    echo '| image | layout | result | reason | seconds | bit-identical | boots, with the secret |'
    echo '|---|---|---|---|---|---|---|'
}

# In the order of the list: what was tried now, else what the page has.
whole_table() {
    local name

    head_of_table
    while IFS='|' read -r name _; do
        cat "$box/table" "$VIRTID_IMAGES_DOC" 2>/dev/null | grep -m 1 "^| $name |"
    done < <(images_list)
}

document() {
    cat <<END
# The images that virtid was tried on

Written by \`make check-images\`, which makes every image below and gives it to the root half as the host daemon does. An
image that is left alone must be bit-identical afterwards (contents, size, mode, owner, times); where the secret went in, the guest is
booted and shows it. The reasons are those of \`virtid why\`; DECISIONS/009 says how the root is found. Appliances ran on $accel.
\`make check-images IMAGES='NAME...'\` renews single rows; the seconds are those of the machine with all that ran beside it then.

END
    whole_table
    cat <<END

Reasons that are known before an image is opened (network-disk, managed-save, ran-before, image-read-only of the domain's XML) are in
\`tests/unit/provision_steps_test\` and \`tests/system/22-machines-that-were-there-before\`.
END
}

images_up
wrong=''
if [ $# -gt 0 ]; then
    names=("$@")
else
    mapfile -t names < <(images_list | cut -d'|' -f1)
fi
images_make "${names[@]}" && boot_files && privd_up || exit 1
accel=$(sed -n 's/.*appliances run on //p' "$box/log")
for _ in $(seq 6000); do # the appliance is built before times are taken
    compgen -G "${appliance_cache:-$box/cache}/inject/.guestfs-*/appliance.d/root" >/dev/null && break
    pause
done
head_of_table | tee "$box/table"
for name in "${names[@]}"; do
    image_case "$name"
    if [ -z "$path" ]; then
        printf '| %s | %s | not tried | %s | - | - | - |\n' "$name" "$layout" "${missing_of[$name]:-no loop devices here}" |
            tee -a "$box/table"
        continue
    fi
    row "$name" | tee -a "$box/table"
done
grep -q wrong "$box/table" && {
    echo "matrix: not as expected" >&2
    exit 1
}
[ -z "${VIRTID_IMAGES_DOC:-}" ] || { document >"$box/page" && cp "$box/page" "$VIRTID_IMAGES_DOC"; }
