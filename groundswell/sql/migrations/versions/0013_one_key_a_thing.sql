-- Hashtags that are tickers ($NVDA in a tag), hashtags that differ in a dotless i, a presentation selector or punctuation
-- at their end, and letters with a stroke in search terms: see core/entity_text.py and core/terms.py.
CREATE FUNCTION pg_temp.current_key(key text) RETURNS text LANGUAGE sql IMMUTABLE
RETURN CASE
    WHEN key ~ '^hashtag:\$[a-z]{1,10}\d{0,3}(\.[a-z]{1,2}|_f)?$' THEN 'ticker:' || upper(regexp_replace(substr(key, 10), '\.x$', ''))
    WHEN key ~ '^hashtag:[^$]' THEN COALESCE(
        NULLIF(regexp_replace(regexp_replace(replace(key, 'ı', 'i'), U&'[\FE00-\FE0F]|(?<=i)\0307', '', 'g'), '[_.,;:!?…)}»”’"''\]]+$', ''), 'hashtag'),
        key)
    ELSE key
END;

CREATE TEMP TABLE renamed ON COMMIT DROP AS
SELECT key AS old, pg_temp.current_key(key) AS new
FROM (
    SELECT entity AS key FROM minute_counts UNION SELECT entity FROM minute_authors UNION SELECT entity FROM rollups
    UNION SELECT entity FROM momentum UNION SELECT entity FROM stage_changes UNION SELECT entity FROM alerts
    UNION SELECT entity FROM alert_rules WHERE entity IS NOT NULL UNION SELECT entity FROM habits
) keys
WHERE key LIKE 'hashtag:%' AND pg_temp.current_key(key) <> key;
CREATE UNIQUE INDEX ON renamed (old);
ANALYZE renamed;

-- A post that carried two of the keys is counted once under the new one.
CREATE TEMP TABLE doubled ON COMMIT DROP AS
SELECT entity, minute, source, author, sum(n)::integer AS n
FROM (
    SELECT COALESCE(r.new, k.key) AS entity, date_trunc('minute', p.event_time, 'UTC') AS minute, p.source, p.author,
           count(*) - 1 AS n
    FROM posts p CROSS JOIN LATERAL unnest(p.entities) AS k (key) LEFT JOIN renamed r ON r.old = k.key
    WHERE p.entities && ARRAY(SELECT old FROM renamed)
    GROUP BY 1, 2, 3, 4, p.pk HAVING count(*) > 1
) each GROUP BY 1, 2, 3, 4;

WITH changed AS (
    UPDATE posts SET entities = ARRAY(
        SELECT DISTINCT COALESCE(r.new, k.key) COLLATE "C" AS key
        FROM unnest(entities) AS k (key) LEFT JOIN renamed r ON r.old = k.key ORDER BY key
    ) WHERE entities && ARRAY(SELECT old FROM renamed) RETURNING pk
)
INSERT INTO outbox (post_pk, op) SELECT pk, 'upsert' FROM changed ORDER BY pk;

WITH moved AS (
    DELETE FROM minute_authors m USING renamed r WHERE m.entity = r.old
    RETURNING r.new AS entity, m.minute, m.source, m.author, m.mentions
)
INSERT INTO minute_authors AS m (entity, minute, source, author, mentions)
SELECT entity, minute, source, author, sum(mentions)::integer FROM moved GROUP BY 1, 2, 3, 4
ON CONFLICT (entity, minute, source, author) DO UPDATE SET mentions = m.mentions + excluded.mentions;
UPDATE minute_authors m SET mentions = m.mentions - d.n FROM doubled d
WHERE m.entity = d.entity AND m.minute = d.minute AND m.source = d.source AND m.author = d.author;

WITH moved AS (
    DELETE FROM minute_counts c USING renamed r WHERE c.entity = r.old
    RETURNING r.new AS entity, c.minute, c.source, c.mentions, c.authors
)
INSERT INTO minute_counts AS c (entity, minute, source, mentions, authors)
SELECT entity, minute, source, sum(mentions)::integer, sum(authors)::integer FROM moved GROUP BY 1, 2, 3
ON CONFLICT (entity, minute, source)
DO UPDATE SET mentions = c.mentions + excluded.mentions, authors = c.authors + excluded.authors;
UPDATE minute_counts c SET mentions = m.mentions, authors = m.authors
FROM (
    SELECT entity, minute, source, sum(mentions)::integer AS mentions, count(*)::integer AS authors
    FROM minute_authors WHERE entity IN (SELECT new FROM renamed) AND mentions > 0 GROUP BY 1, 2, 3
) m
WHERE c.entity = m.entity AND c.minute = m.minute AND c.source = m.source;

WITH moved AS (
    DELETE FROM rollups o USING renamed r WHERE o.entity = r.old
    RETURNING r.new AS entity, o.resolution, o.bucket, o.source, o.mentions, o.author_keys, o.author_mentions
), rest AS (
    SELECT o.entity, o.resolution, o.bucket, o.source, o.mentions, o.author_keys, o.author_mentions
    FROM rollups o WHERE o.entity IN (SELECT new FROM renamed) AND o.entity NOT IN (SELECT old FROM renamed)
    UNION ALL SELECT * FROM moved
), sums AS (
    SELECT entity, resolution, bucket, source, sum(mentions)::integer AS mentions FROM rest GROUP BY 1, 2, 3, 4
), by_author AS (
    SELECT t.entity, t.resolution, t.bucket, t.source, a.key, sum(COALESCE(a.n, 1))::integer AS n
    FROM rest t CROSS JOIN LATERAL unnest(t.author_keys, t.author_mentions) AS a (key, n)
    GROUP BY 1, 2, 3, 4, 5 HAVING sum(COALESCE(a.n, 1)) <> 0
), people AS (
    SELECT entity, resolution, bucket, source, (count(*) FILTER (WHERE n > 0))::integer AS authors,
           array_agg(key ORDER BY key) AS keys, CASE WHEN bool_or(n <> 1) THEN array_agg(n ORDER BY key) END AS counts
    FROM by_author GROUP BY 1, 2, 3, 4
)
INSERT INTO rollups (entity, resolution, bucket, source, mentions, authors, author_keys, author_mentions)
SELECT s.entity, s.resolution, s.bucket, s.source, s.mentions, COALESCE(p.authors, 0), COALESCE(p.keys, '{}'), p.counts
FROM sums s LEFT JOIN people p USING (entity, resolution, bucket, source)
ON CONFLICT (entity, resolution, bucket, source) DO UPDATE
SET mentions = excluded.mentions, authors = excluded.authors, author_keys = excluded.author_keys,
    author_mentions = excluded.author_mentions;

UPDATE late_counts l SET entity = r.new FROM renamed r WHERE l.entity = r.old;
UPDATE alerts a SET entity = r.new FROM renamed r WHERE a.entity = r.old;
UPDATE alert_rules a SET entity = r.new FROM renamed r WHERE a.entity = r.old;
INSERT INTO stage_changes (entity, at, from_stage, stage, score, evidence, recorded_at)
SELECT r.new, c.at, c.from_stage, c.stage, c.score, c.evidence, c.recorded_at
FROM stage_changes c JOIN renamed r ON r.old = c.entity ON CONFLICT (entity, at) DO NOTHING;
DELETE FROM stage_changes c USING renamed r WHERE c.entity = r.old;
-- Baselines cannot be added up: the one that the new key has stays.
INSERT INTO habits (entity, hour, numbers)
SELECT DISTINCT ON (r.new) r.new, h.hour, h.numbers FROM habits h JOIN renamed r ON r.old = h.entity
ORDER BY r.new, h.hour DESC ON CONFLICT (entity) DO NOTHING;
DELETE FROM habits h USING renamed r WHERE h.entity = r.old;
-- What is computed anew within a minute.
DELETE FROM momentum m USING renamed r WHERE m.entity = r.old;
DELETE FROM surge_labels l USING renamed r WHERE l.entity = r.old;
DELETE FROM co_mentions c USING renamed r WHERE r.old IN (c.entity, c.other);

UPDATE posts SET search = replace(replace(replace(replace(
    translate(search::text, 'łøđðħŧŋəı', 'loddhtnei'), 'æ', 'ae'), 'œ', 'oe'), 'þ', 'th'), U&'i\0307', 'i')::tsvector
WHERE text ~* U&'[łøđðħŧŋəıæœþ]|\0130|\0307';
