"""What whoever can write the audit can do: changes a word of one record and makes all hashes from there on anew.

rewrite_audit.py DATABASE|COPY ID: a database in place, a copy (a record of JSON on each line) to standard output.
"""
import hashlib
import json
import sqlite3
import struct
import sys
import uuid


def hashed(before, r):
    fields = [b"virtid-audit-1", before, struct.pack(">Q", r["id"]), struct.pack(">Q", r["time"]), r["who"].encode(),
              r["what"].encode(), uuid.UUID(r["uuid"]).bytes if r.get("uuid") else b""]
    fields += [r.get(name, "").encode() for name in ("problem", "why", "seen", "expected")]
    return hashlib.sha256(b"".join(struct.pack(">H", len(f)) + f for f in fields)).digest()


def rewrite(records, changed):
    before = bytes(32)
    for r in records:
        if r["id"] == changed:
            r["who"] += "9"
        if r["id"] >= changed:
            r["hash"] = hashed(before, r).hex()
        before = bytes.fromhex(r["hash"])
    return records


path, changed = sys.argv[1], int(sys.argv[2])
if not path.endswith(".db"):
    for record in rewrite([json.loads(line) for line in open(path, encoding="ascii")], changed):
        print(json.dumps(record, separators=(",", ":")))
    sys.exit()
database = sqlite3.connect(path)
rows = database.execute("SELECT id, ms, who, what, uuid, problem, why, seen, expected, hash FROM audit ORDER BY id").fetchall()
names = ("id", "time", "who", "what", "uuid", "problem", "why", "seen", "expected", "hash")
records = [dict(zip(names, row)) for row in rows]
for r in records:
    r["uuid"] = str(uuid.UUID(bytes=r["uuid"])) if r["uuid"] else ""
    r["hash"] = r["hash"].hex()
for r in rewrite(records, changed):
    database.execute("UPDATE audit SET who = ?, hash = ? WHERE id = ?", (r["who"], bytes.fromhex(r["hash"]), r["id"]))
database.commit()
