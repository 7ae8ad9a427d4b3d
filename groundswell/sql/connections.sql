-- Clients whose sockets API Gateway holds, and what they cost.

-- name: add
-- Also for a client whose $connect was lost to a failure: it is taken in when it first speaks.
INSERT INTO ws_connections (connection_id, signed_in) VALUES (%(connection_id)s, %(signed_in)s) ON CONFLICT DO NOTHING

-- name: remove
-- They have left, or were found to be gone.
DELETE FROM ws_connections WHERE connection_id = ANY(%(connection_id)s::text[])

-- name: lock_one
-- What a client frame works on, and the newest event that is visible: what is stored later is sent, or caught up with.
SELECT coalesce((SELECT max(seq) FROM events), 0), connection_id, topics, paused_at, greeted_at, signed_in
FROM ws_connections WHERE connection_id = %(connection_id)s FOR UPDATE

-- name: update_one
-- What the client's frame made of it.
UPDATE ws_connections
SET topics = %(topics)s::text[], paused_at = %(paused_at)s::bigint, greeted_at = %(greeted_at)s::bigint,
    heard_at = clock_timestamp()
WHERE connection_id = %(connection_id)s

-- name: all
-- Everybody who has been greeted, for a broadcaster that starts.
SELECT connection_id, topics, paused_at, greeted_at, signed_in FROM ws_connections WHERE greeted_at IS NOT NULL
ORDER BY connected_at, connection_id LIMIT %(limit)s

-- name: some
-- Those that a notification named; who is missing has left.
SELECT connection_id, topics, paused_at, greeted_at, signed_in FROM ws_connections
WHERE greeted_at IS NOT NULL AND connection_id = ANY(%(connection_id)s::text[])

-- name: forget_stale
-- API Gateway ends every connection after two hours: what is older was left behind.
DELETE FROM ws_connections WHERE connection_id IN (
    SELECT connection_id FROM ws_connections
    WHERE connected_at < clock_timestamp() - make_interval(secs => %(keep_s)s)
    ORDER BY connected_at LIMIT %(limit)s FOR UPDATE SKIP LOCKED
)

-- name: spend
-- Answers what the month has cost so far and how long it lasts, both by the database's clock.
WITH month AS (SELECT date_trunc('month', clock_timestamp() AT TIME ZONE 'UTC') AS start, clock_timestamp() AS now)
INSERT INTO message_spend AS s (month, messages) SELECT start::date, %(messages)s FROM month
ON CONFLICT (month) DO UPDATE SET messages = s.messages + excluded.messages
RETURNING messages, (SELECT extract(epoch FROM (start + interval '1 month') AT TIME ZONE 'UTC' - now)::float8 FROM month)
