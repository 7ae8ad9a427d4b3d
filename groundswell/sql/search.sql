-- The lexical leg. `{rank}`, `{window}`, `{matches}` and `{some}` stand for fixed conditions of the adapter, never for
-- what people type.

-- name: newest
-- The matches among the newest posts, newest first: walks the time index, so it costs the same for every word.
SELECT r.pk, {rank}
FROM (
    SELECT p.pk, p.event_time, p.search, p.text, p.entities, p.author, p.lang, p.source, p.fingerprint
    FROM posts p
    WHERE {window}
    ORDER BY p.event_time DESC, p.pk DESC LIMIT %(window)s
) r
WHERE {matches}
ORDER BY r.event_time DESC, r.pk DESC LIMIT %(depth)s

-- name: all
-- The newest matches of all posts. Adding nothing to the time keeps the planner from walking the time index, which
-- it would do for ever where a word is rarer than it believes: the word and entity indexes answer this.
SELECT r.pk, {rank}
FROM (
    SELECT p.pk, p.event_time, p.search FROM posts p
    WHERE {window} AND {matches}
    ORDER BY p.event_time + interval '0' DESC, p.pk DESC LIMIT %(depth)s
) r
ORDER BY r.event_time DESC, r.pk DESC

-- name: recent
-- No words, only filters: the newest posts that pass them.
SELECT r.pk, 0
FROM posts r
WHERE {window} AND {matches}
ORDER BY r.event_time DESC, r.pk DESC LIMIT %(depth)s

-- name: some
-- Posts with some of the words: looked for by the rarer ones, ranked by how much of the query they say.
SELECT s.pk, s.said
FROM (
    SELECT r.pk, r.event_time, {said} AS said
    FROM (
        SELECT p.pk, p.event_time, p.search FROM posts p
        WHERE {window} AND {matches} AND p.search @@ %(any)s::tsquery
        ORDER BY p.event_time + interval '0' DESC, p.pk DESC LIMIT %(candidates)s
    ) r
) s
WHERE s.said >= %(enough)s
ORDER BY s.said DESC, s.event_time DESC, s.pk DESC LIMIT %(depth)s

-- name: related
-- The newest posts that share an entity, those first that share most.
SELECT s.pk, s.shared
FROM (
    SELECT r.pk, r.event_time,
           (SELECT count(*) FROM unnest(r.entities) e WHERE e = ANY(%(shared)s::text[])) AS shared
    FROM (
        SELECT p.pk, p.event_time, p.entities FROM posts p
        WHERE {window} AND {matches} AND p.entities && %(shared)s::text[]
        ORDER BY p.event_time DESC, p.pk DESC LIMIT %(candidates)s
    ) r
) s
ORDER BY s.shared DESC, s.event_time DESC, s.pk DESC LIMIT %(depth)s

-- name: common_terms
-- The terms that many posts hold, as ANALYZE found them, each with the part of all posts; and the number of posts.
SELECT e.term, e.part, greatest(c.reltuples, 0)::bigint
FROM pg_class c
LEFT JOIN (
    SELECT s.tablename, t.term, t.part
    FROM pg_stats s, unnest(s.most_common_elems::text::text[], s.most_common_elem_freqs) AS t (term, part)
    WHERE s.schemaname = current_schema() AND s.attname = 'search' AND t.term IS NOT NULL
) e ON e.tablename = c.relname
WHERE c.oid = 'posts'::regclass

-- name: horizon
SELECT coalesce((SELECT max(pk) FROM posts), 0), (extract(epoch FROM clock_timestamp()) * 1000000)::bigint

-- name: traits
-- What a release without fingerprints stored comes with its text instead. Posts with what is excluded are left out.
SELECT pk, (extract(epoch FROM event_time) * 1000000)::bigint, fingerprint,
       CASE WHEN fingerprint IS NULL THEN text END
FROM posts WHERE pk = ANY(%(pks)b::bigint[]) AND {window} AND {matches}

-- name: copies
-- Of each fingerprint as many as the bound allows.
SELECT f.fingerprint, c.number
FROM unnest(%(prints)b::bigint[]) AS f (fingerprint)
CROSS JOIN LATERAL (
    SELECT count(*) AS number FROM (
        SELECT 1 FROM posts p WHERE p.fingerprint = f.fingerprint AND {window} AND {matches} LIMIT %(most)s
    ) counted
) c

-- name: by_pk
-- Posts to show.
SELECT pk, id, source, author, text, lang,
       (extract(epoch FROM created_at) * 1000000)::bigint, (extract(epoch FROM event_time) * 1000000)::bigint,
       rev, entities, reply_to, quote_of, labels, restricted
FROM posts WHERE pk = ANY(%(pks)b::bigint[]) AND (%(signed_in)s OR NOT restricted)

-- name: by_id
SELECT pk, id, source, author, text, lang,
       (extract(epoch FROM created_at) * 1000000)::bigint, (extract(epoch FROM event_time) * 1000000)::bigint,
       rev, entities, reply_to, quote_of, labels, restricted
FROM posts WHERE id = %(id)s AND (%(signed_in)s OR NOT restricted)
