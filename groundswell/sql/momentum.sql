-- What the momentum tick reads and writes.

-- name: watermark
SELECT (extract(epoch FROM max(covered_until)) * 1000000)::bigint FROM cursors

-- name: active_entities
-- Worth a look: mentioned by now and then in the window, or still shown as more than dormant.
WITH recent AS (
    SELECT entity, sum(mentions) AS mentions FROM minute_counts
    WHERE minute > %(window_start)s::timestamptz AND minute <= %(as_of)s::timestamptz
    GROUP BY entity HAVING sum(mentions) >= 3
    ORDER BY sum(mentions) DESC LIMIT %(limit)s
)
SELECT entity FROM recent UNION SELECT entity FROM momentum ORDER BY 1

-- name: minutes_of_entities
-- One row of parallel arrays: position of the entity in the list given, source, minute, mentions.
SELECT array_agg(e.position::integer - 1), array_agg(c.source), array_agg(
           (extract(epoch FROM c.minute - %(start)s::timestamptz) / 60)::integer), array_agg(c.mentions)
FROM unnest(%(entity)b::text[]) WITH ORDINALITY AS e (entity, position)
JOIN minute_counts c USING (entity)
WHERE c.minute >= %(start)s::timestamptz AND c.minute <= %(as_of)s::timestamptz

-- name: buckets_of_entities
-- The same in buckets of five minutes from `start` on: mentions, and authors added up over the minutes.
SELECT array_agg(position), array_agg(source), array_agg(bucket), array_agg(mentions), array_agg(voices)
FROM (
    SELECT e.position::integer - 1 AS position, c.source,
           (extract(epoch FROM c.minute - %(start)s::timestamptz)::integer / 300) AS bucket,
           sum(c.mentions)::integer AS mentions, sum(c.authors)::integer AS voices
    FROM unnest(%(entity)b::text[]) WITH ORDINALITY AS e (entity, position)
    JOIN minute_counts c USING (entity)
    WHERE c.minute >= %(start)s::timestamptz AND c.minute <= %(as_of)s::timestamptz
    GROUP BY 1, 2, 3
) AS found

-- name: hours_of_entities
-- The same in hours from `start` on, before `until`: mentions.
SELECT array_agg(position), array_agg(source), array_agg(hour), array_agg(mentions)
FROM (
    SELECT e.position::integer - 1 AS position, c.source,
           (extract(epoch FROM c.minute - %(start)s::timestamptz)::integer / 3600) AS hour,
           sum(c.mentions)::integer AS mentions
    FROM unnest(%(entity)b::text[]) WITH ORDINALITY AS e (entity, position)
    JOIN minute_counts c USING (entity)
    WHERE c.minute >= %(start)s::timestamptz AND c.minute < %(until)s::timestamptz
    GROUP BY 1, 2, 3
) AS found

-- name: read_position
-- How far each source is stored, and the oldest transaction that may not have ended yet.
SELECT source, (extract(epoch FROM covered_until) * 1000000)::bigint, pg_snapshot_xmin(pg_current_snapshot())::text,
       extract(epoch FROM clock_timestamp())::float8
FROM cursors WHERE covered_until IS NOT NULL

-- name: counts_since
-- All that is stored of the minutes from one on, by source. One row of parallel arrays. Each source by its own index
-- range: as a join, the plan that is kept for any value of `since` reads the whole table.
SELECT array_agg(c.entity), array_agg(s.source), array_agg((extract(epoch FROM c.minute) / 60)::integer),
       array_agg(c.mentions), array_agg(c.authors)
FROM unnest(%(source)b::text[], %(since)b::integer[]) AS s (source, since)
CROSS JOIN LATERAL (
    SELECT m.entity, m.minute, m.mentions, m.authors FROM minute_counts m
    WHERE m.source = s.source
      AND m.minute >= timestamptz 'epoch' + s.since * interval '1 minute'
      AND m.minute <= timestamptz 'epoch' + %(last)s::integer * interval '1 minute'
    OFFSET 0
) AS c

-- name: counts_changed_late
-- What is stored by now of older minutes that were changed by transactions that had not ended then.
WITH late AS (
    SELECT DISTINCT entity, source, minute FROM late_counts
    WHERE transaction >= %(transaction)s::xid8
      AND minute >= timestamptz 'epoch' + %(first)s::integer * interval '1 minute'
      AND minute <= timestamptz 'epoch' + %(last)s::integer * interval '1 minute'
)
SELECT array_agg(l.entity), array_agg(l.source), array_agg((extract(epoch FROM l.minute) / 60)::integer),
       array_agg(COALESCE(c.mentions, 0)), array_agg(COALESCE(c.authors, 0))
FROM late l LEFT JOIN minute_counts c USING (entity, source, minute)

-- name: hours_of_sources
-- Whole hours of entities, before the minute `until`, by source from a minute on.
SELECT array_agg(e.entity), array_agg(s.source), array_agg(h.hour), array_agg(h.mentions)
FROM unnest(%(source)b::text[], %(since)b::integer[]) AS s (source, since)
CROSS JOIN unnest(%(entity)b::text[]) AS e (entity)
CROSS JOIN LATERAL (
    SELECT floor(extract(epoch FROM c.minute) / 3600)::integer AS hour, sum(c.mentions)::integer AS mentions
    FROM minute_counts c
    WHERE c.entity = e.entity AND c.source = s.source
      AND c.minute >= timestamptz 'epoch' + s.since * interval '1 minute'
      AND c.minute < timestamptz 'epoch' + %(until)s::integer * interval '1 minute'
    GROUP BY 1
) AS h

-- name: counts_of_entities
-- The minutes of entities from one on; each by its own index range.
SELECT array_agg(e.entity), array_agg(c.source), array_agg((extract(epoch FROM c.minute) / 60)::integer),
       array_agg(c.mentions), array_agg(c.authors)
FROM unnest(%(entity)b::text[]) AS e (entity)
CROSS JOIN LATERAL (
    SELECT m.source, m.minute, m.mentions, m.authors FROM minute_counts m
    WHERE m.entity = e.entity
      AND m.minute >= timestamptz 'epoch' + %(first)s::integer * interval '1 minute'
      AND m.minute <= timestamptz 'epoch' + %(last)s::integer * interval '1 minute'
    OFFSET 0
) AS c

-- name: spoken
-- The voices of everything that was spoken of in a stretch, as it stood before the quarter of an hour `too_late`: what
-- is counted now, less what came since. The most spoken of first.
SELECT array_agg(entity), array_agg(voices)
FROM (
    SELECT entity, sum(voices)::integer AS voices
    FROM (
        SELECT entity, authors AS voices FROM minute_counts
        WHERE minute >= %(start)s::timestamptz AND minute <= %(as_of)s::timestamptz
        UNION ALL
        SELECT entity, -voices FROM late_counts
        WHERE quarter >= %(too_late)s AND minute >= %(start)s::timestamptz AND minute <= %(as_of)s::timestamptz
    ) AS told
    GROUP BY entity HAVING sum(voices) > 0
    ORDER BY 2 DESC, 1 LIMIT %(limit)s
) AS found

-- name: voices_of_entities
-- The same of these entities, in buckets of five minutes from `start` on; each by its own index range.
WITH asked AS (
    SELECT entity, position::integer - 1 AS position
    FROM unnest(%(entity)b::text[]) WITH ORDINALITY AS e (entity, position)
), late AS MATERIALIZED (
    SELECT a.position, l.source, l.minute, -l.voices AS voices
    FROM late_counts l JOIN asked a USING (entity)
    WHERE l.quarter >= %(too_late)s AND l.minute >= %(start)s::timestamptz AND l.minute <= %(as_of)s::timestamptz
)
SELECT array_agg(position), array_agg(source), array_agg(bucket), array_agg(voices)
FROM (
    SELECT position, source, (extract(epoch FROM minute - %(start)s::timestamptz)::integer / 300) AS bucket,
           sum(voices)::integer AS voices
    FROM (
        SELECT a.position, c.source, c.minute, c.voices
        FROM asked a CROSS JOIN LATERAL (
            SELECT m.source, m.minute, m.authors AS voices FROM minute_counts m
            WHERE m.entity = a.entity
              AND m.minute >= %(start)s::timestamptz AND m.minute <= %(as_of)s::timestamptz
            OFFSET 0
        ) AS c
        UNION ALL
        SELECT position, source, minute, voices FROM late
    ) AS told
    GROUP BY 1, 2, 3
) AS found

-- name: prints_of_entities
-- Fingerprints of the latest posts that name each of these, in the same order however they arrived. One walk over the
-- posts of the stretch: asking for each entity would read all that was ever said of the great ones.
SELECT entity, (array_agg(p.fingerprint ORDER BY p.event_time DESC, p.id))[1:%(limit)s::integer]
FROM posts p CROSS JOIN LATERAL unnest(p.entities) AS n (entity) JOIN unnest(%(entity)b::text[]) AS e (entity) USING (entity)
WHERE p.event_time >= %(since)s AND p.event_time < %(until)s AND p.fingerprint IS NOT NULL
GROUP BY entity

-- name: first_hour
SELECT (extract(epoch FROM min(minute))::bigint / 3600)::integer FROM coverage WHERE observed_seconds > 0

-- name: watched
SELECT hour, numbers, kinds FROM watched

-- name: habits
SELECT entity, hour, numbers FROM habits WHERE entity = ANY(%(entity)b::text[])

-- name: learnt_up_to
-- Whom the hour before was learnt of.
SELECT entity FROM habits WHERE hour >= %(hour)s

-- name: save_habits
INSERT INTO habits (entity, hour, numbers)
SELECT * FROM unnest(%(entity)b::text[], %(hours)b::integer[], %(numbers)b::bytea[])
ON CONFLICT (entity) DO UPDATE SET hour = excluded.hour, numbers = excluded.numbers

-- name: save_watched
INSERT INTO watched (hour, numbers, kinds) VALUES (%(hour)s, %(numbers)s, %(kinds)s::jsonb)
ON CONFLICT (one) DO UPDATE SET hour = excluded.hour, numbers = excluded.numbers, kinds = excluded.kinds

-- name: forget_habits
-- What was silent for so long has nothing left to say of itself.
DELETE FROM habits WHERE hour < %(before)s

-- name: authors_of_entities
-- Each by its own index range, whatever the statistics make of so long a list.
SELECT e.position::integer - 1, a.authors
FROM unnest(%(entity)b::text[]) WITH ORDINALITY AS e (entity, position)
CROSS JOIN LATERAL (
    SELECT count(DISTINCT (m.source, m.author)) AS authors FROM minute_authors m
    WHERE m.entity = e.entity
      AND m.minute > %(window_start)s::timestamptz AND m.minute <= %(as_of)s::timestamptz
) AS a

-- name: coverage_of_minutes
SELECT source, (extract(epoch FROM minute - %(start)s::timestamptz) / 60)::integer, observed_seconds
FROM coverage WHERE minute >= %(start)s::timestamptz AND minute <= %(as_of)s::timestamptz

-- name: coverage_then
-- The same without what was sent again from the quarter of an hour `too_late` on.
SELECT source, (extract(epoch FROM minute - %(start)s::timestamptz) / 60)::integer,
       GREATEST(0, observed_seconds - CASE WHEN late_quarter >= %(too_late)s THEN late_seconds ELSE 0 END)
FROM coverage WHERE minute >= %(start)s::timestamptz AND minute <= %(as_of)s::timestamptz

-- name: current_momentum
SELECT entity, kind, name, (extract(epoch FROM as_of) * 1000000)::bigint, stage,
       (extract(epoch FROM stage_since) * 1000000)::bigint, mentions, authors, velocity, acceleration, surprise,
       score, sparkline, parts, peak, (extract(epoch FROM told_at) * 1000000)::bigint
FROM momentum

-- name: replace_momentum
INSERT INTO momentum (entity, kind, name, as_of, stage, stage_since, mentions, authors, velocity, acceleration,
                      surprise, score, sparkline, parts, peak, told_at)
SELECT entity, kind, name, timestamptz 'epoch' + as_of * interval '1 microsecond', stage,
       timestamptz 'epoch' + stage_since * interval '1 microsecond', mentions, authors, velocity, acceleration,
       surprise, score, sparkline::real[], parts::jsonb, peak,
       timestamptz 'epoch' + told_at * interval '1 microsecond'
FROM unnest(
    %(entity)b::text[], %(kind)b::text[], %(name)b::text[], %(as_of)b::bigint[], %(stage)b::text[],
    %(stage_since)b::bigint[], %(mentions)b::integer[], %(authors)b::integer[], %(velocity)b::float8[],
    %(acceleration)b::float8[], %(surprise)b::float8[], %(score)b::float8[], %(sparkline)b::text[],
    %(parts)b::text[], %(peak)b::float8[], %(told_at)b::bigint[]
) AS t (entity, kind, name, as_of, stage, stage_since, mentions, authors, velocity, acceleration, surprise, score,
        sparkline, parts, peak, told_at)
ON CONFLICT (entity) DO UPDATE
SET as_of = excluded.as_of, stage = excluded.stage, stage_since = excluded.stage_since,
    mentions = excluded.mentions, authors = excluded.authors, velocity = excluded.velocity,
    acceleration = excluded.acceleration, surprise = excluded.surprise, score = excluded.score,
    sparkline = excluded.sparkline, parts = excluded.parts, peak = excluded.peak, told_at = excluded.told_at

-- name: forget_momentum
DELETE FROM momentum WHERE entity = ANY(%(entity)b::text[])

-- name: change_stages
-- One instant of event time holds one change of an entity: what was told before is not told again.
INSERT INTO stage_changes (entity, at, from_stage, stage, score, evidence)
SELECT entity, timestamptz 'epoch' + at * interval '1 microsecond', from_stage, stage, score, evidence::jsonb
FROM unnest(%(entity)b::text[], %(at)b::bigint[], %(from_stage)b::text[], %(stage)b::text[], %(score)b::float8[],
            %(evidence)b::text[]) AS t (entity, at, from_stage, stage, score, evidence)
ON CONFLICT (entity, at) DO NOTHING
RETURNING entity

-- name: fire_alerts
-- One alert for each change that a rule asks for; the oldest rule that matches signs it.
WITH changed AS (
    SELECT entity, kind, stage, score, timestamptz 'epoch' + at * interval '1 microsecond' AS at, evidence::jsonb
    FROM unnest(%(entity)b::text[], %(kind)b::text[], %(stage)b::text[], %(score)b::float8[], %(at)b::bigint[],
                %(evidence)b::text[]) AS t (entity, kind, stage, score, at, evidence)
), matched AS (
    SELECT DISTINCT ON (c.entity) r.id AS rule_id, c.*
    FROM changed c JOIN alert_rules r
      ON r.stage = c.stage AND c.score >= r.min_score
     AND (r.entity IS NULL OR r.entity = c.entity) AND (r.kind IS NULL OR r.kind = c.kind)
    ORDER BY c.entity, r.id
)
INSERT INTO alerts (rule_id, entity, stage, score, at, evidence)
SELECT rule_id, entity, stage, score, at, evidence FROM matched
RETURNING id, rule_id, entity, stage, score, (extract(epoch FROM at) * 1000000)::bigint, 0, NULL::bigint, evidence
