-- The latest state of each account, by the source's own time. Active ones are forgotten after a while: they only keep an
-- older state that is sent again from counting.
CREATE TABLE account_states (
    source     text NOT NULL,
    author     text NOT NULL,
    status     text NOT NULL,
    hidden     boolean NOT NULL,
    at         timestamptz NOT NULL,          -- event time
    changed_at timestamptz NOT NULL DEFAULT now(),
    PRIMARY KEY (source, author)
);
CREATE INDEX account_states_by_age ON account_states (changed_at);

-- Posts of accounts that are hidden: in no listing, count, index or file until the account is active again.
CREATE TABLE hidden_posts (
    id          text PRIMARY KEY,
    pk          bigint UNIQUE,                -- of what was shown before, so that it comes back as the same post
    source      text NOT NULL,
    author      text NOT NULL,
    text        text NOT NULL,
    lang        text,
    created_at  timestamptz,
    event_time  timestamptz NOT NULL,
    rev         text NOT NULL,
    entities    text[] NOT NULL,
    reply_to    text,
    quote_of    text,
    search      tsvector,
    fingerprint bigint,
    ingested_at timestamptz NOT NULL DEFAULT now(),
    hidden_at   timestamptz NOT NULL DEFAULT now()
);
CREATE INDEX hidden_posts_by_author ON hidden_posts (author);
CREATE INDEX hidden_posts_by_age ON hidden_posts (hidden_at);
