-- 005_pools.sql - which hosts stand in for one another.

-- A pool is the hosts that name it; a host is in at most one.
CREATE TABLE pool_hosts (
    host TEXT PRIMARY KEY,
    pool TEXT NOT NULL
) STRICT, WITHOUT ROWID;
CREATE INDEX pool_hosts_pool ON pool_hosts (pool, host);

-- Beside hol '': whose hosts alone may have the VM; '' any host.
ALTER TABLE vms ADD COLUMN pool TEXT NOT NULL DEFAULT '';
