-- Keeping what search reads in step with the posts, and making it anew.

-- name: oldest
SELECT (extract(epoch FROM min(event_time)) * 1000000)::bigint FROM posts

-- name: queue_before
-- Posts that arrived with an old event time while the index forgot what is older.
INSERT INTO outbox (post_pk, op)
SELECT pk, 'upsert' FROM posts WHERE event_time < timestamptz 'epoch' + %(instant)s::bigint * interval '1 microsecond'

-- name: not_cut
SELECT pk, text FROM posts WHERE fingerprint IS NULL ORDER BY pk LIMIT %(limit)s FOR UPDATE SKIP LOCKED

-- name: cut
UPDATE posts p SET search = i.search::tsvector, fingerprint = i.fingerprint
FROM unnest(%(pk)b::bigint[], %(search)b::text[], %(fingerprint)b::bigint[]) AS i (pk, search, fingerprint)
WHERE p.pk = i.pk

-- name: begin_rebuild
-- One at a time: what was interrupted goes on.
INSERT INTO index_rebuilds (until_pk) SELECT coalesce(max(pk), 0) FROM posts
ON CONFLICT ((true)) WHERE finished_at IS NULL DO NOTHING

-- name: rebuild
SELECT r.id,
       (SELECT count(*) FROM posts p WHERE p.pk <= r.until_pk),
       (SELECT count(*) FROM posts p WHERE p.pk <= r.queued_pk),
       r.queued_pk >= r.until_pk
FROM index_rebuilds r WHERE finished_at IS NULL

-- name: queue_rebuild
-- The next posts into the outbox, and how far that brings the rebuild, together. Answers how many.
WITH next AS (
    SELECT p.pk FROM posts p JOIN index_rebuilds r ON r.id = %(id)s
    WHERE p.pk > r.queued_pk AND p.pk <= r.until_pk ORDER BY p.pk LIMIT %(limit)s
), queued AS (
    INSERT INTO outbox (post_pk, op) SELECT pk, 'upsert' FROM next ORDER BY pk
), moved AS (
    UPDATE index_rebuilds SET queued_pk = coalesce((SELECT max(pk) FROM next), until_pk) WHERE id = %(id)s
)
SELECT count(*) FROM next

-- name: finish_rebuild
UPDATE index_rebuilds SET finished_at = now() WHERE id = %(id)s

-- name: state
SELECT (SELECT count(*) FROM posts), (SELECT count(*) FROM outbox),
       (SELECT count(*) FROM posts WHERE fingerprint IS NULL),
       (SELECT (extract(epoch FROM max(finished_at)) * 1000000)::bigint FROM index_rebuilds),
       EXISTS (SELECT 1 FROM index_rebuilds WHERE finished_at IS NULL)

-- name: spaces
SELECT space, count(*) FROM post_vectors WHERE space IS NOT NULL GROUP BY space ORDER BY 2 DESC, 1

-- name: is_indexing
-- Whether a platform that runs empties the outbox: its report is a few seconds old at the most.
SELECT EXISTS (
    SELECT 1 FROM components
    WHERE component = 'vectors' AND state IN ('running', 'rebuilding')
      AND updated_at > clock_timestamp() - interval '10 seconds'
)
