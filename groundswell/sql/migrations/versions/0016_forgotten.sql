-- Authors who asked to be forgotten: what any source sends of theirs is not stored. `key` is the SHA-256 of the author's
-- id, so that the list itself names nobody.
CREATE TABLE forgotten_authors (
    key          bytea PRIMARY KEY,
    forgotten_at timestamptz NOT NULL DEFAULT now()
);
CREATE INDEX archive_withdrawals_by_author ON archive_withdrawals (author_key);
