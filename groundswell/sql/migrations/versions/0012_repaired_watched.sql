-- A build between two commits had another migration 0008, without this column. Everywhere else it is there.
ALTER TABLE watched ADD COLUMN IF NOT EXISTS kinds jsonb NOT NULL DEFAULT '{}';
