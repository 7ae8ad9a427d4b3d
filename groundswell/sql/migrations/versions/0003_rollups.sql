-- Which author, as eight bytes: what rolled-up counts remember of who said it.
CREATE FUNCTION author_key(author text) RETURNS bigint
LANGUAGE sql IMMUTABLE STRICT PARALLEL SAFE
RETURN ('x' || encode(substring(sha256(convert_to(author, 'UTF8')) FROM 1 FOR 8), 'hex'))::bit(64)::bigint;

-- Old minutes, rolled up. A mention stands either in minute_authors or here, here in every resolution; a bucket is
-- the sum of both. So a late post and a late delete are rows of minute_authors (of +1 and -1) until they are rolled
-- up themselves, and it does not matter when that is.
CREATE TABLE rollups (
    entity          text NOT NULL,
    resolution      integer NOT NULL CHECK (resolution IN (300, 3600, 86400)),   -- seconds
    bucket          timestamptz NOT NULL,       -- its start: a multiple of the resolution since 1970
    source          text NOT NULL,
    mentions        integer NOT NULL,
    authors         integer NOT NULL,           -- distinct
    author_keys     bigint[] NOT NULL,          -- author_key() of everyone who still has a mention in it, ascending
    author_mentions integer[],                  -- how many each of them has; null: one each
    PRIMARY KEY (entity, resolution, bucket, source)
);
CREATE INDEX rollups_by_bucket ON rollups (resolution, bucket);
CREATE INDEX rollups_spent ON rollups (resolution, bucket) WHERE mentions = 0;
-- The same for minute_totals and coverage.
CREATE TABLE source_rollups (
    source           text NOT NULL,
    resolution       integer NOT NULL CHECK (resolution IN (300, 3600, 86400)),
    bucket           timestamptz NOT NULL,
    posts            integer NOT NULL,
    observed_seconds double precision NOT NULL CHECK (observed_seconds BETWEEN 0 AND resolution),
    PRIMARY KEY (source, resolution, bucket)
);
-- From when on each resolution (in seconds) can still be answered. Never moves backwards.
CREATE TABLE resolutions (
    resolution integer PRIMARY KEY,
    kept_from  timestamptz NOT NULL DEFAULT '-infinity'
);
INSERT INTO resolutions (resolution) VALUES (60), (300), (3600), (86400);

-- Every change of a stage, with the numbers that made it. One instant of event time holds one change of an entity.
CREATE TABLE stage_changes (
    id          bigint GENERATED ALWAYS AS IDENTITY PRIMARY KEY,
    entity      text NOT NULL,
    at          timestamptz NOT NULL,           -- event time
    from_stage  text NOT NULL,
    stage       text NOT NULL,
    score       double precision NOT NULL,
    evidence    jsonb NOT NULL DEFAULT '{}',
    recorded_at timestamptz NOT NULL DEFAULT clock_timestamp(),
    UNIQUE (entity, at)
);
CREATE INDEX stage_changes_by_time ON stage_changes (at DESC, id DESC);

-- What the posts of a mover have in common: phrases that set them apart. Replaced as a whole, again and again.
CREATE TABLE surge_labels (
    entity  text PRIMARY KEY,
    as_of   timestamptz NOT NULL,               -- event time: the end of the window it was made from
    label   text NOT NULL,
    phrases jsonb NOT NULL,                     -- [{"phrase", "authors", "z"}], the most telling first
    posts   integer NOT NULL,                   -- that it was made from, near-duplicates counted once
    authors integer NOT NULL
);
-- Entities that are named in the same posts as a mover, more often than chance has it. Replaced along with the labels.
CREATE TABLE co_mentions (
    entity  text NOT NULL,                      -- the mover
    other   text NOT NULL,
    as_of   timestamptz NOT NULL,
    posts   integer NOT NULL,                   -- of the mover's posts, with both; near-duplicates counted once
    authors integer NOT NULL,
    npmi    double precision NOT NULL,
    g2      double precision NOT NULL,
    PRIMARY KEY (entity, other)
);
CREATE INDEX co_mentions_by_other ON co_mentions (other);
