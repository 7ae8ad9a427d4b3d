-- The write side: everything here runs inside the one transaction that stores a batch, in this order.

-- name: lock_source
-- Serialises the batches of a source and tells how far it has been stored. Shares the lock that the mover takes for
-- itself while posts change places, so that every later statement finds each of them in exactly one place.
INSERT INTO cursors AS c (source) VALUES (%(source)s)
ON CONFLICT (source) DO UPDATE SET updated_at = now()
RETURNING c.cursor, (extract(epoch FROM c.covered_until) * 1000000)::bigint, pg_advisory_xact_lock_shared(7302002)

-- name: insert_posts
-- New posts in the order given, each with an outbox entry. What was deleted, is stored already, has been archived or is
-- of a forgotten author is left out. Posts of hidden accounts go where those are: they come back together. Answers the
-- key of each new post; null for a hidden one.
WITH incoming AS (
    SELECT * FROM unnest(
        %(id)b::text[], %(key)b::bytea[], %(author)b::text[], %(author_hash)b::bytea[], %(text)b::text[],
        %(lang)b::text[], %(created_at)b::bigint[], %(event_time)b::bigint[], %(rev)b::text[], %(entities)b::text[],
        %(reply_to)b::text[], %(quote_of)b::text[], %(search)b::text[], %(fingerprint)b::bigint[], %(labels)b::text[],
        %(restricted)b::boolean[]
    ) WITH ORDINALITY
    AS t (id, key, author, author_hash, text, lang, created_at, event_time, rev, entities, reply_to, quote_of, search,
          fingerprint, labels, asks, position)
), timed AS (
    SELECT i.*, timestamptz 'epoch' + event_time * interval '1 microsecond' AS happened FROM incoming i
), taken AS (
    SELECT i.*, string_to_array(i.labels, E'\x1f') AS said,
           EXISTS (SELECT 1 FROM account_states s
                   WHERE s.source = %(source)s AND s.author = i.author AND s.hidden) AS hidden,
           i.asks OR EXISTS (SELECT 1 FROM author_labels l
                             WHERE l.source = %(source)s AND l.author = i.author AND l.restricted) AS restricted
    FROM timed i
    WHERE NOT EXISTS (SELECT 1 FROM tombstones t WHERE t.id = i.id AND t.rev >= i.rev)
      AND NOT EXISTS (SELECT 1 FROM author_tombstones a
                      WHERE a.source = %(source)s AND a.author = i.author AND a.until >= i.happened)
      AND NOT EXISTS (SELECT 1 FROM archived_posts a WHERE a.key = i.key)
      AND NOT EXISTS (SELECT 1 FROM forgotten_authors f WHERE f.key = i.author_hash)
), stored AS (
    INSERT INTO posts (id, source, author, text, lang, created_at, event_time, rev, entities, reply_to, quote_of,
                       search, fingerprint, labels, restricted)
    SELECT i.id, %(source)s, i.author, i.text, i.lang,
           timestamptz 'epoch' + i.created_at * interval '1 microsecond',
           i.happened, i.rev, string_to_array(i.entities, E'\x1f'), i.reply_to, i.quote_of,
           i.search::tsvector, i.fingerprint, i.said, i.restricted
    FROM taken i WHERE NOT i.hidden
    ORDER BY i.position
    ON CONFLICT (id) DO NOTHING
    RETURNING pk, id, restricted
), queued AS (
    INSERT INTO outbox (post_pk, op) SELECT pk, 'upsert' FROM stored
), kept AS (
    INSERT INTO hidden_posts (id, source, author, text, lang, created_at, event_time, rev, entities, reply_to, quote_of,
                              search, fingerprint, labels, restricted)
    SELECT i.id, %(source)s, i.author, i.text, i.lang,
           timestamptz 'epoch' + i.created_at * interval '1 microsecond',
           i.happened, i.rev, string_to_array(i.entities, E'\x1f'), i.reply_to, i.quote_of,
           i.search::tsvector, i.fingerprint, i.said, i.restricted
    FROM taken i WHERE i.hidden
    ON CONFLICT (id) DO NOTHING
    RETURNING id
)
SELECT pk, id, restricted FROM stored UNION ALL SELECT NULL, id, true FROM kept ORDER BY pk

-- name: lock_older_hidden_revisions
-- Posts of hidden accounts that an edit supersedes.
SELECT h.id FROM hidden_posts h JOIN unnest(%(id)b::text[], %(rev)b::text[]) AS i (id, rev) ON h.id = i.id AND h.rev < i.rev
FOR UPDATE OF h

-- name: lock_older_revisions
-- Stored posts that an edit supersedes, with what they counted so far.
SELECT p.pk, p.id, p.author, p.entities, (extract(epoch FROM p.event_time) * 1000000)::bigint
FROM posts p JOIN unnest(%(id)b::text[], %(rev)b::text[]) AS i (id, rev) ON p.id = i.id AND p.rev < i.rev
FOR UPDATE OF p

-- name: update_posts
-- Edits keep the event time of the original, so that they stay in the minute that they were counted in.
WITH incoming AS (
    SELECT * FROM unnest(
        %(pk)b::bigint[], %(text)b::text[], %(lang)b::text[], %(rev)b::text[], %(entities)b::text[],
        %(reply_to)b::text[], %(quote_of)b::text[], %(search)b::text[], %(fingerprint)b::bigint[], %(labels)b::text[],
        %(restricted)b::boolean[]
    ) AS t (pk, text, lang, rev, entities, reply_to, quote_of, search, fingerprint, labels, restricted)
), queued AS (
    INSERT INTO outbox (post_pk, op) SELECT pk, 'upsert' FROM incoming
)
UPDATE posts p
SET text = i.text, lang = i.lang, rev = i.rev, entities = string_to_array(i.entities, E'\x1f'),
    reply_to = i.reply_to, quote_of = i.quote_of, search = i.search::tsvector, fingerprint = i.fingerprint,
    labels = string_to_array(i.labels, E'\x1f'),
    restricted = i.restricted
        OR EXISTS (SELECT 1 FROM author_labels l WHERE l.source = p.source AND l.author = p.author AND l.restricted)
FROM incoming i WHERE p.pk = i.pk

-- name: update_hidden_posts
-- The same for posts of hidden accounts, which count nothing.
UPDATE hidden_posts h
SET text = i.text, lang = i.lang, rev = i.rev, entities = string_to_array(i.entities, E'\x1f'),
    reply_to = i.reply_to, quote_of = i.quote_of, search = i.search::tsvector, fingerprint = i.fingerprint,
    labels = string_to_array(i.labels, E'\x1f'),
    restricted = i.restricted
        OR EXISTS (SELECT 1 FROM author_labels l WHERE l.source = h.source AND l.author = h.author AND l.restricted)
FROM unnest(
    %(id)b::text[], %(text)b::text[], %(lang)b::text[], %(rev)b::text[], %(entities)b::text[],
    %(reply_to)b::text[], %(quote_of)b::text[], %(search)b::text[], %(fingerprint)b::bigint[], %(labels)b::text[],
    %(restricted)b::boolean[]
) AS i (id, text, lang, rev, entities, reply_to, quote_of, search, fingerprint, labels, restricted)
WHERE h.id = i.id AND h.rev < i.rev

-- name: delete_posts
-- Posts withdrawn by their authors: gone here, queued to go from the vector index, and kept from coming back. Those in
-- the archive are hidden at once; the mover, which can read what they mentioned, takes them out of the counts.
WITH incoming AS (
    SELECT * FROM unnest(%(id)b::text[], %(rev)b::text[], %(key)b::bytea[]) AS t (id, rev, key)
), archived AS (
    DELETE FROM archived_posts a USING incoming i WHERE a.key = i.key RETURNING a.key, a.file_id, a.author_key, i.rev
), withdrawn AS (
    INSERT INTO archive_withdrawals (key, file_id, author_key, rev) SELECT key, file_id, author_key, rev FROM archived
    ON CONFLICT (key, file_id) DO NOTHING
), buried AS (
    INSERT INTO tombstones AS t (id, rev) SELECT id, rev FROM incoming
    ON CONFLICT (id) DO UPDATE SET rev = GREATEST(t.rev, excluded.rev), deleted_at = now()
), hidden AS (
    DELETE FROM hidden_posts h USING incoming i WHERE h.id = i.id AND (i.rev = '' OR h.rev <= i.rev)
), gone AS (
    DELETE FROM posts p USING incoming i WHERE p.id = i.id AND (i.rev = '' OR p.rev <= i.rev)
    RETURNING p.pk, p.id, p.author, p.entities, p.event_time
), forgotten AS (
    DELETE FROM post_vectors v USING gone g WHERE v.post_pk = g.pk
), queued AS (
    INSERT INTO outbox (post_pk, op) SELECT pk, 'delete' FROM gone
)
SELECT pk, id, author, entities, (extract(epoch FROM event_time) * 1000000)::bigint FROM gone

-- name: delete_authors
-- Accounts that were deleted: all that they posted up to that moment. Files of the archive that may hold posts of theirs
-- are left for the mover to look through.
WITH incoming AS (
    SELECT author, author_key, cause, timestamptz 'epoch' + until * interval '1 microsecond' AS until
    FROM unnest(%(author)b::text[], %(author_key)b::bigint[], %(cause)b::text[], %(until)b::bigint[])
    AS t (author, author_key, cause, until)
), archived AS (
    INSERT INTO archive_takedowns (file_id, source, author)
    SELECT DISTINCT a.file_id, f.source, i.author
    FROM incoming i JOIN archived_posts a USING (author_key) JOIN archive_files f ON f.id = a.file_id
    WHERE f.source = %(source)s
    ON CONFLICT DO NOTHING
), buried AS (
    INSERT INTO author_tombstones AS t (source, author, cause, until)
    SELECT %(source)s, author, cause, until FROM incoming
    ON CONFLICT (source, author)
    DO UPDATE SET until = GREATEST(t.until, excluded.until), cause = excluded.cause, deleted_at = now()
), hidden AS (
    DELETE FROM hidden_posts h USING incoming i
    WHERE h.author = i.author AND h.source = %(source)s AND h.event_time <= i.until
), gone AS (
    DELETE FROM posts p USING incoming i
    WHERE p.author = i.author AND p.source = %(source)s AND p.event_time <= i.until
    RETURNING p.pk, p.id, p.author, p.entities, p.event_time
), forgotten AS (
    DELETE FROM post_vectors v USING gone g WHERE v.post_pk = g.pk
), queued AS (
    INSERT INTO outbox (post_pk, op) SELECT pk, 'delete' FROM gone
)
SELECT pk, id, author, entities, (extract(epoch FROM event_time) * 1000000)::bigint FROM gone

-- name: set_states
-- The latest state by the source's own time stands; of two of one instant the one that hides. Answers the accounts for
-- which what is given stands now.
INSERT INTO account_states AS s (source, author, status, hidden, at)
SELECT %(source)s, author, status, hidden, timestamptz 'epoch' + at * interval '1 microsecond'
FROM unnest(%(author)b::text[], %(status)b::text[], %(hidden)b::boolean[], %(at)b::bigint[])
    AS t (author, status, hidden, at)
ON CONFLICT (source, author) DO UPDATE
SET status = excluded.status, hidden = excluded.hidden, at = excluded.at, changed_at = now()
WHERE (s.at, s.hidden) <= (excluded.at, excluded.hidden)
RETURNING author, hidden

-- name: hide_posts
-- All posts of these accounts leave, from the vector index too, and are kept where nothing reads them. Files of the
-- archive that may hold posts of theirs are left for the mover to look through.
WITH incoming AS (
    SELECT * FROM unnest(%(author)b::text[], %(author_key)b::bigint[]) AS t (author, author_key)
), archived AS (
    INSERT INTO archive_takedowns (file_id, source, author)
    SELECT DISTINCT a.file_id, f.source, i.author
    FROM incoming i JOIN archived_posts a USING (author_key) JOIN archive_files f ON f.id = a.file_id
    WHERE f.source = %(source)s
    ON CONFLICT DO NOTHING
), gone AS (
    DELETE FROM posts p USING incoming i WHERE p.author = i.author AND p.source = %(source)s RETURNING p.*
), kept AS (
    INSERT INTO hidden_posts (pk, id, source, author, text, lang, created_at, event_time, rev, entities, reply_to,
                              quote_of, search, fingerprint, ingested_at, labels, restricted)
    SELECT pk, id, source, author, text, lang, created_at, event_time, rev, entities, reply_to,
           quote_of, search, fingerprint, ingested_at, labels, restricted
    FROM gone ON CONFLICT (id) DO NOTHING
), forgotten AS (
    DELETE FROM post_vectors v USING gone g WHERE v.post_pk = g.pk
), queued AS (
    INSERT INTO outbox (post_pk, op) SELECT pk, 'delete' FROM gone
)
SELECT pk, id, author, entities, (extract(epoch FROM event_time) * 1000000)::bigint FROM gone

-- name: show_posts
-- The posts of these accounts come back as they were, to the vector index too. What the archive holds of theirs and is
-- not taken out of the counts yet stays where it is.
WITH shown AS (
    DELETE FROM hidden_posts h USING unnest(%(author)b::text[]) AS i (author)
    WHERE h.author = i.author AND h.source = %(source)s RETURNING h.*
), pending AS (
    DELETE FROM archive_takedowns t USING unnest(%(author)b::text[]) AS i (author)
    WHERE t.author = i.author AND t.source = %(source)s
      AND NOT EXISTS (SELECT 1 FROM author_tombstones a WHERE a.source = t.source AND a.author = t.author)
), known AS (
    INSERT INTO posts (pk, id, source, author, text, lang, created_at, event_time, rev, entities, reply_to, quote_of,
                       search, fingerprint, ingested_at, labels, restricted)
    OVERRIDING SYSTEM VALUE
    SELECT pk, id, source, author, text, lang, created_at, event_time, rev, entities, reply_to, quote_of,
           search, fingerprint, ingested_at, labels, restricted
    FROM shown WHERE pk IS NOT NULL
    ON CONFLICT (id) DO NOTHING
    RETURNING pk, author, entities, event_time
), fresh AS (
    INSERT INTO posts (id, source, author, text, lang, created_at, event_time, rev, entities, reply_to, quote_of,
                       search, fingerprint, ingested_at, labels, restricted)
    SELECT id, source, author, text, lang, created_at, event_time, rev, entities, reply_to, quote_of,
           search, fingerprint, ingested_at, labels, restricted
    FROM shown WHERE pk IS NULL ORDER BY event_time, id
    ON CONFLICT (id) DO NOTHING
    RETURNING pk, author, entities, event_time
), stored AS (
    SELECT * FROM known UNION ALL SELECT * FROM fresh
), queued AS (
    INSERT INTO outbox (post_pk, op) SELECT pk, 'upsert' FROM stored ORDER BY pk
)
SELECT author, entities, (extract(epoch FROM event_time) * 1000000)::bigint FROM stored

-- name: set_author_labels
-- The latest revision of a profile stands. Answers the authors for which what is given stands now.
INSERT INTO author_labels AS l (source, author, labels, restricted, rev)
SELECT %(source)s, i.author, string_to_array(i.labels, E'\x1f'), i.restricted, i.rev
FROM unnest(%(author)b::text[], %(author_hash)b::bytea[], %(labels)b::text[], %(restricted)b::boolean[], %(rev)b::text[])
    AS i (author, author_hash, labels, restricted, rev)
WHERE NOT EXISTS (SELECT 1 FROM forgotten_authors f WHERE f.key = i.author_hash)
ON CONFLICT (source, author) DO UPDATE
SET labels = excluded.labels, restricted = excluded.restricted, rev = excluded.rev, changed_at = now()
WHERE l.rev <= excluded.rev
RETURNING author

-- name: restrict_posts
-- All posts of these authors, wherever they are, follow the profile. Answers those that fewer readers see from now on.
WITH said AS (
    SELECT l.author, l.source, l.restricted, i.author_key
    FROM unnest(%(author)b::text[], %(author_key)b::bigint[]) AS i (author, author_key)
    JOIN author_labels l ON l.source = %(source)s AND l.author = i.author
), hidden AS (
    UPDATE hidden_posts h SET restricted = s.restricted OR %(asks)s::text = ANY(h.labels)
    FROM said s WHERE h.author = s.author AND h.source = s.source
), archived AS (
    UPDATE archived_posts a SET restricted = s.restricted OR %(asks)s::text = ANY(a.labels)
    FROM said s WHERE a.author_key = s.author_key AND a.restricted <> (s.restricted OR %(asks)s::text = ANY(a.labels))
), changed AS (
    UPDATE posts p SET restricted = s.restricted OR %(asks)s::text = ANY(p.labels)
    FROM said s WHERE p.author = s.author AND p.source = s.source
      AND p.restricted <> (s.restricted OR %(asks)s::text = ANY(p.labels))
    RETURNING p.id, p.restricted
)
SELECT id FROM changed WHERE restricted

-- name: add_mentions
-- xmax = 0 tells a fresh row from an updated one: that is how distinct authors are counted without a second look. What
-- changes in minutes that are over is noted, here and below, so that who has read them can read them again, and tell what
-- stood before.
WITH delta AS (
    SELECT entity, timestamptz 'epoch' + minute * interval '1 microsecond' AS minute, author, n
    FROM unnest(%(entity)b::text[], %(minute)b::bigint[], %(author)b::text[], %(n)b::integer[])
    AS t (entity, minute, author, n)
), counted AS (
    INSERT INTO minute_authors AS m (entity, minute, source, author, mentions)
    SELECT entity, minute, %(source)s, author, n FROM delta
    ON CONFLICT (entity, minute, source, author) DO UPDATE SET mentions = m.mentions + excluded.mentions
    RETURNING m.entity, m.minute, m.xmax = 0 AS fresh
), sums AS (
    SELECT entity, minute, sum(n)::integer AS mentions FROM delta GROUP BY entity, minute
), fresh AS (
    SELECT entity, minute, count(*) FILTER (WHERE fresh)::integer AS authors FROM counted GROUP BY entity, minute
), noted AS (
    INSERT INTO late_counts (entity, minute, source, voices, quarter)
    SELECT f.entity, f.minute, %(source)s, f.authors, o.quarter
    FROM fresh f, minutes_over(%(source)s, %(known_at)s::bigint) o WHERE f.minute < o.before AND f.minute > o.after
)
INSERT INTO minute_counts AS c (entity, minute, source, mentions, authors)
SELECT s.entity, s.minute, %(source)s, s.mentions, f.authors FROM sums s JOIN fresh f USING (entity, minute)
ON CONFLICT (entity, minute, source)
DO UPDATE SET mentions = c.mentions + excluded.mentions, authors = c.authors + excluded.authors

-- name: subtract_from_authors
-- Takes mentions away, and authors who have none left. What was rolled up meanwhile is owed instead: a row below zero,
-- which the next rolling up settles.
WITH delta AS (
    SELECT entity, timestamptz 'epoch' + minute * interval '1 microsecond' AS minute, author, n
    FROM unnest(%(entity)b::text[], %(minute)b::bigint[], %(author)b::text[], %(n)b::integer[])
    AS t (entity, minute, author, n)
), lowered AS (
    INSERT INTO minute_authors AS m (entity, minute, source, author, mentions)
    SELECT entity, minute, %(source)s, author, -n FROM delta
    ON CONFLICT (entity, minute, source, author) DO UPDATE SET mentions = m.mentions + excluded.mentions
    RETURNING m.entity, m.minute, m.xmax <> 0 AND m.mentions <= 0 AS spent
), sums AS (
    SELECT entity, minute, sum(n)::integer AS mentions FROM delta GROUP BY entity, minute
), spent AS (
    SELECT entity, minute, count(*) FILTER (WHERE spent)::integer AS authors FROM lowered GROUP BY entity, minute
), noted AS (
    INSERT INTO late_counts (entity, minute, source, voices, quarter)
    SELECT s.entity, s.minute, %(source)s, -s.authors, o.quarter
    FROM spent s, minutes_over(%(source)s, %(known_at)s::bigint) o WHERE s.minute < o.before AND s.minute > o.after
)
INSERT INTO minute_counts AS c (entity, minute, source, mentions, authors)
SELECT s.entity, s.minute, %(source)s, -s.mentions, -f.authors FROM sums s JOIN spent f USING (entity, minute)
ON CONFLICT (entity, minute, source)
DO UPDATE SET mentions = c.mentions + excluded.mentions, authors = c.authors + excluded.authors

-- name: correct_alerts
-- Alerts rest on the mentions of the quarter of an hour before them. Those that lose some are corrected; those that get
-- all of them back are not any more.
WITH changed AS (
    SELECT entity, timestamptz 'epoch' + at * interval '1 microsecond' AS at, n
    FROM unnest(%(entity)b::text[], %(at)b::bigint[], %(n)b::integer[]) AS t (entity, at, n)
), found AS (
    SELECT a.id, sum(c.n)::integer AS n FROM alerts a JOIN changed c ON c.entity = a.entity
    WHERE c.at <= a.at AND c.at > a.at - interval '15 minutes' GROUP BY a.id
)
UPDATE alerts a
SET withdrawn = GREATEST(0, a.withdrawn + f.n),
    corrected_at = CASE WHEN a.withdrawn + f.n > 0 THEN clock_timestamp() END
FROM found f WHERE a.id = f.id AND f.n <> 0
RETURNING a.id, a.rule_id, a.entity, a.stage, a.score, (extract(epoch FROM a.at) * 1000000)::bigint, a.withdrawn,
          (extract(epoch FROM a.corrected_at) * 1000000)::bigint, a.evidence::text

-- name: labelled
-- Whether a label was made of posts that name one of these.
SELECT EXISTS (SELECT 1 FROM surge_labels WHERE entity = ANY(%(entity)b::text[]))
    OR EXISTS (SELECT 1 FROM co_mentions WHERE entity = ANY(%(entity)b::text[]))

-- name: forget_labels
-- What whole accounts wrote, labels and links do not show a moment longer; they are made anew without it.
DELETE FROM surge_labels WHERE entity = ANY(%(entity)b::text[])

-- name: forget_links
DELETE FROM co_mentions WHERE entity = ANY(%(entity)b::text[])

-- name: drop_spent_authors
DELETE FROM minute_authors m
USING unnest(%(entity)b::text[], %(minute)b::bigint[], %(author)b::text[]) AS d (entity, minute, author)
WHERE m.entity = d.entity AND m.minute = timestamptz 'epoch' + d.minute * interval '1 microsecond'
  AND m.source = %(source)s AND m.author = d.author AND m.mentions = 0

-- name: drop_spent_counts
-- Never while an author stands in the minute: rolling up finds the authors by their minute's count.
DELETE FROM minute_counts c
USING unnest(%(entity)b::text[], %(minute)b::bigint[]) AS d (entity, minute)
WHERE c.entity = d.entity AND c.minute = timestamptz 'epoch' + d.minute * interval '1 microsecond'
  AND c.source = %(source)s AND c.mentions = 0
  AND NOT EXISTS (SELECT 1 FROM minute_authors m
                  WHERE m.entity = c.entity AND m.minute = c.minute AND m.source = c.source)

-- name: add_totals
INSERT INTO minute_totals AS t (source, minute, posts)
SELECT %(source)s, timestamptz 'epoch' + minute * interval '1 microsecond', n
FROM unnest(%(minute)b::bigint[], %(n)b::integer[]) AS d (minute, n)
ON CONFLICT (source, minute) DO UPDATE SET posts = t.posts + excluded.posts

-- name: add_coverage
-- What lies past all that is stored: no part of it was counted before.
INSERT INTO coverage AS c (source, minute, observed_seconds, spans)
SELECT %(source)s, timestamptz 'epoch' + minute * interval '1 microsecond', (until - since) / 1e6,
       int4multirange(int4range(since, until))
FROM unnest(%(minute)b::bigint[], %(since)b::integer[], %(until)b::integer[]) AS d (minute, since, until)
ON CONFLICT (source, minute) DO UPDATE
SET observed_seconds = LEAST(60, c.observed_seconds + excluded.observed_seconds),
    spans = COALESCE(c.spans, int4multirange(int4range(0, (c.observed_seconds * 1e6)::integer))) + excluded.spans

-- name: add_resent_coverage
-- What was sent again, wherever it lies: the parts that were not watched before are added. How much came after the minute
-- was over is noted, as with counts, so that an hour is learnt as it stood.
WITH given AS (
    SELECT timestamptz 'epoch' + minute * interval '1 microsecond' AS minute, range_agg(int4range(since, until)) AS spans
    FROM unnest(%(minute)b::bigint[], %(since)b::integer[], %(until)b::integer[]) AS d (minute, since, until)
    GROUP BY 1
), merged AS (
    SELECT g.minute, COALESCE(c.observed_seconds, 0) AS before,
           COALESCE(c.spans, int4multirange(int4range(0, (COALESCE(c.observed_seconds, 0) * 1e6)::integer))) + g.spans AS spans
    FROM given g LEFT JOIN coverage c ON c.source = %(source)s AND c.minute = g.minute
), measured AS (
    SELECT minute, before, spans,
           LEAST(60, GREATEST(before, (SELECT sum(upper(part) - lower(part)) FROM unnest(spans) AS part) / 1e6)) AS seconds
    FROM merged
)
INSERT INTO coverage AS c (source, minute, observed_seconds, spans, late_seconds, late_quarter)
SELECT %(source)s, m.minute, m.seconds, m.spans, CASE WHEN o.quarter IS NULL THEN 0 ELSE m.seconds - m.before END, o.quarter
FROM measured m LEFT JOIN minutes_over(%(source)s, %(known_at)s::bigint) o ON m.minute < o.before
ON CONFLICT (source, minute) DO UPDATE
SET observed_seconds = excluded.observed_seconds, spans = excluded.spans,
    late_seconds = c.late_seconds + excluded.late_seconds,
    late_quarter = CASE WHEN excluded.late_seconds > 0 THEN excluded.late_quarter ELSE c.late_quarter END

-- name: advance_cursor
-- Never backwards: GREATEST ignores nulls.
UPDATE cursors
SET cursor = GREATEST(cursor, %(cursor)s::bigint),
    covered_until = GREATEST(covered_until, timestamptz 'epoch' + %(covered_until)s::bigint * interval '1 microsecond'),
    positions = positions || %(positions)s::jsonb,
    updated_at = now()
WHERE source = %(source)s

-- name: lock_events
-- Held to the end of the transaction, so that sequence numbers become visible in their order.
SELECT pg_advisory_xact_lock(7302001)

-- name: append_events
INSERT INTO events (type, live, data, pks)
SELECT type, live, data::jsonb, CASE WHEN pks = '' THEN NULL ELSE string_to_array(pks, ',')::bigint[] END
FROM unnest(%(type)b::text[], %(live)b::boolean[], %(data)b::text[], %(pks)b::text[]) WITH ORDINALITY
    AS t (type, live, data, pks, position)
ORDER BY position
RETURNING seq, (extract(epoch FROM ts) * 1000000)::bigint

-- name: now
SELECT (extract(epoch FROM clock_timestamp()) * 1000000)::bigint

-- name: resume_point
SELECT cursor, (extract(epoch FROM covered_until) * 1000000)::bigint, positions::text
FROM cursors WHERE source = %(source)s

-- name: restricted_authors
SELECT author FROM author_labels WHERE source = %(source)s AND restricted ORDER BY changed_at DESC LIMIT %(limit)s

-- name: open_gap
INSERT INTO gaps (source, cause, detail, started_at)
VALUES (%(source)s, %(cause)s, %(detail)s, timestamptz 'epoch' + %(started_at)s::bigint * interval '1 microsecond')
ON CONFLICT (source) WHERE closed_at IS NULL DO NOTHING
RETURNING id, (extract(epoch FROM started_at) * 1000000)::bigint

-- name: close_gap
UPDATE gaps
SET ended_at = GREATEST(started_at, timestamptz 'epoch' + %(ended_at)s::bigint * interval '1 microsecond'),
    backfilled = %(backfilled)s, closed_at = now()
WHERE source = %(source)s AND closed_at IS NULL
RETURNING id, cause, detail, (extract(epoch FROM started_at) * 1000000)::bigint,
          (extract(epoch FROM ended_at) * 1000000)::bigint

-- name: fill_gaps
-- What was missed in a gap that is closed has come after all, from another host.
UPDATE gaps
SET backfilled = true
WHERE source = %(source)s AND closed_at IS NOT NULL AND NOT backfilled
  AND started_at >= timestamptz 'epoch' + %(since)s::bigint * interval '1 microsecond'
  AND ended_at <= timestamptz 'epoch' + %(until)s::bigint * interval '1 microsecond'
RETURNING id, cause, detail, (extract(epoch FROM started_at) * 1000000)::bigint,
          (extract(epoch FROM ended_at) * 1000000)::bigint

-- name: report_component
INSERT INTO components AS c (component, state, detail) VALUES (%(component)s, %(state)s, %(detail)s::jsonb)
ON CONFLICT (component) DO UPDATE
SET state = excluded.state, detail = excluded.detail, updated_at = now(),
    since = CASE WHEN c.state = excluded.state THEN c.since ELSE now() END
