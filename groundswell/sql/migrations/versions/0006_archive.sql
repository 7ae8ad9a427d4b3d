-- Files of the archive, from the claim of their posts to the deletion of what nobody needs.
CREATE TABLE archive_files (
    id             integer GENERATED ALWAYS AS IDENTITY PRIMARY KEY,
    name           text NOT NULL UNIQUE,        -- below the archive's root; a claim never takes another's
    source         text NOT NULL,
    day            date NOT NULL,               -- of event time, UTC
    state          text NOT NULL DEFAULT 'claimed' CHECK (state IN ('claimed', 'archived', 'discarded')),
    since          timestamptz NOT NULL DEFAULT clock_timestamp(),   -- in this state
    lease_until    timestamptz NOT NULL,        -- claimed: whoever finds it over may give the claim up
    manifest       jsonb,                       -- archived: what lies beside the file
    CHECK (state <> 'archived' OR manifest IS NOT NULL)
);
CREATE INDEX archive_files_by_day ON archive_files (day, source);
CREATE INDEX archive_files_under_way ON archive_files (state) WHERE state <> 'archived';

-- Which posts a mover is writing at the moment. Empty while none does.
CREATE TABLE archive_claims (
    post_pk bigint PRIMARY KEY,
    file_id integer NOT NULL
);
CREATE INDEX archive_claims_by_file ON archive_claims (file_id);

-- Where an archived post is: one slim row for each, as long as its file exists. A source that sends one again finds it
-- here. `key` is half the SHA-256 of the post's id, `author_key` eight bytes of that of its author.
CREATE TABLE archived_posts (
    key        bytea PRIMARY KEY,
    file_id    integer NOT NULL,
    author_key bigint NOT NULL
);
CREATE INDEX archived_posts_by_author ON archived_posts (author_key);
CREATE INDEX archived_posts_by_file ON archived_posts (file_id);

-- Archived posts that were deleted since. They stay in their file and are never shown; until they are settled, they are
-- still counted.
CREATE TABLE archive_withdrawals (
    key        bytea NOT NULL,
    file_id    integer NOT NULL,
    rev        text NOT NULL,                   -- of the deletion; empty: whatever the post's is
    author_key bigint NOT NULL,
    settled    boolean NOT NULL DEFAULT false,
    PRIMARY KEY (key, file_id)
);
CREATE INDEX archive_withdrawals_by_file ON archive_withdrawals (file_id);
CREATE INDEX archive_withdrawals_pending ON archive_withdrawals (file_id) WHERE NOT settled;
-- Files that hold posts of an account taken down since, not yet subtracted from the counts.
CREATE TABLE archive_takedowns (
    file_id integer NOT NULL,
    source  text NOT NULL,
    author  text NOT NULL,
    PRIMARY KEY (file_id, source, author)
);

-- How the mover finds what has been here longest.
CREATE INDEX posts_by_ingestion ON posts (ingested_at);

-- Cleanup goes by when a row was written, on this database's clock.
ALTER TABLE alerts ADD COLUMN recorded_at timestamptz NOT NULL DEFAULT clock_timestamp();
CREATE INDEX alerts_by_record ON alerts (recorded_at);
CREATE INDEX tombstones_by_age ON tombstones (deleted_at);
CREATE INDEX author_tombstones_by_age ON author_tombstones (deleted_at);
