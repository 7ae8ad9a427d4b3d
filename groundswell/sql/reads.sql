-- The read side: what the API asks. Instants travel as microseconds since 1970.
-- Optional filters are null when they are not given. These statements are planned afresh for the values of each call
-- (never as a prepared generic plan), so that a null filter costs nothing and a given one can use its index.

-- name: now
SELECT (extract(epoch FROM clock_timestamp()) * 1000000)::bigint

-- name: posts
-- A page of posts, newest first, strictly after the place given.
SELECT pk, id, source, author, text, (extract(epoch FROM event_time) * 1000000)::bigint, rev,
       (extract(epoch FROM created_at) * 1000000)::bigint, lang, entities, reply_to, quote_of, labels, restricted
FROM posts
WHERE (%(entity)s::text IS NULL OR entities @> ARRAY[%(entity)s::text])
  AND (%(author)s::text IS NULL OR author = %(author)s)
  AND (%(lang)s::text IS NULL OR lang = %(lang)s)
  AND (%(source)s::text IS NULL OR source = %(source)s)
  AND (%(since)s::timestamptz IS NULL OR event_time >= %(since)s)
  AND (%(until)s::timestamptz IS NULL OR event_time < %(until)s)
  AND (%(signed_in)s OR NOT restricted)
  AND (%(after_time)s::timestamptz IS NULL OR (event_time, pk) < (%(after_time)s, %(after_pk)s))
ORDER BY event_time DESC, pk DESC
LIMIT %(limit)s

-- name: post
SELECT pk, id, source, author, text, (extract(epoch FROM event_time) * 1000000)::bigint, rev,
       (extract(epoch FROM created_at) * 1000000)::bigint, lang, entities, reply_to, quote_of, labels, restricted
FROM posts WHERE id = %(id)s AND (%(signed_in)s OR NOT restricted)

-- name: posts_by_pk
SELECT pk, id, source, author, text, (extract(epoch FROM event_time) * 1000000)::bigint, rev,
       (extract(epoch FROM created_at) * 1000000)::bigint, lang, entities, reply_to, quote_of, labels, restricted
FROM posts WHERE pk = ANY(%(pks)s::bigint[]) AND (%(signed_in)s OR NOT restricted)

-- name: momentum
-- A page of entities, highest score first; names break ties.
SELECT entity, kind, name, (extract(epoch FROM as_of) * 1000000)::bigint, stage,
       (extract(epoch FROM stage_since) * 1000000)::bigint, mentions, authors, velocity, acceleration, surprise,
       score, sparkline, parts
FROM momentum
WHERE (%(kind)s::text IS NULL OR kind = %(kind)s)
  AND (%(stage)s::text IS NULL OR stage = %(stage)s)
  AND score >= %(min_score)s
  AND (%(after_score)s::float8 IS NULL OR score < %(after_score)s
       OR (score = %(after_score)s AND entity > %(after_entity)s))
ORDER BY score DESC, entity
LIMIT %(limit)s

-- name: momentum_of
SELECT entity, kind, name, (extract(epoch FROM as_of) * 1000000)::bigint, stage,
       (extract(epoch FROM stage_since) * 1000000)::bigint, mentions, authors, velocity, acceleration, surprise,
       score, sparkline, parts
FROM momentum WHERE entity = %(entity)s

-- name: labels
SELECT entity, (extract(epoch FROM as_of) * 1000000)::bigint, label, phrases::text, posts, authors
FROM surge_labels WHERE entity = ANY(%(entities)s::text[])

-- name: related
SELECT c.entity, c.other, (extract(epoch FROM c.as_of) * 1000000)::bigint, c.posts, c.authors, c.npmi, c.g2, m.stage
FROM co_mentions c LEFT JOIN momentum m ON m.entity = c.other
WHERE c.entity = ANY(%(entities)s::text[])
ORDER BY c.entity, c.g2 DESC, c.other

-- name: horizons
-- From when on each resolution can be answered; null: from the beginning.
SELECT resolution, CASE WHEN isfinite(kept_from) THEN (extract(epoch FROM kept_from) * 1000000)::bigint END
FROM resolutions

-- name: series
-- Buckets of one entity, oldest first: what was rolled up in the resolution given, and what still stands by the minute.
-- Authors are told apart by their names where all stands by the minute, by their keys where not.
-- A source's rate divides by what was observed of that source; rates are summed over sources, coverage is their mean
-- over the part of the bucket that has passed. Sources count from the first bucket on in which they were watched.
WITH bounds AS (
    SELECT %(since)s::timestamptz AS since, LEAST(%(until)s::timestamptz, %(end)s::timestamptz) AS until,
           %(bucket_s)s::integer AS bucket_s, %(end)s::timestamptz AS now
), buckets AS (
    SELECT start, LEAST(extract(epoch FROM now - start), bucket_s) AS passed
    FROM bounds, generate_series(since, until - interval '1 microsecond', make_interval(secs => bucket_s)) AS start
), watched AS (
    SELECT c.source, date_bin(make_interval(secs => b.bucket_s), c.at, timestamptz 'epoch') AS start,
           sum(c.seconds) AS seconds
    FROM bounds b, LATERAL (
        SELECT source, minute AS at, observed_seconds AS seconds FROM coverage
        WHERE minute >= b.since AND minute < b.until
        UNION ALL
        SELECT source, bucket, observed_seconds FROM source_rollups
        WHERE resolution = %(resolution_s)s AND bucket >= b.since AND bucket < b.until
    ) c
    GROUP BY 1, 2
), sources AS (
    SELECT source, min(start) AS first FROM watched GROUP BY source
), by_minute AS (
    SELECT m.source, date_bin(make_interval(secs => b.bucket_s), m.minute, timestamptz 'epoch') AS start, m.author,
           sum(m.mentions) AS n
    FROM minute_authors m, bounds b
    WHERE m.entity = %(entity)s AND m.minute >= b.since AND m.minute < b.until
    GROUP BY 1, 2, 3
), rolled AS (
    SELECT r.source, date_bin(make_interval(secs => b.bucket_s), r.bucket, timestamptz 'epoch') AS start,
           r.mentions, r.authors, r.author_keys, r.author_mentions
    FROM rollups r, bounds b
    WHERE r.entity = %(entity)s AND r.resolution = %(resolution_s)s AND r.bucket >= b.since AND r.bucket < b.until
), alone AS (
    -- Buckets that are one row of the rolled-up counts: their authors are counted already.
    SELECT source, start, min(authors) AS authors FROM rolled r
    WHERE NOT EXISTS (SELECT 1 FROM by_minute m WHERE m.source = r.source AND m.start = r.start)
    GROUP BY source, start HAVING count(*) = 1
), joined AS (
    SELECT source, start, count(*) AS authors FROM (
        SELECT source, start FROM (
            SELECT r.source, r.start, u.key, COALESCE(u.n, 1) AS n
            FROM rolled r, unnest(r.author_keys, r.author_mentions) AS u (key, n)
            WHERE NOT EXISTS (SELECT 1 FROM alone a WHERE a.source = r.source AND a.start = r.start)
            UNION ALL
            SELECT m.source, m.start, author_key(m.author), m.n FROM by_minute m
            WHERE EXISTS (SELECT 1 FROM rolled r WHERE r.source = m.source AND r.start = m.start)
        ) raw GROUP BY source, start, key HAVING sum(n) > 0
    ) summed GROUP BY source, start
), authors AS (
    SELECT start, sum(authors)::integer AS authors FROM (
        SELECT start, authors FROM alone
        UNION ALL SELECT start, authors FROM joined
        UNION ALL
        SELECT start, 1 FROM by_minute m WHERE n > 0
           AND NOT EXISTS (SELECT 1 FROM rolled r WHERE r.source = m.source AND r.start = m.start)
    ) each GROUP BY start
), mentioned AS (
    SELECT source, start, sum(n) AS mentions FROM (
        SELECT source, start, n FROM by_minute UNION ALL SELECT source, start, mentions FROM rolled
    ) both_kinds GROUP BY source, start
), by_source AS (
    SELECT b.start, b.passed, s.source, COALESCE(w.seconds, 0) AS seconds, COALESCE(m.mentions, 0) AS mentions
    FROM buckets b
    LEFT JOIN sources s ON s.first <= b.start
    LEFT JOIN watched w ON w.source = s.source AND w.start = b.start
    LEFT JOIN mentioned m ON m.source = s.source AND m.start = b.start
), summed AS (
    SELECT start, sum(seconds) AS seconds, sum(mentions)::integer AS mentions,
           sum(mentions / (seconds / 60)) FILTER (WHERE seconds >= 1) AS rate,
           LEAST(1, GREATEST(0, COALESCE(sum(seconds) / NULLIF(count(source) * min(passed), 0), 0))) AS coverage
    FROM by_source GROUP BY start
)
SELECT (extract(epoch FROM s.start) * 1000000)::bigint,
       CASE WHEN s.seconds > 0 THEN s.mentions END,
       CASE WHEN s.seconds > 0 THEN COALESCE(a.authors, 0)::integer END,
       s.rate::float8, s.coverage::float8
FROM summed s LEFT JOIN authors a USING (start)
ORDER BY s.start

-- name: stage_changes
-- The latest changes of one entity's stage in a stretch of event time, newest first.
SELECT (extract(epoch FROM at) * 1000000)::bigint, from_stage, stage, score, evidence::text
FROM stage_changes
WHERE entity = %(entity)s AND at >= %(since)s AND at < %(until)s
ORDER BY at DESC LIMIT %(limit)s

-- name: stages_then
-- The stage that each entity had entered by an instant.
SELECT DISTINCT ON (entity) entity, stage, (extract(epoch FROM at) * 1000000)::bigint
FROM stage_changes WHERE entity = ANY(%(entity)s::text[]) AND at < %(until)s ORDER BY entity, at DESC

-- name: gaps
-- Gaps that overlap a range, newest first.
SELECT id, source, cause, detail, (extract(epoch FROM started_at) * 1000000)::bigint,
       (extract(epoch FROM ended_at) * 1000000)::bigint, backfilled,
       (extract(epoch FROM opened_at) * 1000000)::bigint, (extract(epoch FROM closed_at) * 1000000)::bigint
FROM gaps
WHERE (%(source)s::text IS NULL OR source = %(source)s)
  AND (%(since)s::timestamptz IS NULL OR ended_at IS NULL OR ended_at > %(since)s)
  AND (%(until)s::timestamptz IS NULL OR started_at < %(until)s)
  AND (%(after_time)s::timestamptz IS NULL OR (started_at, id) < (%(after_time)s, %(after_id)s))
ORDER BY started_at DESC, id DESC
LIMIT %(limit)s

-- name: insights
SELECT id, kind, title, body, entities, post_ids, model, (extract(epoch FROM created_at) * 1000000)::bigint
FROM insights
WHERE (%(kind)s::text IS NULL OR kind = %(kind)s)
  AND (%(entity)s::text IS NULL OR entities @> ARRAY[%(entity)s::text])
  AND (%(after_time)s::timestamptz IS NULL OR (created_at, id) < (%(after_time)s, %(after_id)s))
ORDER BY created_at DESC, id DESC
LIMIT %(limit)s

-- name: alerts
SELECT id, rule_id, entity, stage, score, (extract(epoch FROM at) * 1000000)::bigint, withdrawn,
       (extract(epoch FROM corrected_at) * 1000000)::bigint, evidence::text
FROM alerts
WHERE (%(entity)s::text IS NULL OR entity = %(entity)s)
  AND (%(stage)s::text IS NULL OR stage = %(stage)s)
  AND (%(since)s::timestamptz IS NULL OR at >= %(since)s)
  AND (%(until)s::timestamptz IS NULL OR at < %(until)s)
  AND (%(after_time)s::timestamptz IS NULL OR (at, id) < (%(after_time)s, %(after_id)s))
ORDER BY at DESC, id DESC
LIMIT %(limit)s

-- name: alert_rules
SELECT id, entity, kind, stage, min_score, (extract(epoch FROM created_at) * 1000000)::bigint
FROM alert_rules ORDER BY id

-- name: add_rule
INSERT INTO alert_rules (entity, kind, stage, min_score)
VALUES (%(entity)s, %(kind)s, %(stage)s, %(min_score)s)
RETURNING id, entity, kind, stage, min_score, (extract(epoch FROM created_at) * 1000000)::bigint

-- name: count_rules
SELECT count(*) FROM alert_rules

-- name: remove_rule
DELETE FROM alert_rules WHERE id = %(id)s

-- name: event_limits
SELECT COALESCE(min(seq), 0), COALESCE(max(seq), 0) FROM events

-- name: events
SELECT seq, (extract(epoch FROM ts) * 1000000)::bigint, type, live, data::text, pks
FROM events WHERE seq > %(after)s ORDER BY seq LIMIT %(limit)s

-- name: source_totals
-- Days that were rolled up, and the minutes that were not.
SELECT source, sum(posts)::bigint, (extract(epoch FROM min(at) FILTER (WHERE posts > 0)) * 1000000)::bigint
FROM (
    SELECT source, minute AS at, posts FROM minute_totals
    UNION ALL SELECT source, bucket, posts FROM source_rollups WHERE resolution = 86400
) counted
GROUP BY source ORDER BY source

-- name: table_totals
SELECT (SELECT count(*) FROM momentum)::integer, (SELECT count(*) FROM alerts)::integer,
       (SELECT count(*) FROM insights)::integer, COALESCE((SELECT max(seq) FROM events), 0)

-- name: source_minutes
-- Posts of each watched minute by source; a source counts from the first minute on in which it was watched.
WITH bounds AS (
    SELECT date_trunc('minute', clock_timestamp()) AS last, clock_timestamp() AS now
), sources AS (
    SELECT source, min(minute) AS first FROM coverage, bounds
    WHERE minute > last - make_interval(mins => %(minutes)s) GROUP BY source
)
SELECT s.source, (extract(epoch FROM m) * 1000000)::bigint,
       CASE WHEN c.observed_seconds > 0 THEN COALESCE(t.posts, 0) END,
       LEAST(1, COALESCE(c.observed_seconds, 0) / GREATEST(LEAST(60, extract(epoch FROM now - m)), 0.001))::float8
FROM bounds CROSS JOIN sources s CROSS JOIN LATERAL
     generate_series(GREATEST(first, last - make_interval(mins => %(minutes)s - 1)), last, interval '1 minute') AS m
LEFT JOIN coverage c ON c.minute = m AND c.source = s.source
LEFT JOIN minute_totals t ON t.minute = m AND t.source = s.source
ORDER BY m, s.source

-- name: sources
-- How each source is doing, by this clock, with its open gap.
SELECT c.source,
       extract(epoch FROM clock_timestamp() - c.updated_at)::float8,
       extract(epoch FROM clock_timestamp() - c.covered_until)::float8,
       (extract(epoch FROM c.covered_until) * 1000000)::bigint,
       g.id, g.source, g.cause, g.detail, (extract(epoch FROM g.started_at) * 1000000)::bigint,
       (extract(epoch FROM g.ended_at) * 1000000)::bigint, g.backfilled,
       (extract(epoch FROM g.opened_at) * 1000000)::bigint, (extract(epoch FROM g.closed_at) * 1000000)::bigint
FROM cursors c LEFT JOIN gaps g ON g.source = c.source AND g.closed_at IS NULL
ORDER BY c.source

-- name: components
SELECT component, state, (extract(epoch FROM since) * 1000000)::bigint,
       (extract(epoch FROM updated_at) * 1000000)::bigint, detail::text
FROM components ORDER BY component
