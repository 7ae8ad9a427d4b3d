-- An hour is learnt as it stood a quarter of an hour after its end. What is counted now, less what came later, is what
-- stood then. Null where a release that did not tell noted the change.
ALTER TABLE late_counts
    ADD COLUMN voices  integer NOT NULL DEFAULT 0,   -- authors that came, less those that went
    ADD COLUMN quarter integer;                      -- quarter of an hour of the source's time, since 1970
CREATE INDEX late_counts_by_quarter ON late_counts (quarter);

-- Which minutes of a source are over for a commit that brings it up to `known_at` (microseconds since 1970; null: it
-- brings it no further): those before `before`, or before the quarter of an hour that the commit belongs to. Of older
-- ones than `after` nobody needs to know.
CREATE FUNCTION minutes_over(
    of_source text, known_at bigint, OUT before timestamptz, OUT after timestamptz, OUT quarter integer
) RETURNS SETOF record LANGUAGE sql STABLE
BEGIN ATOMIC
    SELECT GREATEST(date_trunc('minute', c.covered_until), date_bin('15 minutes', now.instant, timestamptz 'epoch')),
           now.instant - interval '25 hours',
           floor(extract(epoch FROM now.instant) / 900)::integer
    FROM cursors c,
    LATERAL (SELECT GREATEST(c.covered_until, timestamptz 'epoch' + known_at * interval '1 microsecond')) AS now (instant)
    WHERE c.source = of_source AND now.instant IS NOT NULL;
END;
