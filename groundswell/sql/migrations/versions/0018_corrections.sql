-- Alerts of which mentions were withdrawn since: how many, and when the last of them.
ALTER TABLE alerts ADD COLUMN withdrawn integer NOT NULL DEFAULT 0, ADD COLUMN corrected_at timestamptz;
CREATE INDEX alerts_by_entity ON alerts (entity, at);
