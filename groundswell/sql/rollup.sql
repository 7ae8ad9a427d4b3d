-- Rolling up: what cleanup does with the counts of old minutes. Each statement is a bite of its own transaction.

-- name: try_lock
-- One roller at a time; another one has nothing to do meanwhile.
SELECT pg_try_advisory_xact_lock(7302002)

-- name: advance
-- How far back each resolution is kept, by the database's clock or by the latest instant that was watched, whichever is
-- earlier: the minutes of a recording are as old as its end makes them. Minutes go by the hour, so that the large
-- buckets they go to are rewritten seldom.
UPDATE resolutions r SET kept_from = due.kept_from
FROM (
    SELECT k.resolution, date_bin(
               make_interval(secs => CASE k.resolution WHEN 60 THEN 3600 ELSE k.resolution END),
               LEAST(clock_timestamp(), w.watermark) - k.keep_s * interval '1 second', timestamptz 'epoch') AS kept_from
    FROM unnest(%(resolution)s::integer[], %(keep_s)s::float8[]) AS k (resolution, keep_s),
         (SELECT max(covered_until) AS watermark FROM cursors) w
    WHERE w.watermark IS NOT NULL   -- nothing was watched yet: what comes first may be a recording
) due
WHERE r.resolution = due.resolution AND r.kept_from < due.kept_from

-- name: fold
-- The oldest minutes, by about as many author rows as the limit says, into every resolution that still keeps them.
-- Takes only rows that nobody else holds, so a commit and this never wait for each other in a circle.
-- Answers the minutes looked at, as parallel arrays.
WITH candidates AS (
    SELECT entity, minute, source, sum(weight) OVER (ORDER BY minute, entity, source) - weight AS before
    FROM (
        SELECT c.entity, c.minute, c.source, GREATEST(c.authors, 1) AS weight
        FROM minute_counts c
        WHERE c.minute < (SELECT kept_from FROM resolutions WHERE resolution = 60)
        ORDER BY c.minute, c.entity, c.source LIMIT %(limit)s
    ) oldest
), due AS (
    SELECT c.entity, c.minute, c.source
    FROM minute_counts c JOIN candidates d USING (entity, minute, source)
    WHERE d.before < %(limit)s
    FOR UPDATE OF c SKIP LOCKED
), free AS (
    SELECT m.entity, m.minute, m.source, m.author
    FROM minute_authors m JOIN due USING (entity, minute, source)
    FOR UPDATE OF m SKIP LOCKED
), taken AS (
    DELETE FROM minute_authors m USING free f
    WHERE m.entity = f.entity AND m.minute = f.minute AND m.source = f.source AND m.author = f.author
    RETURNING m.entity, m.minute, m.source, m.author, m.mentions
), by_author AS (
    SELECT t.entity, r.resolution, date_bin(make_interval(secs => r.resolution), t.minute, timestamptz 'epoch') AS bucket,
           t.source, author_key(t.author) AS key, sum(t.mentions)::integer AS n
    FROM taken t CROSS JOIN resolutions r
    WHERE r.resolution > 60 AND date_bin(make_interval(secs => r.resolution), t.minute, timestamptz 'epoch') >= r.kept_from
    GROUP BY 1, 2, 3, 4, 5
), merged AS (
    INSERT INTO rollups AS r (entity, resolution, bucket, source, mentions, authors, author_keys, author_mentions)
    SELECT entity, resolution, bucket, source, sum(n)::integer, (count(*) FILTER (WHERE n > 0))::integer,
           COALESCE(array_agg(key ORDER BY key) FILTER (WHERE n <> 0), '{}'),
           CASE WHEN bool_or(n <> 1) THEN array_agg(n ORDER BY key) FILTER (WHERE n <> 0) END
    FROM by_author GROUP BY entity, resolution, bucket, source
    ON CONFLICT (entity, resolution, bucket, source) DO UPDATE
    SET (mentions, authors, author_keys, author_mentions) = (
        SELECT r.mentions + excluded.mentions, (count(*) FILTER (WHERE n > 0))::integer,
               COALESCE(array_agg(key ORDER BY key), '{}'),
               CASE WHEN bool_or(n <> 1) THEN array_agg(n ORDER BY key) END
        FROM (
            SELECT key, sum(COALESCE(n, 1))::integer AS n
            FROM (SELECT * FROM unnest(r.author_keys, r.author_mentions) AS a (key, n)
                  UNION ALL
                  SELECT * FROM unnest(excluded.author_keys, excluded.author_mentions) AS b (key, n)) both_sides
            GROUP BY key HAVING sum(COALESCE(n, 1)) <> 0
        ) summed
    )
)
SELECT array_agg(entity), array_agg(minute), array_agg(source) FROM due

-- name: drop_folded_counts
-- After `fold`, in the same transaction: sees what was committed meanwhile, and leaves minutes that got a new author.
DELETE FROM minute_counts c
USING unnest(%(entity)s::text[], %(minute)s::timestamptz[], %(source)s::text[]) AS d (entity, minute, source)
WHERE c.entity = d.entity AND c.minute = d.minute AND c.source = d.source
  AND NOT EXISTS (SELECT 1 FROM minute_authors m
                  WHERE m.entity = c.entity AND m.minute = c.minute AND m.source = c.source)

-- name: drop_spent_rollups
DELETE FROM rollups WHERE mentions = 0 AND cardinality(author_keys) = 0

-- name: fold_sources
-- The same for posts and watched seconds of whole sources. Days are kept for ever: they are few.
WITH posted AS (
    DELETE FROM minute_totals t
    USING (SELECT o.source, o.minute FROM minute_totals o
           WHERE o.minute < (SELECT kept_from FROM resolutions WHERE resolution = 60)
           ORDER BY o.minute LIMIT %(limit)s FOR UPDATE SKIP LOCKED) due
    WHERE t.source = due.source AND t.minute = due.minute
    RETURNING t.source, t.minute, t.posts
), watched AS (
    DELETE FROM coverage c
    USING (SELECT o.source, o.minute FROM coverage o
           WHERE o.minute < (SELECT kept_from FROM resolutions WHERE resolution = 60)
           ORDER BY o.minute LIMIT %(limit)s FOR UPDATE SKIP LOCKED) due
    WHERE c.source = due.source AND c.minute = due.minute
    RETURNING c.source, c.minute, c.observed_seconds
), taken AS (
    SELECT source, minute, posts, 0::float8 AS seconds FROM posted
    UNION ALL SELECT source, minute, 0, observed_seconds FROM watched
), merged AS (
    INSERT INTO source_rollups AS s (source, resolution, bucket, posts, observed_seconds)
    SELECT t.source, r.resolution, date_bin(make_interval(secs => r.resolution), t.minute, timestamptz 'epoch'),
           sum(t.posts)::integer, LEAST(r.resolution, sum(t.seconds))
    FROM taken t CROSS JOIN resolutions r
    WHERE r.resolution = 86400 OR (r.resolution > 60
          AND date_bin(make_interval(secs => r.resolution), t.minute, timestamptz 'epoch') >= r.kept_from)
    GROUP BY 1, 2, 3
    ON CONFLICT (source, resolution, bucket) DO UPDATE
    SET posts = s.posts + excluded.posts,
        observed_seconds = LEAST(s.resolution, s.observed_seconds + excluded.observed_seconds)
)
SELECT count(*) FROM taken

-- name: expire
-- What is older than its resolution is kept. Stage changes stay as long as days do.
WITH entities AS (
    DELETE FROM rollups WHERE ctid = ANY (ARRAY(
        SELECT r.ctid FROM resolutions k JOIN rollups r USING (resolution) WHERE r.bucket < k.kept_from LIMIT %(limit)s))
    RETURNING 1
), sources AS (
    DELETE FROM source_rollups WHERE ctid = ANY (ARRAY(
        SELECT s.ctid FROM resolutions k JOIN source_rollups s USING (resolution)
        WHERE s.resolution < 86400 AND s.bucket < k.kept_from LIMIT %(limit)s))
    RETURNING 1
), changes AS (
    DELETE FROM stage_changes WHERE id = ANY (ARRAY(
        SELECT id FROM stage_changes
        WHERE at < (SELECT kept_from FROM resolutions WHERE resolution = 86400) LIMIT %(limit)s))
    RETURNING 1
)
SELECT (SELECT count(*) FROM entities) + (SELECT count(*) FROM sources) + (SELECT count(*) FROM changes)
