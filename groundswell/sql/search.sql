-- The lexical leg. `{rank}`, `{window}` and `{matches}` stand for fixed conditions of the adapter, never for what people
-- type.

-- name: newest
-- The matches among the newest posts, newest first: walks the time index, so it costs the same for every word.
SELECT r.pk, {rank}
FROM (
    SELECT p.pk, p.event_time, p.search, p.text, p.entities, p.author, p.lang, p.source
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

-- name: by_pk
-- Posts to show.
SELECT pk, id, source, author, text, lang,
       (extract(epoch FROM created_at) * 1000000)::bigint, (extract(epoch FROM event_time) * 1000000)::bigint,
       rev, entities, reply_to, quote_of
FROM posts WHERE pk = ANY(%(pks)b::bigint[])
