-- What each entity usually does: a row of numbers (single precision, little-endian; core/habit.py) folded hour by hour.
CREATE TABLE habits (
    entity  text PRIMARY KEY,
    hour    integer NOT NULL,                   -- folded up to here: hours since 1970
    numbers bytea NOT NULL
);
CREATE INDEX habits_by_hour ON habits (hour);
-- What all habits are divided by (double precision), and up to which hour they are folded. One row.
CREATE TABLE watched (
    one     boolean PRIMARY KEY DEFAULT true CHECK (one),
    hour    integer NOT NULL,
    numbers bytea NOT NULL
);

-- Why a score is what it is; and what the next look has to know of the last one.
ALTER TABLE momentum
    ADD COLUMN parts jsonb NOT NULL DEFAULT '{}',
    ADD COLUMN peak double precision NOT NULL DEFAULT 0,
    ADD COLUMN told_at timestamptz;
