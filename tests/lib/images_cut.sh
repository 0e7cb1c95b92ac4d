# shellcheck shell=bash
# images_cut.sh - interrupt or hinder the worker at a moment of its work, and look at the image afterwards
#
# Sourced after images_try.sh. Moments are seen from outside, by what the worker and its appliance have open and by
# what became of the image: nothing in the worker is for tests.

: "${box:=}" "${i:=}" "${uuid:=}" "${privd:=}" "${path:=}" "${format:=}" "${boot:=}" "${never:=}"

until_true() { # until_true COMMAND: within two minutes
    for _ in $(seq 2400); do
        "$@" >/dev/null 2>&1 && return 0
        pause
    done
    "$@"
}

nothing_of_ours_runs() {
    ! pgrep -u news . && ! compgen -G "$box/cache/inject/run-*"
}

worker() { pgrep -P "$privd" virtid-inject; }
appliance() { pgrep -u news -n qemu; }

# opened MODE: the appliance has the image open; MODE is the last digit of its flags, 0 to read, 2 to write too.
opened() {
    local qemu

    qemu=$(appliance) || return 1
    find "/proc/$qemu/fd" -lname "$path" -printf "/proc/$qemu/fdinfo/%f\n" 2>/dev/null |
        xargs grep -q "^flags:.*$1\$" /dev/null
}

written() { [ "$(stat -c %y "$path")" != "$cut_before" ]; }

# at MOMENT: is it? started, launched, looking, attached, written; behind a plus, so many 50 ms later.
at() {
    case $1 in
    started) worker ;;
    launched) appliance ;;
    looking) opened 0 ;;
    attached) opened 2 ;;
    written) written ;;
    esac
}

# inject_begins PAYLOAD...: in the background, with the usual payload or this one; inject_ends sets answer.
inject_begins() {
    [ $# -gt 0 ] || set -- 'FILE:644:/etc/virtid/agent.conf:[agent]' BIG:755:/usr/sbin/virtid-agent:3000000
    cut_before=$(stat -c %y "$path")
    ask inject $uuid $format "$path" 300000 DIR:755:/etc/virtid "$@" >"$box/answer" 2>&1 &
    asking=$!
}

inject_ends() {
    wait $asking
    answer=$(cat "$box/answer")
    echo "$answer"
}

# met MOMENT[+N]: waits for it; fails when the injection was over before. Some moments are short.
met() {
    local moment=${1%+*} n=0

    [[ $1 != *+* ]] || n=${1#*+}
    until at "$moment" >/dev/null 2>&1; do
        kill -0 $asking 2>/dev/null || return 1
        read -r -t 0.01 -u "$never" || :
    done
    while [ "$n" -gt 0 ]; do
        pause
        n=$((n - 1))
    done
    kill -0 $asking 2>/dev/null
}

# as_before: the guest starts from it as it did, whether or not its journal has to be played first.
as_before() {
    boot_says=$(boots $format "$path" "$boot")
    grep -q '^guest-booted ' <<<"$boot_says" || {
        echo "$boot_says"
        return 1
    }
}

# sound: what a guest's own start does to an ext4 that was cut (played journal) leaves nothing to mend and nothing unfinished.
sound() {
    local fs=$path

    if [ $format = qcow2 ]; then
        qemu-img check "$path" >/dev/null 2>&1 || [ $? = 3 ] || return 1 # 3: clusters that nobody uses
        fs=$box/sound.fs
        qemu-img convert -O raw "$path" "$fs" || return 1
    fi
    e2fsck -p "$fs" >"$box/fsck.log" 2>&1 || [ $? = 1 ] || {
        cat "$box/fsck.log"
        return 1
    }
    e2fsck -fn "$fs" || return 1
    [ $format != qcow2 ] || qemu-img convert -f raw -O qcow2 "$fs" "$path"
}

no_temporary_names() {
    local folder

    for folder in /etc /etc/virtid /etc/virtid/slots /usr/sbin /etc/many; do
        ! debugfs -R "ls $folder" "$path" 2>/dev/null | grep -F .virtid-new || return 1
    done
}
