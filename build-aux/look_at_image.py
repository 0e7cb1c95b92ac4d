#!/usr/bin/python3
"""look_at_image.py FILE - can quickstart use this disk image?

Prints its format (qcow2 or raw) and nothing else when it can. Else says why not and what to
do, and fails. Only the first sectors and the beginning of the first partition are read: this
takes no time, so it is asked before anything that does.
"""

import json
import struct
import subprocess
import sys
import tempfile

SECTOR = 512
FRONT = 2048  # sectors: partition table; enough of a filesystem for blkid to name it
PACKED = {b"\x1f\x8b": "gzip", b"\xfd7zXZ": "xz", b"BZh": "bzip2", b"(\xb5/\xfd": "zstd",
          b"PK\x03\x04": "zip", b"7z\xbc\xaf": "7z"}


def refuse(cause, repair):
    sys.exit(f"{cause}; {repair}")


def run(*command):
    done = subprocess.run(command, capture_output=True, check=False)
    if done.returncode:
        said = done.stderr.decode(errors="replace").strip().splitlines()
        refuse(f"{command[0]} cannot read it: {said[-1] if said else 'it says nothing'}",
               "is a virtual machine using it? shut that down; is the file complete?")
    return done.stdout


def format_of(image):
    with open(image, "rb") as file:
        first = file.read(8)
    for magic, name in PACKED.items():
        if first.startswith(magic):
            refuse(f"it is packed with {name}", "unpack it, and give the image that was in it")
    info = json.loads(run("qemu-img", "info", "--output=json", "--", image))
    if info["format"] not in ("qcow2", "raw"):
        refuse(f"its format is {info['format']}",
               f"convert it: qemu-img convert -O qcow2 {image} NEW.qcow2")
    if info.get("encrypted"):
        refuse("it is encrypted", "give an image that is not: nothing here knows its passphrase")
    return info["format"], info["virtual-size"]


def sectors(image, kind, at, count):
    with tempfile.NamedTemporaryFile() as part:
        run("qemu-img", "dd", "-f", kind, "-O", "raw", f"bs={SECTOR}", f"skip={at}",
            f"count={at + count}", f"if={image}", f"of={part.name}")
        return part.read()


def name_of_content(content):
    """What blkid calls the filesystem or container that begins so; '' when it knows none."""
    with tempfile.NamedTemporaryFile() as file:
        file.write(content)
        # A size that filesystems believe in; it takes no room.
        file.truncate(1 << 40)
        file.flush()
        said = subprocess.run(["/sbin/blkid", "-p", "-o", "value", "-s", "TYPE", file.name],
                              capture_output=True, text=True, check=False)
    return said.stdout.strip()


def gpt_start(front):
    """The first sector of partition 1, which need not be the first on the disk."""
    if front[SECTOR:SECTOR + 8] != b"EFI PART":
        refuse("its GPT is missing", "is the file complete? a copy may have been cut short")
    entry = front[struct.unpack_from("<Q", front, SECTOR + 72)[0] * SECTOR:][:128]
    return struct.unpack_from("<Q", entry, 32)[0] if len(entry) == 128 and any(entry[:16]) else 0


def first_partition(front):
    if front[510:512] != b"\x55\xaa" or not any(front[446:510]):
        there = name_of_content(front)
        refuse("there is no partition table" + (f" ({there} on the whole disk)" if there else
                                                ": it is no disk image, or an empty one"),
               "give the image of a whole disk that a BIOS can boot")
    if not any(front[:440]):
        refuse("it has no boot loader for a BIOS (UEFI alone does not do here)",
               "give an image that boots by BIOS, as Debian's cloud images do")
    if front[450] == 0xEE:
        return gpt_start(front)
    return struct.unpack_from("<I", front, 446 + 8)[0]


def look(image):
    kind, size = format_of(image)
    if size < (FRONT + 1) * SECTOR:
        refuse(f"a disk of {size} bytes holds no operating system",
               "is it the right file, and complete?")
    start = first_partition(sectors(image, kind, 0, FRONT))
    if start == 0:
        refuse("it has no partition 1", "the guest's root must be on partition 1")
    if (start + FRONT) * SECTOR > size:
        refuse("its partition 1 lies behind its end",
               "is the file complete? a copy may have been cut short")
    there = name_of_content(sectors(image, kind, start, FRONT))
    if there != "ext4":
        what = {"crypto_LUKS": "is encrypted (LUKS)", "": "holds nothing that is known"}
        refuse(f"its partition 1 {what.get(there, 'is ' + there)}",
               "quickstart puts its units into ext4 only: give an image whose partition 1 is its root on ext4")
    return kind


print(look(sys.argv[1]))
