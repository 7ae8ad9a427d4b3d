-- Posts: the source of truth. `pk` is the point id in Qdrant and the tie-breaker of every listing.
CREATE TABLE posts (
    pk          bigint GENERATED ALWAYS AS IDENTITY PRIMARY KEY,
    id          text NOT NULL UNIQUE,
    source      text NOT NULL,
    author      text NOT NULL,
    text        text NOT NULL,
    lang        text,
    created_at  timestamptz,
    event_time  timestamptz NOT NULL,
    rev         text NOT NULL,
    entities    text[] NOT NULL DEFAULT '{}',
    reply_to    text,
    quote_of    text,
    ingested_at timestamptz NOT NULL DEFAULT now(),
    search      tsvector GENERATED ALWAYS AS (to_tsvector('simple', text)) STORED
);
CREATE INDEX posts_by_time ON posts (event_time DESC, pk DESC);
CREATE INDEX posts_by_author ON posts (author, event_time DESC);
CREATE INDEX posts_by_entity ON posts USING gin (entities);
CREATE INDEX posts_by_words ON posts USING gin (search);

-- A deleted post must not come back when a source re-sends its creation.
CREATE TABLE tombstones (
    id         text PRIMARY KEY,
    rev        text NOT NULL,
    deleted_at timestamptz NOT NULL DEFAULT now()
);
CREATE TABLE author_tombstones (
    source     text NOT NULL,
    author     text NOT NULL,
    cause      text NOT NULL,
    until      timestamptz NOT NULL,          -- posts of this author up to here stay away
    deleted_at timestamptz NOT NULL DEFAULT now(),
    PRIMARY KEY (source, author)
);

-- Who mentioned what in which minute. The exact basis of mentions and distinct authors; deletes subtract here.
CREATE TABLE minute_authors (
    entity   text NOT NULL,
    minute   timestamptz NOT NULL,
    source   text NOT NULL,
    author   text NOT NULL,
    mentions integer NOT NULL,
    PRIMARY KEY (entity, minute, source, author)
);
-- The same, summed: what momentum reads.
CREATE TABLE minute_counts (
    entity   text NOT NULL,
    minute   timestamptz NOT NULL,
    source   text NOT NULL,
    mentions integer NOT NULL,
    authors  integer NOT NULL,
    PRIMARY KEY (entity, minute, source)
);
CREATE INDEX minute_counts_by_minute ON minute_counts (minute);
-- Posts a minute of a whole source, with or without an entity in them.
CREATE TABLE minute_totals (
    source text NOT NULL,
    minute timestamptz NOT NULL,
    posts  integer NOT NULL,
    PRIMARY KEY (source, minute)
);

-- How many seconds of each minute a source was watched: what rates divide by.
CREATE TABLE coverage (
    source           text NOT NULL,
    minute           timestamptz NOT NULL,
    observed_seconds double precision NOT NULL CHECK (observed_seconds BETWEEN 0 AND 60),
    PRIMARY KEY (source, minute)
);
CREATE TABLE cursors (
    source        text PRIMARY KEY,
    cursor        bigint,
    covered_until timestamptz,
    updated_at    timestamptz NOT NULL DEFAULT now()
);
CREATE TABLE gaps (
    id         bigint GENERATED ALWAYS AS IDENTITY PRIMARY KEY,
    source     text NOT NULL,
    cause      text NOT NULL,
    detail     text NOT NULL DEFAULT '',
    started_at timestamptz NOT NULL,          -- event time: the last instant known to be seen
    ended_at   timestamptz,                   -- event time: the first instant seen again
    backfilled boolean NOT NULL DEFAULT false,
    opened_at  timestamptz NOT NULL DEFAULT now(),
    closed_at  timestamptz
);
CREATE UNIQUE INDEX gaps_open ON gaps (source) WHERE closed_at IS NULL;
CREATE INDEX gaps_by_time ON gaps (started_at DESC, id DESC);

-- What the vector index has not been told yet.
CREATE TABLE outbox (
    id      bigint GENERATED ALWAYS AS IDENTITY PRIMARY KEY,
    post_pk bigint NOT NULL,
    op      text NOT NULL CHECK (op IN ('upsert', 'delete'))
);
-- Which space each post was embedded into.
CREATE TABLE post_vectors (
    post_pk bigint PRIMARY KEY,
    space   text NOT NULL
);

-- Broadcast frames, in the order clients see them. `seq` is given under a lock, so commit order is seq order.
CREATE TABLE events (
    seq  bigint GENERATED ALWAYS AS IDENTITY PRIMARY KEY,
    ts   timestamptz NOT NULL DEFAULT clock_timestamp(),
    type text NOT NULL,
    live boolean NOT NULL,
    data jsonb NOT NULL,
    pks  bigint[]                             -- posts.new: the posts, read back when a client catches up
);
CREATE INDEX events_by_ts ON events (ts);

CREATE TABLE momentum (
    entity       text PRIMARY KEY,
    kind         text NOT NULL,
    name         text NOT NULL,
    as_of        timestamptz NOT NULL,
    stage        text NOT NULL,
    stage_since  timestamptz NOT NULL,
    mentions     integer NOT NULL,
    authors      integer NOT NULL,
    velocity     double precision NOT NULL,
    acceleration double precision NOT NULL,
    surprise     double precision NOT NULL,
    score        double precision NOT NULL,
    sparkline    real[] NOT NULL DEFAULT '{}'
);
CREATE INDEX momentum_by_score ON momentum (score DESC, entity);

CREATE TABLE alert_rules (
    id         bigint GENERATED ALWAYS AS IDENTITY PRIMARY KEY,
    entity     text,                          -- null: any entity
    kind       text,                          -- null: any kind
    stage      text NOT NULL DEFAULT 'rising',
    min_score  double precision NOT NULL DEFAULT 0,
    created_at timestamptz NOT NULL DEFAULT now()
);
INSERT INTO alert_rules (stage) VALUES ('rising');
CREATE TABLE alerts (
    id       bigint GENERATED ALWAYS AS IDENTITY PRIMARY KEY,
    rule_id  bigint REFERENCES alert_rules (id) ON DELETE SET NULL,
    entity   text NOT NULL,
    stage    text NOT NULL,
    score    double precision NOT NULL,
    at       timestamptz NOT NULL,            -- event time
    evidence jsonb NOT NULL
);
CREATE INDEX alerts_by_time ON alerts (at DESC, id DESC);
CREATE TABLE insights (
    id         bigint GENERATED ALWAYS AS IDENTITY PRIMARY KEY,
    kind       text NOT NULL,                 -- pulse, explain, digest
    title      text NOT NULL,
    body       text NOT NULL,
    entities   text[] NOT NULL DEFAULT '{}',
    post_ids   text[] NOT NULL DEFAULT '{}',
    model      text,                          -- null: extractive, no model
    created_at timestamptz NOT NULL DEFAULT now()
);
CREATE INDEX insights_by_time ON insights (created_at DESC, id DESC);

CREATE TABLE api_keys (
    id         bigint GENERATED ALWAYS AS IDENTITY PRIMARY KEY,
    name       text NOT NULL UNIQUE,
    hash       bytea NOT NULL UNIQUE,         -- SHA-256 of a 256-bit random key
    created_at timestamptz NOT NULL DEFAULT now()
);

-- What each running part last said of itself, for /v1/status in any process.
CREATE TABLE components (
    component  text PRIMARY KEY,
    state      text NOT NULL,
    since      timestamptz NOT NULL DEFAULT now(),
    updated_at timestamptz NOT NULL DEFAULT now(),
    detail     jsonb NOT NULL DEFAULT '{}'
);
