-- 004_receipts.sql - which of two states of an account is the newer one.

-- Rises with every change of `row`; receipts that hosts keep name it.
ALTER TABLE vms ADD COLUMN row_ver INTEGER NOT NULL DEFAULT 0;
