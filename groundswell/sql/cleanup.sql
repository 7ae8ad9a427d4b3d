-- What is only kept for a while goes in small bites, by this clock, so that no lock is held for long. Each statement
-- takes `keep_s` where there is an age, and `limit`.

-- name: events
-- Broadcast frames that no client can ask for any more.
DELETE FROM events WHERE seq IN (
    SELECT seq FROM events WHERE ts < clock_timestamp() - %(keep_s)s::float8 * interval '1 second'
    ORDER BY seq LIMIT %(limit)s
)

-- name: momentum
-- Entities that no tick has assessed for long, seen from the newest assessment: a recording lives in another time.
DELETE FROM momentum WHERE entity IN (
    SELECT entity FROM momentum
    WHERE as_of < (SELECT max(as_of) FROM momentum) - %(keep_s)s::float8 * interval '1 second'
    LIMIT %(limit)s
)

-- name: late_counts
-- Notes of changed counts that every tick has read by now. Those that came too late for an hour that is still to be
-- learnt are needed until it is; where nothing learns any more, for a day.
DELETE FROM late_counts WHERE ctid = ANY (ARRAY(
    SELECT ctid FROM late_counts
    WHERE noted_at < clock_timestamp() - %(keep_s)s::float8 * interval '1 second'
      AND (quarter IS NULL OR quarter < (SELECT (min(hour) + 1) * 4 + 1 FROM watched)
           OR noted_at < clock_timestamp() - interval '1 day')
    LIMIT %(limit)s
))

-- name: alerts
DELETE FROM alerts WHERE id IN (
    SELECT id FROM alerts WHERE recorded_at < clock_timestamp() - %(keep_s)s::float8 * interval '1 second'
    ORDER BY recorded_at LIMIT %(limit)s
)

-- name: archived_posts
-- Posts of files that were deleted from the archive because of their age.
DELETE FROM archived_posts WHERE key IN (
    SELECT a.key FROM archived_posts a JOIN archive_files f ON f.id = a.file_id
    WHERE f.state = 'archived' AND f.since < clock_timestamp() - %(keep_s)s::float8 * interval '1 second'
    LIMIT %(limit)s
)

-- name: archive_files
-- Those files, when nothing points at them any more, with what was withdrawn from them.
WITH expired AS (
    SELECT f.id FROM archive_files f
    WHERE f.state = 'archived' AND f.since < clock_timestamp() - %(keep_s)s::float8 * interval '1 second'
      AND NOT EXISTS (SELECT 1 FROM archived_posts a WHERE a.file_id = f.id)
    LIMIT %(limit)s
), withdrawn AS (
    DELETE FROM archive_withdrawals WHERE file_id IN (SELECT id FROM expired)
), taken_down AS (
    DELETE FROM archive_takedowns WHERE file_id IN (SELECT id FROM expired)
)
DELETE FROM archive_files WHERE id IN (SELECT id FROM expired)

-- name: tombstones
DELETE FROM tombstones WHERE id IN (
    SELECT id FROM tombstones WHERE deleted_at < clock_timestamp() - %(keep_s)s::float8 * interval '1 second'
    ORDER BY deleted_at LIMIT %(limit)s
)

-- name: author_tombstones
-- Not while posts of theirs in the archive wait to be withdrawn one by one.
DELETE FROM author_tombstones WHERE (source, author) IN (
    SELECT source, author FROM author_tombstones a
    WHERE deleted_at < clock_timestamp() - %(keep_s)s::float8 * interval '1 second'
      AND NOT EXISTS (SELECT 1 FROM archive_takedowns t WHERE t.source = a.source AND t.author = a.author)
    ORDER BY deleted_at LIMIT %(limit)s
)

-- name: hidden_posts
-- Posts whose account has been hidden for so long that it is not waited for any more.
DELETE FROM hidden_posts WHERE id IN (
    SELECT h.id FROM hidden_posts h JOIN account_states s USING (source, author)
    WHERE h.hidden_at < clock_timestamp() - %(keep_s)s::float8 * interval '1 second'
      AND s.changed_at < clock_timestamp() - %(keep_s)s::float8 * interval '1 second'
    LIMIT %(limit)s
)

-- name: active_accounts
-- Accounts that are active: an older state of theirs is not sent again after so long.
DELETE FROM account_states WHERE (source, author) IN (
    SELECT source, author FROM account_states
    WHERE NOT hidden AND changed_at < clock_timestamp() - %(keep_s)s::float8 * interval '1 second'
    ORDER BY changed_at LIMIT %(limit)s
)

-- name: author_labels
-- Profiles that say nothing: an older one is not sent again after so long.
DELETE FROM author_labels WHERE (source, author) IN (
    SELECT source, author FROM author_labels
    WHERE labels = '{}' AND changed_at < clock_timestamp() - %(keep_s)s::float8 * interval '1 second'
    ORDER BY changed_at LIMIT %(limit)s
)

-- name: hidden_accounts
-- Accounts that have been hidden for long, when nothing of theirs is kept.
DELETE FROM account_states WHERE (source, author) IN (
    SELECT source, author FROM account_states s
    WHERE hidden AND changed_at < clock_timestamp() - %(keep_s)s::float8 * interval '1 second'
      AND NOT EXISTS (SELECT 1 FROM hidden_posts h WHERE h.author = s.author AND h.source = s.source)
      AND NOT EXISTS (SELECT 1 FROM archive_takedowns t WHERE t.author = s.author AND t.source = s.source)
    ORDER BY changed_at LIMIT %(limit)s
)

-- name: components
-- Parts that have not reported for so long that they are gone for good.
DELETE FROM components WHERE component IN (
    SELECT component FROM components WHERE updated_at < clock_timestamp() - %(keep_s)s::float8 * interval '1 second'
    LIMIT %(limit)s
)

-- name: outbox
-- Entries about posts that are gone and that a later entry speaks of, among the oldest ones.
WITH oldest AS MATERIALIZED (
    SELECT id, post_pk, op FROM outbox ORDER BY id LIMIT %(limit)s
)
DELETE FROM outbox o USING oldest a
WHERE o.id = a.id AND EXISTS (SELECT 1 FROM oldest b WHERE b.post_pk = a.post_pk AND b.id > a.id)
  AND NOT EXISTS (SELECT 1 FROM posts p WHERE p.pk = a.post_pk)

-- name: indexed_pks
-- A page of the posts that were put into the vector index, ascending.
SELECT post_pk FROM post_vectors
WHERE post_pk > %(after)s AND (%(until)s::bigint IS NULL OR post_pk <= %(until)s) ORDER BY post_pk LIMIT %(limit)s

-- name: anywhere
-- A number by chance between the first and the last post of the vector index; -1 where there is none.
SELECT coalesce(min(post_pk) + floor(random() * (max(post_pk) - min(post_pk)))::bigint, 0) - 1 FROM post_vectors

-- name: ownerless
-- Of these points, those of which Postgres has no post and nothing in the outbox that will see to it.
SELECT t.pk FROM unnest(%(pk)b::bigint[]) AS t (pk)
WHERE NOT EXISTS (SELECT 1 FROM posts p WHERE p.pk = t.pk)
  AND NOT EXISTS (SELECT 1 FROM outbox o WHERE o.post_pk = t.pk)

-- name: index_again
WITH missing AS (
    DELETE FROM post_vectors v USING unnest(%(pk)b::bigint[]) AS t (pk) WHERE v.post_pk = t.pk RETURNING v.post_pk
)
INSERT INTO outbox (post_pk, op) SELECT m.post_pk, 'upsert' FROM missing m JOIN posts p ON p.pk = m.post_pk
