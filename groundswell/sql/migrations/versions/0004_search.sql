-- The terms of a text are cut by Groundswell, not by Postgres' parser, which depends on the database's locale and takes
-- curly quotes and emoji for letters. What is stored stays as it is, and is cut anew in the background.
ALTER TABLE posts ALTER COLUMN search DROP EXPRESSION;

-- What copies of a text have in common; null where a release that knew no fingerprints stored the post.
ALTER TABLE posts ADD COLUMN fingerprint bigint;
CREATE INDEX posts_by_fingerprint ON posts (fingerprint) WHERE fingerprint IS NOT NULL;
CREATE INDEX posts_not_cut ON posts (pk) WHERE fingerprint IS NULL;

-- The release before this one writes neither: its posts are found by what Postgres makes of them until they are cut.
CREATE FUNCTION posts_cut_by_postgres() RETURNS trigger LANGUAGE plpgsql AS $$
BEGIN
    NEW.search := to_tsvector('simple', NEW.text);
    NEW.fingerprint := NULL;
    RETURN NEW;
END
$$;
CREATE TRIGGER posts_without_terms BEFORE INSERT ON posts
    FOR EACH ROW WHEN (NEW.search IS NULL) EXECUTE FUNCTION posts_cut_by_postgres();
CREATE TRIGGER posts_with_old_terms BEFORE UPDATE OF text ON posts
    FOR EACH ROW WHEN (NEW.text IS DISTINCT FROM OLD.text AND NEW.search IS NOT DISTINCT FROM OLD.search)
    EXECUTE FUNCTION posts_cut_by_postgres();

-- How far `groundswell index rebuild` has come, so that a run that was interrupted goes on.
CREATE TABLE index_rebuilds (
    id          bigint GENERATED ALWAYS AS IDENTITY PRIMARY KEY,
    until_pk    bigint NOT NULL,              -- posts up to here are indexed anew
    queued_pk   bigint NOT NULL DEFAULT 0,    -- and up to here are in the outbox, or through it
    started_at  timestamptz NOT NULL DEFAULT now(),
    finished_at timestamptz
);
CREATE UNIQUE INDEX index_rebuilds_open ON index_rebuilds ((true)) WHERE finished_at IS NULL;
