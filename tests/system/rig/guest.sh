# shellcheck shell=bash
# guest.sh - what both kinds of guest share: kernel, first stage, domain XML, commands
#
# Sourced after host.sh.  Guests boot a Debian cloud kernel directly with a first
# stage of ours (busybox and the virtio modules), so that they need neither boot
# loader nor modules in their image.

# guest_kernel CACHE: prints the version of a cloud kernel and leaves CACHE/vmlinuz and
# CACHE/modules.  The machine's own, else Debian's package is unpacked into the
# cache: nothing is installed for it.
guest_kernel() {
    local cache=$1 version deb root=/

    version=$(cd /lib/modules 2>/dev/null && printf '%s\n' *-cloud-amd64 | sort -V | tail -1)
    if ! [ -e "/boot/vmlinuz-$version" ]; then
        root=$cache/kernel
        if ! [ -d "$root" ]; then
            deb=$(apt-cache depends linux-image-cloud-amd64 |
                sed -n 's/.*Depends: \(linux-image-[0-9].*cloud-amd64\)$/\1/p' | head -1)
            mkdir -p "$cache/deb" && (cd "$cache/deb" && apt-get -qq download "$deb") &&
                dpkg-deb -x "$cache/deb/$deb"_*.deb "$root.new" && mv "$root.new" "$root" || return 1
        fi
        version=$(cd "$root/lib/modules" && echo *-cloud-amd64)
        depmod -b "$root" "$version"
    fi
    cp -u "$root/boot/vmlinuz-$version" "$cache/vmlinuz" || return 1
    modprobe -d "$root" -S "$version" --show-depends -a virtio_pci virtio_blk virtio_net \
        virtio_console virtio_rng qemu_fw_cfg 2>/dev/null |
        awk '$1 == "insmod" && !seen[$2]++ { print $2 }' >"$cache/modules.$$"
    mv "$cache/modules.$$" "$cache/modules"
    grep -q virtio_blk "$cache/modules" || {
        echo "rig: the kernel $version has no virtio modules" >&2
        return 1
    }
    echo "$version"
}

# guest_initrd CACHE: writes CACHE/initrd, which loads the modules, mounts the
# first partition (or the whole disk) and hands over to its /sbin/init.
guest_initrd() {
    local cache=$1 root module n=0

    root=$(mktemp -d "$cache/initrd.XXXXXX") && chmod 755 "$root" || return 1
    mkdir -p "$root"/{bin,proc,sys,dev,root,modules}
    cp /bin/busybox "$root/bin/"
    while read -r module; do
        n=$((n + 1))
        cp "$module" "$root/modules/$(printf %02d "$n")-${module##*/}"
    done <"$cache/modules"
    cat >"$root/init" <<-'END'
	#!/bin/busybox sh
	b=/bin/busybox
	$b mount -t proc proc /proc
	$b mount -t sysfs sysfs /sys
	$b mount -t devtmpfs dev /dev
	for m in /modules/*; do $b insmod "$m"; done
	i=0
	until [ -b /dev/vda ] || [ $i -ge 50 ]; do $b sleep 0.1; i=$((i + 1)); done
	disk=/dev/vda
	[ -b /dev/vda1 ] && disk=/dev/vda1
	$b mount -t ext4 "$disk" /root || exec $b sh
	for d in proc sys dev; do $b mount -o move /$d /root/$d; done
	exec $b switch_root /root /sbin/init
	END
    chmod +x "$root/init"
    (cd "$root" && find . | cpio --quiet -o -H newc | gzip -1) >"$root.new" &&
        mv "$root.new" "$cache/initrd" && rm -rf "$root"
}

# guest_libraries ROOT FILE...: copies the shared libraries that FILEs need into ROOT.
guest_libraries() {
    local root=$1 lib

    shift
    for lib in $(ldd "$@" 2>/dev/null | sed -nE 's/^\t(.* => )?(\/[^ ]+) \(.*/\2/p' | sort -u); do
        [ -e "$root$lib" ] && continue
        mkdir -p "$root${lib%/*}" && cp -L "$lib" "$root$lib" || return 1
    done
}

# guest_xml NAME UUID TYPE IMAGE FORMAT [OPTION...]: a domain, on stdout.
# TYPE is kvm or qemu.  OPTIONs: tap (network, see host_network), bios (boot the
# image itself), notpm, genid, channel and marker (what `virtid enable` would add),
# memory=MIB, cpus=N, root=ARGS (more kernel arguments).
guest_xml() {
    local name=$1 uuid=$2 type=$3 image=$4 format=$5 memory=256 cpus=1 args='' option
    local boot tpm cpu network='' channel='' metadata='' genid=''

    shift 5
    boot=direct
    tpm="<tpm model='tpm-crb'><backend type='emulator' version='2.0' persistent_state='yes'/></tpm>"
    for option in "$@"; do
        case $option in
        tap) network="<interface type='ethernet'><mac address='52:54:00:76:69:64'/><target dev='virtidtap0' managed='no'/><model type='virtio'/></interface>" ;;
        bios) boot=bios ;;
        notpm) tpm= ;;
        genid) genid='<genid/>' ;;
        channel) channel="<channel type='unix'><target type='virtio' name='org.virtid.0'/></channel>" ;;
        marker) metadata="<metadata><virtid:identity xmlns:virtid='urn:virtid:domain:1'/></metadata>" ;;
        memory=*) memory=${option#*=} ;;
        cpus=*) cpus=${option#*=} ;;
        root=*) args=${option#*=} ;;
        esac
    done
    [ "$type" = kvm ] || args="mitigations=off $args" # an emulated processor does not speculate
    if [ $boot = direct ]; then
        boot="<kernel>/var/lib/libvirt/boot/vmlinuz</kernel><initrd>/var/lib/libvirt/boot/initrd</initrd>
    <cmdline>console=ttyS0 quiet panic=-1 net.ifnames=0 $args</cmdline>"
    else
        boot="<boot dev='hd'/>"
    fi
    cpu="<cpu mode='host-passthrough'/>"
    # Programs crash now and then in a machine with the LA57 of QEMU's TCG.
    [ "$type" = kvm ] || cpu="<cpu mode='maximum'><feature policy='disable' name='la57'/></cpu>"
    cat <<END
<domain type='$type'>
  <name>$name</name>
  <uuid>$uuid</uuid>
  $genid
  $metadata
  <memory unit='MiB'>$memory</memory>
  <vcpu>$cpus</vcpu>
  <os>
    <type arch='x86_64' machine='q35'>hvm</type>
    $boot
  </os>
  <features><acpi/></features>
  $cpu
  <on_reboot>restart</on_reboot>
  <on_crash>destroy</on_crash>
  <devices>
    <emulator>/usr/bin/qemu-system-x86_64</emulator>
    <disk type='file' device='disk'>
      <driver name='qemu' type='$format'/>
      <source file='$image'/>
      <target dev='vda' bus='virtio'/>
    </disk>
    <controller type='usb' model='none'/>
    <serial type='file'><source path='/var/log/libvirt/$name.console'/><target port='0'/></serial>
    <serial type='unix'><source mode='bind' path='/run/libvirt/qemu/$name.shell'/><target port='1'/></serial>
    <rng model='virtio'><backend model='random'>/dev/urandom</backend></rng>
    <memballoon model='none'/>
    $network
    $channel
    $tpm
  </devices>
</domain>
END
}

# guest_units FOLDER: writes units that show, once `virtid enable --install-agent` has put the
# agent there, who the guest is: to whoever connects, and one token on the console.
guest_units() {
    cat >"$1/virtid-serve.service" <<-'END'
	[Unit]
	Description=Show who this machine is (virtid-agent serve)
	After=virtid-agent.service
	StartLimitIntervalSec=0

	[Service]
	ExecCondition=/usr/bin/test -x /usr/lib/virtid/virtid-agent
	Environment=LD_LIBRARY_PATH=/usr/lib/virtid
	ExecStart=/usr/lib/virtid/virtid-agent serve 0.0.0.0:7443
	Restart=always
	RestartSec=1

	[Install]
	WantedBy=multi-user.target
	END
    cat >"$1/virtid-show-token.service" <<-'END'
	[Unit]
	Description=Print a token for the audience quickstart on the console
	After=virtid-agent.service
	StartLimitIntervalSec=0

	[Service]
	Type=exec
	ExecCondition=/usr/bin/test -x /usr/lib/virtid/virtid-agent
	Environment=LD_LIBRARY_PATH=/usr/lib/virtid
	ExecStart=/bin/sh -c 't=$$(/usr/lib/virtid/virtid-agent token -a quickstart) && echo "virtid-token: $$t" >/dev/ttyS0'
	Restart=on-failure
	RestartSec=1

	[Install]
	WantedBy=multi-user.target
	END
}

# guest_add_units DIR IMAGE FORMAT ACCEL: puts them into an image inside the box, on its
# first partition or the whole disk, and brings out what tells which system is there:
# DIR/var-cache/quickstart/os-release and libc.so.6.
guest_add_units() {
    local dir=$1 image=$2 format=$3 setting='' wants=/etc/systemd/system/multi-user.target.wants
    local files=/var/cache/quickstart

    [ "$4" = kvm ] || setting=force_tcg
    rm -rf "$dir/var-cache/quickstart"
    mkdir -p "$dir/var-cache/quickstart" && guest_units "$dir/var-cache/quickstart" || return 1
    host_enter "$dir" LIBGUESTFS_BACKEND=direct LIBGUESTFS_BACKEND_SETTINGS=$setting \
        LIBGUESTFS_CACHEDIR=$files guestfish --rw --format="$format" -a "$image" <<-END
	run
	-mount-options nodev,nosuid,noexec /dev/sda /
	-mount-options nodev,nosuid,noexec /dev/sda1 /
	-download /etc/os-release $files/os-release
	-download /lib/x86_64-linux-gnu/libc.so.6 $files/libc.so.6
	upload $files/virtid-serve.service /etc/systemd/system/virtid-serve.service
	upload $files/virtid-show-token.service /etc/systemd/system/virtid-show-token.service
	mkdir-p $wants
	ln-sf /etc/systemd/system/virtid-serve.service $wants/virtid-serve.service
	ln-sf /etc/systemd/system/virtid-show-token.service $wants/virtid-show-token.service
	umount-all
	END
}

# guest_name DIR: what the system in that image calls itself.
guest_name() {
    sed -n 's/^PRETTY_NAME=//p' "$1/var-cache/quickstart/os-release" 2>/dev/null | tr -d '"' |
        tr -cd '[:print:]' | cut -c1-80
}

# guest_libc DIR: the version of its C library.
guest_libc() {
    grep -aoE 'GNU C Library .* version [0-9]+\.[0-9]+' "$1/var-cache/quickstart/libc.so.6" 2>/dev/null |
        sed -n '1s/.* //p'
}

# guest_console DIR NAME: the file that a guest's first serial port writes.
guest_console() {
    echo "$1/var-log/libvirt/$2.console"
}

# guest_boot_files DIR CACHE: puts kernel and first stage where the box's QEMU reads them.
guest_boot_files() {
    install -d -m 755 "$1/var-lib/libvirt/boot" &&
        install -m 644 "$2/vmlinuz" "$2/initrd" "$1/var-lib/libvirt/boot/"
}

# guest_run DIR NAME SECONDS COMMAND: runs a shell command in a tiny guest, prints what
# it prints, and returns its status; 124 when no answer came in time.
guest_run() {
    host_enter "$1" /usr/bin/python3 - "$2" "$3" "$4" <"$HOST_RIG/guest_run.py"
}
