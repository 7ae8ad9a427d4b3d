-- What labels and links of movers are made from, and where they go. Everything is read by event time and id, never in the
-- order of arrival, so that an outage makes no difference.

-- name: window
-- The last full minute that was watched, in microseconds, and the movers: what is more than dormant, the best first.
SELECT (extract(epoch FROM date_trunc('minute', (SELECT max(covered_until) FROM cursors))) * 1000000)::bigint,
       ARRAY(SELECT entity FROM momentum WHERE stage <> 'dormant' ORDER BY score DESC, entity LIMIT %(movers)s)

-- name: posts_of_movers
-- The latest posts of each mover within the window. Labels are shown to everybody: posts that are not, make none.
SELECT m.entity, p.id, p.author, p.text, p.lang, p.entities
FROM unnest(%(movers)s::text[]) WITH ORDINALITY AS m (entity, place), LATERAL (
    SELECT id, author, text, lang, entities FROM posts
    WHERE entities @> ARRAY[m.entity] AND event_time >= %(since)s AND event_time < %(until)s AND NOT restricted
    ORDER BY event_time DESC, id LIMIT %(limit)s
) p
ORDER BY m.place

-- name: mentions
SELECT entity, sum(mentions)::integer FROM minute_counts
WHERE entity = ANY(%(entities)s::text[]) AND minute >= %(since)s AND minute < %(until)s
GROUP BY entity

-- name: total_posts
SELECT COALESCE(sum(posts), 0)::integer FROM minute_totals WHERE minute >= %(since)s AND minute < %(until)s

-- name: background
-- A few posts before each of many instants, evenly spread over what there is of the time given.
WITH span AS (
    SELECT min(event_time) AS since, (%(until)s::timestamptz - min(event_time)) / %(steps)s::integer AS step
    FROM posts WHERE event_time >= %(since)s AND event_time < %(until)s
)
SELECT p.id, p.author, p.text, p.lang, p.entities
FROM span, generate_series(1, %(steps)s) AS n, LATERAL (
    SELECT id, author, text, lang, entities FROM posts
    WHERE event_time < span.since + n * span.step AND event_time >= span.since + (n - 1) * span.step AND NOT restricted
    ORDER BY event_time DESC, id LIMIT %(limit)s
) p

-- name: forget_labels
DELETE FROM surge_labels

-- name: forget_links
DELETE FROM co_mentions

-- name: store_labels
INSERT INTO surge_labels (entity, as_of, label, phrases, posts, authors)
SELECT entity, %(as_of)s::timestamptz, label, phrases::jsonb, posts, authors
FROM unnest(%(entity)s::text[], %(label)s::text[], %(phrases)s::text[], %(posts)s::integer[], %(authors)s::integer[])
    AS t (entity, label, phrases, posts, authors)

-- name: store_links
INSERT INTO co_mentions (entity, other, as_of, posts, authors, npmi, g2)
SELECT entity, other, %(as_of)s::timestamptz, posts, authors, npmi, g2
FROM unnest(%(entity)s::text[], %(other)s::text[], %(posts)s::integer[], %(authors)s::integer[], %(npmi)s::float8[],
            %(g2)s::float8[]) AS t (entity, other, posts, authors, npmi, g2)
