-- 003_ratchet.sql - the key that a VM is about to step to.

-- As `cur` an index of what `row` says: no other VM may step to it, or have it as its own.
ALTER TABLE vms ADD COLUMN next BLOB CHECK (length(next) = 65);
CREATE INDEX vms_next ON vms (next) WHERE next IS NOT NULL;
