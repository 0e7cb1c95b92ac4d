-- 001_first.sql - what the token service keeps.  No private key, nonce or MAC key is ever here.
-- Times are milliseconds since 1970.

CREATE TABLE meta (
    name  TEXT PRIMARY KEY,
    value TEXT NOT NULL
) STRICT, WITHOUT ROWID;

-- state: 1 invited (a join code is out), 2 pending (redeemed, not approved), 3 joined, 4 removed, 5 locked
CREATE TABLE hosts (
    name         TEXT PRIMARY KEY,
    state        INTEGER NOT NULL CHECK (state BETWEEN 1 AND 5),
    automatic    INTEGER NOT NULL CHECK (automatic IN (0, 1)),
    simulated    INTEGER NOT NULL CHECK (simulated IN (0, 1)),
    code_sha256  BLOB NOT NULL CHECK (length(code_sha256) = 32),
    code_ends_ms INTEGER NOT NULL,
    tls          BLOB CHECK (length(tls) = 65),
    proof        BLOB CHECK (length(proof) = 65),
    made_ms      INTEGER NOT NULL,
    joined_ms    INTEGER NOT NULL,
    seen_ms      INTEGER NOT NULL,
    boot         TEXT NOT NULL,
    fingerprint  TEXT NOT NULL
) STRICT, WITHOUT ROWID;

-- state: 1 next (never used), 2 current, 3 retired: its successor has been used
CREATE TABLE host_certs (
    sha256    BLOB PRIMARY KEY CHECK (length(sha256) = 32),
    host      TEXT NOT NULL REFERENCES hosts (name),
    state     INTEGER NOT NULL CHECK (state BETWEEN 1 AND 3),
    tls_cert  BLOB NOT NULL,
    proof_cert BLOB NOT NULL,
    proof     BLOB NOT NULL CHECK (length(proof) = 65),
    made_ms   INTEGER NOT NULL,
    ends_ms   INTEGER NOT NULL,
    changed_ms INTEGER NOT NULL -- when it came into this state
) STRICT, WITHOUT ROWID;
CREATE INDEX host_certs_host ON host_certs (host, state);

-- `row` and `mac` are what counts; name, pending, ek_sha256 and cur are indexes of them.
-- st .. renewed_ms: the lease (docs/PROTOCOL-lease.md).  mark_*: the last accepted proof.
CREATE TABLE vms (
    uuid       BLOB PRIMARY KEY CHECK (length(uuid) = 16),
    row        BLOB NOT NULL,
    mac        BLOB NOT NULL CHECK (length(mac) = 32),
    name       TEXT NOT NULL,
    pending    INTEGER NOT NULL CHECK (pending IN (0, 1)),
    ek_sha256  BLOB CHECK (length(ek_sha256) = 32),
    cur        BLOB CHECK (length(cur) = 65),
    ek         BLOB,
    ek_issued  BLOB CHECK (length(ek_issued) = 32),
    st         INTEGER NOT NULL CHECK (st BETWEEN 0 AND 2),
    hol        TEXT NOT NULL,
    ep         INTEGER NOT NULL,
    nx         INTEGER NOT NULL,
    out        INTEGER NOT NULL CHECK (out BETWEEN 0 AND 2),
    placed     INTEGER NOT NULL CHECK (placed IN (0, 1)),
    ver        INTEGER NOT NULL,
    seen       TEXT NOT NULL,
    renewed_ms INTEGER NOT NULL,
    mark_nonce BLOB CHECK (length(mark_nonce) = 40),
    mark_vtpm  INTEGER NOT NULL CHECK (mark_vtpm IN (0, 1)),
    mark_reset INTEGER NOT NULL,
    mark_restart INTEGER NOT NULL,
    mark_clock INTEGER NOT NULL,
    mark_ms    INTEGER NOT NULL,
    mark_factors INTEGER NOT NULL,
    made_ms    INTEGER NOT NULL
) STRICT, WITHOUT ROWID;
CREATE INDEX vms_name ON vms (name);
CREATE INDEX vms_hol ON vms (hol);
-- An EK and a secret belong to one account that is not pending.
CREATE UNIQUE INDEX vms_ek ON vms (ek_sha256) WHERE pending = 0;
CREATE UNIQUE INDEX vms_cur ON vms (cur) WHERE pending = 0;

-- The newest words of a host about a VM: what is not above them has been heard.
CREATE TABLE seqs (
    uuid   BLOB NOT NULL,
    host   TEXT NOT NULL,
    boot   TEXT NOT NULL,
    report INTEGER NOT NULL,
    ended  INTEGER NOT NULL,
    PRIMARY KEY (uuid, host)
) STRICT, WITHOUT ROWID;

CREATE TABLE audiences (
    name     TEXT PRIMARY KEY,
    everyone INTEGER NOT NULL CHECK (everyone IN (0, 1)),
    claims   INTEGER NOT NULL
) STRICT, WITHOUT ROWID;

-- Each record holds the hash of the one before it.
CREATE TABLE audit (
    id       INTEGER PRIMARY KEY AUTOINCREMENT,
    ms       INTEGER NOT NULL,
    who      TEXT NOT NULL,
    what     TEXT NOT NULL,
    uuid     BLOB CHECK (length(uuid) = 16),
    problem  TEXT NOT NULL,
    why      TEXT NOT NULL,
    seen     TEXT NOT NULL,
    expected TEXT NOT NULL,
    hash     BLOB NOT NULL CHECK (length(hash) = 32)
) STRICT;
CREATE INDEX audit_uuid ON audit (uuid, id);
CREATE INDEX audit_kind ON audit (uuid, what, problem, ms);
