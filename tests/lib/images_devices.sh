# shellcheck shell=bash
# images_devices.sh - block devices as images: loop devices, a logical volume of the host, NBD; sourced by images.sh
#
# What a kernel does not have is not tried: device_of has no entry then, and missing_of says what is missing.

: "${box:=}" "${i:=}"

# Loop devices, where there are any: LOOP, LINK (a name as udev makes it) and BUSY; LV and NBD are real ones.
images_devices() {
    local name device

    loops='' volume_groups='' nbds=''
    declare -gA device_of=() missing_of=()
    for name in loop dev-link mounted; do
        wanted $name || continue
        fs_ext4 "$box/elsewhere/$name.fs" debian 32
        if [ $name = loop ]; then
            disk "$box/elsewhere/loop.img" gpt 1:ext4:debian:32
        else
            mv "$box/elsewhere/$name.fs" "$box/elsewhere/$name.img"
        fi
        loop_of "$box/elsewhere/$name.img" || continue
        device_of[$name]=$device
    done
    if [ -n "${device_of[dev-link]:-}" ]; then
        mkdir -p "/dev/virtid-test-$$" && ln -s "../${device_of[dev-link]#/dev/}" "/dev/virtid-test-$$/lv" &&
            device_of[dev-link]=/dev/virtid-test-$$/lv
    fi
    wanted lv && device_lv
    wanted nbd && device_nbd
    return 0
}

loop_of() { # loop_of FILE: sets device
    device=$(losetup -f --show "$1" 2>/dev/null) && loops="$loops $device"
}

# A logical volume of this host, active, by the name that users give: /dev/VG/LV.
device_lv() {
    local group=virtidtest$$ config

    modprobe dm_mod 2>/dev/null
    grep -q device-mapper /proc/misc || {
        missing_of[lv]='no device-mapper in this kernel'
        return 0
    }
    truncate -s 80M "$box/elsewhere/lv.img"
    loop_of "$box/elsewhere/lv.img" || return 0
    # Nothing but this loop device is looked at; nodes are made by LVM itself, where no udev runs.
    config="devices{use_devicesfile=0 obtain_device_list_from_udev=0 filter=[\"a|^$device\$|\",\"r|.*|\"]}"
    config+=' backup{backup=0 archive=0} activation{udev_sync=0 udev_rules=0 verify_udev_operations=1}'
    volume_groups="$volume_groups $group"
    lvm_config=$config
    if lvm pvcreate -qq --config "$config" "$device" && lvm vgcreate -qq --config "$config" $group "$device" &&
        lvm lvcreate -qq --config "$config" -y -Wn -n root -L 64M $group && fs_ext4 "$box/data" debian 64 &&
        dd if="$box/data" of=/dev/$group/root bs=1M conv=fsync status=none; then
        device_of[lv]=/dev/$group/root
    else
        missing_of[lv]='LVM made no logical volume here'
    fi
} >>"$box/lvm.log" 2>&1

# A qcow2 as a device: qemu-nbd has it open for as long as it serves it.
device_nbd() {
    local node

    modprobe nbd 2>/dev/null
    fs_ext4 "$box/data" debian 32 && qemu-img convert -f raw -O qcow2 "$box/data" "$box/elsewhere/nbd.qcow2" || return 1
    for node in /sys/block/nbd*; do
        [ -e "$node" ] && [ ! -e "$node/pid" ] || continue
        qemu-nbd --connect="/dev/${node##*/}" -f qcow2 "$box/elsewhere/nbd.qcow2" || continue
        nbds="$nbds /dev/${node##*/}"
        device_of[nbd]=/dev/${node##*/}
        return 0
    done
    # shellcheck disable=SC2034 # for those who source this
    missing_of[nbd]='no NBD in this kernel'
} >>"$box/nbd.log" 2>&1

# A volume group of the host, named as one in a guest. Only its metadata is made: device-mapper may be missing here.
images_host_vg() {
    local device config

    wanted lvm-disk || return 0
    truncate -s 64M "$box/elsewhere/hostvg.img"
    loop_of "$box/elsewhere/hostvg.img" || return 0
    config="devices{use_devicesfile=0 obtain_device_list_from_udev=0 filter=[\"a|^$device\$|\",\"r|.*|\"]} backup{backup=0 archive=0}"
    lvm pvcreate -qq --driverloaded n --config "$config" "$device" &&
        lvm vgcreate -qq --driverloaded n --config "$config" hostvg "$device" &&
        lvm lvcreate -qq --driverloaded n --config "$config" -an -Zn -Wn -n root -L 16M hostvg
} >>"$box/lvm.log" 2>&1

images_down() {
    local device group

    rm -rf "/dev/virtid-test-$$"
    for group in ${volume_groups:-}; do
        lvm vgchange -qq --config "$lvm_config" -an "$group"
        rm -rf "/dev/${group:?}"
    done
    for device in ${nbds:-}; do
        qemu-nbd --disconnect "$device" >/dev/null
    done
    for device in ${loops:-}; do
        losetup -d "$device"
    done
}
