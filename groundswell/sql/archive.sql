-- Moving old posts to files of the archive, and back. Whatever changes a post's place holds the lock 7302002 alone;
-- every batch that is stored shares it.

-- name: lock_places
SELECT pg_advisory_xact_lock(7302002)

-- name: oldest_due
-- Source and day of what has been here longest of all that is due. A day is due as a whole, once it is over and past
-- the hot window by this clock; what was ingested or restored lately stays, however old it is.
WITH cutoff AS MATERIALIZED (
    SELECT date_trunc('day', clock_timestamp() - %(hot_s)s::float8 * interval '1 second') AS at
)
SELECT p.source, (p.event_time AT TIME ZONE 'UTC')::date, c.at
FROM cutoff c, posts p
WHERE p.ingested_at < c.at AND p.event_time < c.at
  AND NOT EXISTS (SELECT 1 FROM archive_claims a WHERE a.post_pk = p.pk)
ORDER BY p.ingested_at LIMIT 1

-- name: open_file
INSERT INTO archive_files (name, source, day, lease_until)
VALUES (%(name)s, %(source)s, %(day)s, clock_timestamp() + %(lease_s)s::float8 * interval '1 second')
RETURNING id

-- name: claim
-- What another mover is claiming just now is skipped, and what it has claimed already conflicts.
WITH due AS (
    SELECT p.pk FROM posts p
    WHERE p.source = %(source)s AND p.event_time >= %(day)s::date AND p.event_time < %(day)s::date + 1
      AND p.ingested_at < %(cutoff)s::timestamptz
      AND NOT EXISTS (SELECT 1 FROM archive_claims a WHERE a.post_pk = p.pk)
    ORDER BY p.event_time, p.pk LIMIT %(limit)s
    FOR UPDATE OF p SKIP LOCKED
)
INSERT INTO archive_claims (post_pk, file_id) SELECT pk, %(file_id)s FROM due ON CONFLICT (post_pk) DO NOTHING

-- name: claimed
SELECT p.pk, p.id, p.source, p.author, p.text, p.lang, (extract(epoch FROM p.created_at) * 1000000)::bigint,
       (extract(epoch FROM p.event_time) * 1000000)::bigint, p.rev, p.entities, p.reply_to, p.quote_of,
       (extract(epoch FROM p.ingested_at) * 1000000)::bigint
FROM archive_claims c JOIN posts p ON p.pk = c.post_pk
WHERE c.file_id = %(file_id)s AND p.pk > %(after)s
ORDER BY p.pk LIMIT %(limit)s

-- name: lock_claim
SELECT state FROM archive_files WHERE id = %(file_id)s FOR UPDATE

-- name: take_out
-- Posts that are still what was written leave, from the vector index too, and are known to be in the file from now on.
-- Of those that were edited or deleted meanwhile the file holds a row that is never shown and counts nothing: they are
-- withdrawn and settled at once. Answers how many left.
WITH written AS (
    SELECT * FROM unnest(%(pk)b::bigint[], %(rev)b::text[], %(key)b::bytea[], %(author_key)b::bigint[])
    AS t (pk, rev, key, author_key)
), gone AS (
    DELETE FROM posts p USING written w, archive_claims c
    WHERE p.pk = w.pk AND p.rev = w.rev AND c.post_pk = p.pk AND c.file_id = %(file_id)s
    RETURNING p.pk, w.key, w.author_key, p.labels, p.restricted
), unqueued AS (
    DELETE FROM outbox o USING gone g WHERE o.post_pk = g.pk
), forgotten AS (
    DELETE FROM post_vectors v USING gone g WHERE v.post_pk = g.pk RETURNING v.post_pk
), queued AS (
    INSERT INTO outbox (post_pk, op) SELECT post_pk, 'delete' FROM forgotten ORDER BY post_pk
), indexed AS (
    INSERT INTO archived_posts (key, file_id, author_key, labels, restricted)
    SELECT key, %(file_id)s, author_key, labels, restricted FROM gone
), withdrawn AS (
    INSERT INTO archive_withdrawals (key, file_id, author_key, rev, settled)
    SELECT w.key, %(file_id)s, w.author_key, '', true
    FROM written w WHERE NOT EXISTS (SELECT 1 FROM gone g WHERE g.pk = w.pk)
)
SELECT count(*) FROM gone

-- name: close_claim
WITH freed AS (
    DELETE FROM archive_claims WHERE file_id = %(file_id)s
)
UPDATE archive_files SET state = 'archived', since = clock_timestamp(), manifest = %(manifest)s::jsonb
WHERE id = %(file_id)s

-- name: give_up
WITH given AS (
    UPDATE archive_files SET state = 'discarded', since = clock_timestamp()
    WHERE id = %(file_id)s AND state = 'claimed' RETURNING id
), freed AS (
    DELETE FROM archive_claims c USING given g WHERE c.file_id = g.id
)
SELECT count(*) FROM given

-- name: expire
WITH expired AS (
    UPDATE archive_files SET state = 'discarded', since = clock_timestamp()
    WHERE state = 'claimed' AND lease_until < clock_timestamp() RETURNING id
), freed AS (
    DELETE FROM archive_claims c USING expired e WHERE c.file_id = e.id
)
SELECT count(*) FROM expired

-- name: discarded
SELECT id, name FROM archive_files WHERE state = 'discarded' ORDER BY id LIMIT 1000

-- name: forget
-- A mover that was only slow may still write the file of a claim it has lost: its name is deleted again for an hour.
WITH forgotten AS (
    DELETE FROM archive_files
    WHERE id = %(file_id)s AND state = 'discarded'
      AND GREATEST(since, lease_until) < clock_timestamp() - interval '1 hour'
    RETURNING id
)
DELETE FROM archive_withdrawals w USING forgotten f WHERE w.file_id = f.id

-- name: files
SELECT f.id, f.manifest::text, (SELECT count(*) FROM archive_withdrawals w WHERE w.file_id = f.id)
FROM archive_files f
WHERE f.state = 'archived'
  AND (%(since)s::date IS NULL OR f.day >= %(since)s::date)
  AND (%(until)s::date IS NULL OR f.day <= %(until)s::date)
  AND (%(source)s::text IS NULL OR f.source = %(source)s)
ORDER BY f.day, f.source, f.id

-- name: file_of
SELECT f.id, f.manifest::text, 0
FROM archived_posts a JOIN archive_files f ON f.id = a.file_id
WHERE a.key = %(key)s

-- name: labels_of
SELECT labels, restricted FROM archived_posts WHERE key = %(key)s

-- name: names
SELECT name FROM archive_files

-- name: withdrawn_keys
SELECT file_id, key FROM archive_withdrawals WHERE file_id = ANY(%(file_ids)s::integer[])

-- name: withdrawn_authors
-- Accounts that were deleted or hidden and whose posts in these files have not been withdrawn one by one yet: up to when
-- their posts are gone, and whether all others are hidden.
SELECT DISTINCT t.source, t.author, (extract(epoch FROM a.until) * 1000000)::bigint, COALESCE(s.hidden, false)
FROM archive_takedowns t LEFT JOIN author_tombstones a USING (source, author)
LEFT JOIN account_states s USING (source, author)
WHERE t.file_id = ANY(%(file_ids)s::integer[])

-- name: pending_file
SELECT f.id, f.manifest::text, 0 FROM archive_files f
WHERE f.state = 'archived' AND f.id > %(after)s
  AND (EXISTS (SELECT 1 FROM archive_withdrawals w WHERE w.file_id = f.id AND NOT w.settled)
       OR EXISTS (SELECT 1 FROM archive_takedowns t WHERE t.file_id = f.id))
ORDER BY f.id LIMIT 1

-- name: pending_revs
SELECT key, rev FROM archive_withdrawals WHERE file_id = %(file_id)s AND NOT settled

-- name: settle
-- Answers the keys that had not been settled before: each is taken out of the counts once.
WITH given AS (
    SELECT key FROM unnest(%(key)b::bytea[]) AS t (key)
), marked AS (
    UPDATE archive_withdrawals w SET settled = true FROM given g
    WHERE w.key = g.key AND w.file_id = %(file_id)s AND NOT w.settled RETURNING w.key
), moved AS (
    DELETE FROM archived_posts a USING given g WHERE a.key = g.key AND a.file_id = %(file_id)s
    RETURNING a.key, a.file_id, a.author_key, a.labels, a.restricted
), withdrawn AS (
    INSERT INTO archive_withdrawals (key, file_id, author_key, rev, settled)
    SELECT key, file_id, author_key, '', true FROM moved
)
SELECT key, '{}'::text[], true FROM marked UNION ALL SELECT key, labels, restricted FROM moved

-- name: reinstate
-- Deletions that were older than their post: it stays.
WITH wrong AS (
    DELETE FROM archive_withdrawals WHERE key = ANY(%(key)b::bytea[]) AND file_id = %(file_id)s AND NOT settled
    RETURNING key, file_id, author_key
)
INSERT INTO archived_posts (key, file_id, author_key) SELECT key, file_id, author_key FROM wrong
ON CONFLICT (key) DO NOTHING

-- name: settle_takedowns
DELETE FROM archive_takedowns t
USING unnest(%(source)s::text[], %(author)s::text[]) AS d (source, author)
WHERE t.file_id = %(file_id)s AND t.source = d.source AND t.author = d.author

-- name: hide_archived
-- Posts of hidden accounts go from their file to where the others of theirs are, to come back with them.
INSERT INTO hidden_posts (pk, id, source, author, text, lang, created_at, event_time, rev, entities, reply_to, quote_of,
                          search, fingerprint, ingested_at, labels, restricted)
SELECT i.pk, i.id, i.source, i.author, i.text, i.lang,
       timestamptz 'epoch' + i.created_at * interval '1 microsecond',
       timestamptz 'epoch' + i.event_time * interval '1 microsecond',
       i.rev, string_to_array(i.entities, E'\x1f'), i.reply_to, i.quote_of, i.search::tsvector, i.fingerprint,
       timestamptz 'epoch' + i.ingested_at * interval '1 microsecond', string_to_array(i.labels, E'\x1f'), i.restricted
FROM unnest(
    %(key)b::bytea[], %(pk)b::bigint[], %(id)b::text[], %(source)b::text[], %(author)b::text[], %(text)b::text[],
    %(lang)b::text[], %(created_at)b::bigint[], %(event_time)b::bigint[], %(rev)b::text[], %(entities)b::text[],
    %(reply_to)b::text[], %(quote_of)b::text[], %(search)b::text[], %(fingerprint)b::bigint[],
    %(ingested_at)b::bigint[], %(labels)b::text[], %(restricted)b::boolean[]
) AS i (key, pk, id, source, author, text, lang, created_at, event_time, rev, entities, reply_to, quote_of, search,
        fingerprint, ingested_at, labels, restricted)
ON CONFLICT (id) DO NOTHING

-- name: lock_archived
SELECT 1 FROM archive_files WHERE id = %(file_id)s AND state = 'archived' FOR UPDATE

-- name: restore
-- Posts that are still in the file come back under their own keys, and to the vector index. They have been ingested
-- just now: another hot window passes before they move again.
WITH incoming AS (
    SELECT * FROM unnest(
        %(key)b::bytea[], %(pk)b::bigint[], %(id)b::text[], %(source)b::text[], %(author)b::text[], %(text)b::text[],
        %(lang)b::text[], %(created_at)b::bigint[], %(event_time)b::bigint[], %(rev)b::text[], %(entities)b::text[],
        %(reply_to)b::text[], %(quote_of)b::text[], %(search)b::text[], %(fingerprint)b::bigint[]
    ) AS t (key, pk, id, source, author, text, lang, created_at, event_time, rev, entities, reply_to, quote_of, search,
            fingerprint)
), leaving AS (
    DELETE FROM archived_posts a USING incoming i WHERE a.key = i.key AND a.file_id = %(file_id)s
    RETURNING a.key, a.labels, a.restricted
), stored AS (
    INSERT INTO posts (pk, id, source, author, text, lang, created_at, event_time, rev, entities, reply_to, quote_of,
                       search, fingerprint, ingested_at, labels, restricted)
    OVERRIDING SYSTEM VALUE
    SELECT i.pk, i.id, i.source, i.author, i.text, i.lang,
           timestamptz 'epoch' + i.created_at * interval '1 microsecond',
           timestamptz 'epoch' + i.event_time * interval '1 microsecond',
           i.rev, string_to_array(i.entities, E'\x1f'), i.reply_to, i.quote_of, i.search::tsvector,
           i.fingerprint, clock_timestamp(), l.labels, l.restricted
    FROM incoming i JOIN leaving l USING (key)
    ORDER BY i.pk
    RETURNING pk
), queued AS (
    INSERT INTO outbox (post_pk, op) SELECT pk, 'upsert' FROM stored ORDER BY pk
)
SELECT count(*) FROM stored

-- name: discard
UPDATE archive_files SET state = 'discarded', since = clock_timestamp() WHERE id = %(file_id)s
