"""hostile_host.py SOCKET UUID EPOCH ISSUER SERVICE SECONDS - the host's side of a guest's channel, as a thief has it

It greets the guest as its real host does, relays its connections to the real guest listener (HOST:PORT), says that its
vTPM is durable, and signs with a key of its own (docs/PROTOCOL-channel.md, PROTOCOL-proof.md).  SOCKET may be a
pattern.  At the end it prints what came of it.
"""
import glob
import os
import select
import socket
import struct
import sys
import time
import uuid

from cryptography.hazmat.primitives import hashes
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.hazmat.primitives.asymmetric.utils import decode_dss_signature

WHO, HELLO, READY, SIGN, SIG, NO, SYNC, SYNCED, OPEN, DATA, CLOSE, ACK = range(1, 13)
HOST = b"host1"
path, vm, epoch, issuer, service, seconds = sys.argv[1:]
vm, epoch, issuer = uuid.UUID(vm).bytes, struct.pack(">Q", int(epoch)), issuer.encode()
until = time.monotonic() + float(seconds)
key = ec.generate_private_key(ec.SECP256R1())
count = dict.fromkeys(("ready", "open", "sign", "relayed", "answered"), 0)
session = os.urandom(8)
guest = socket.socket(socket.AF_UNIX)
guest.connect(glob.glob(path)[0])
wire = None


def fields(*parts):
    return b"".join(struct.pack(">H", len(part)) + part for part in parts)


def send(kind, payload=b""):
    guest.sendall(b"VTD1" + bytes([kind, 0, 0, 0]) + session + struct.pack(">I", len(payload)) + payload)


def greet():
    now = struct.pack(">Q", int(time.time() * 1000))
    send(HELLO, fields(b"\1", session, vm, epoch, now, issuer, b""))


def sign(h):
    message = fields(b"virtid-host-proof-1", issuer, HOST, vm, epoch, h)
    r, s = decode_dss_signature(key.sign(message, ec.ECDSA(hashes.SHA256())))
    send(SIG, fields(h, epoch, HOST, r.to_bytes(32, "big") + s.to_bytes(32, "big")))


def hang_up():
    global wire
    if wire:
        send(CLOSE, fields(b"done"))
        wire.close()
    wire = None


def take(kind, payload):
    global wire
    if kind == WHO:
        hang_up()
        greet()
    elif kind == READY:
        count["ready"] += 1
    elif kind == SIGN:
        count["sign"] += 1
        sign(payload[2:])
    elif kind == SYNC:
        send(SYNCED)
    elif kind == OPEN:
        count["open"] += 1
        name, port = service.rsplit(":", 1)
        wire = socket.create_connection((name, int(port)))
        send(OPEN)
    elif kind == DATA and wire:
        wire.sendall(payload)
        count["relayed"] += len(payload)
        send(ACK, fields(struct.pack(">I", len(payload))))
    elif kind == CLOSE:
        hang_up()


greet()
pending = b""
while time.monotonic() < until:
    ready = select.select([guest] + ([wire] if wire else []), [], [], 0.5)[0]
    if wire in ready:
        chunk = wire.recv(8192)
        count["answered"] += len(chunk)
        if chunk:
            send(DATA, chunk)
        else:
            hang_up()
    if guest in ready:
        chunk = guest.recv(65536)
        if not chunk:
            break
        pending += chunk
    while len(pending) >= 20:
        length = struct.unpack(">I", pending[16:20])[0]
        if len(pending) < 20 + length:
            break
        take(pending[4], pending[20 : 20 + length])
        pending = pending[20 + length :]
print(" ".join("%s=%d" % pair for pair in count.items()))
