"""Posts that come, change and go while their counts are rolled up, and what their histories have to say in the end."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Mapping
from typing import Any

import psycopg

from groundswell.adapters.postgres_pool import Pool
from groundswell.adapters.postgres_rollup import PostgresRollup
from groundswell.core.posts import MICROS_PER_SECOND, Micros
from groundswell.services.rollup import Rollup

HOUR_S, DAY_S = 3600, 86_400
KEEP_S: Mapping[int, float] = {60: HOUR_S, 300: 30 * DAY_S, 3600: 60 * DAY_S, 86_400: 400 * DAY_S}


async def roll_up(pool: Pool, keep_s: Mapping[int, float] = KEEP_S, *, bite: int = 10_000) -> int:
    """Every bite that is due; answers how many rows were dealt with."""
    rollup, total = Rollup(PostgresRollup(pool), keep_s=keep_s, bite=bite), 0
    while done := await rollup.sweep():
        total += done
    return total


def buckets_of_posts(url: str, resolution: int) -> dict[tuple[str, Micros, str], tuple[int, int]]:
    """(mentions, distinct authors) by (entity, bucket, source), counted from the posts themselves."""
    mentions: dict[tuple[str, Micros, str], int] = defaultdict(int)
    authors: dict[tuple[str, Micros, str], set[str]] = defaultdict(set)
    with psycopg.connect(url) as conn:
        posts = conn.execute(
            "SELECT source, author, entities, (extract(epoch FROM event_time) * 1000000)::bigint FROM posts"
        ).fetchall()
    step = resolution * MICROS_PER_SECOND
    for source, author, entities, event_time in posts:
        for entity in entities:
            key = (entity, event_time // step * step, source)
            mentions[key] += 1
            authors[key].add(author)
    return {key: (n, len(authors[key])) for key, n in mentions.items()}


def buckets_of_counts(url: str, resolution: int) -> dict[tuple[str, Micros, str], tuple[int, int]]:
    """The same, as the rolled-up and the remaining counts have it together."""
    bin_ = f"date_bin(make_interval(secs => {resolution}), minute, timestamptz 'epoch')"
    query = f"""
        SELECT entity, bucket, source, sum(n)::int, (count(*) FILTER (WHERE n > 0))::int FROM (
            SELECT entity, bucket, source, key, sum(n) AS n FROM (
                SELECT entity, (extract(epoch FROM {bin_}) * 1000000)::bigint AS bucket, source,
                       author_key(author) AS key, mentions AS n FROM minute_authors
                UNION ALL
                SELECT entity, (extract(epoch FROM bucket) * 1000000)::bigint, source, u.key, COALESCE(u.n, 1)
                FROM rollups, unnest(author_keys, author_mentions) AS u (key, n) WHERE resolution = {resolution}
            ) AS raw GROUP BY 1, 2, 3, 4
        ) AS by_author GROUP BY 1, 2, 3 HAVING bool_or(n <> 0)
    """
    with psycopg.connect(url) as conn:
        rows: list[tuple[Any, ...]] = conn.execute(query).fetchall()  # pyright: ignore
    return {(entity, bucket, source): (n, authors) for entity, bucket, source, n, authors in rows}
