-- 002_words.sql - what operators tell hosts, and hosts tell operators.

-- mode: 1 loose, 2 strict, 3 observe; a VM without a row is as its host says.
CREATE TABLE modes (
    uuid BLOB PRIMARY KEY CHECK (length(uuid) = 16),
    mode INTEGER NOT NULL CHECK (mode BETWEEN 1 AND 3)
) STRICT, WITHOUT ROWID;

-- How libvirt's hook does on a host, in its own word.
CREATE TABLE hooks (
    host TEXT PRIMARY KEY,
    word TEXT NOT NULL
) STRICT, WITHOUT ROWID;
