-- Which parts of a minute were watched, in microseconds of it: what a source sends again is counted once, wherever it begins.
-- Null where an earlier release wrote the row: its seconds are taken to be the first ones.
ALTER TABLE coverage
    ADD COLUMN spans        int4multirange,
    ADD COLUMN late_seconds double precision NOT NULL DEFAULT 0,   -- of the observed ones, those that were sent again later
    ADD COLUMN late_quarter integer;                               -- in this quarter of an hour of the source's time, since 1970
