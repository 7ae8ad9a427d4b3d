-- Posts on their way to the vector index.

-- name: due
-- The oldest items first, with the post as it is now.
SELECT o.id, o.post_pk, o.op, p.id, p.source, p.author, p.text, p.lang,
       (extract(epoch FROM p.created_at) * 1000000)::bigint, (extract(epoch FROM p.event_time) * 1000000)::bigint,
       p.rev, p.entities, p.reply_to, p.quote_of, p.fingerprint
FROM (SELECT * FROM outbox WHERE id > %(after)s ORDER BY id LIMIT %(limit)s) o
LEFT JOIN posts p ON p.pk = o.post_pk
ORDER BY o.id

-- name: finish
-- `space` is null for posts that are gone, or that hold nothing to embed.
WITH finished AS (
    DELETE FROM outbox WHERE id = ANY(%(id)b::bigint[])
)
INSERT INTO post_vectors AS v (post_pk, space)
SELECT t.pk, %(space)s FROM unnest(%(pk)b::bigint[]) AS t (pk) JOIN posts p ON p.pk = t.pk
ON CONFLICT (post_pk) DO UPDATE SET space = excluded.space

-- name: depth
SELECT count(*) FROM outbox

-- name: start_anew
WITH lost AS (
    DELETE FROM post_vectors RETURNING post_pk
)
INSERT INTO outbox (post_pk, op) SELECT post_pk, 'upsert' FROM lost ORDER BY post_pk
