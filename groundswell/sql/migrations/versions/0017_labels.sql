-- What authors say of their own posts and profiles. `restricted`: the post, or the profile of its author, asks to be kept
-- from readers who are not signed in.
ALTER TABLE posts ADD COLUMN labels text[] NOT NULL DEFAULT '{}', ADD COLUMN restricted boolean NOT NULL DEFAULT false;
ALTER TABLE hidden_posts
    ADD COLUMN labels text[] NOT NULL DEFAULT '{}', ADD COLUMN restricted boolean NOT NULL DEFAULT false;
ALTER TABLE archived_posts
    ADD COLUMN labels text[] NOT NULL DEFAULT '{}', ADD COLUMN restricted boolean NOT NULL DEFAULT false;

-- Profiles without labels are remembered for a while, so that an older one that is sent again does not count.
CREATE TABLE author_labels (
    source     text NOT NULL,
    author     text NOT NULL,
    labels     text[] NOT NULL,
    restricted boolean NOT NULL,
    rev        text NOT NULL,
    changed_at timestamptz NOT NULL DEFAULT now(),
    PRIMARY KEY (source, author)
);
CREATE INDEX author_labels_by_age ON author_labels (changed_at);

-- Whether a client brought an API key.
ALTER TABLE ws_connections ADD COLUMN signed_in boolean NOT NULL DEFAULT false;
