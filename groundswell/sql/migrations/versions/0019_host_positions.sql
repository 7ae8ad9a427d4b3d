-- How far each host of a source has been read, by host: its address, its own time, its number, and how late it is.
ALTER TABLE cursors ADD COLUMN positions jsonb NOT NULL DEFAULT '{}';
