"""What labels and links of movers are made from, read from Postgres, and where they are stored."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import msgspec

from groundswell.adapters.postgres_pool import Pool, connection
from groundswell.core.instants import to_datetime
from groundswell.core.posts import MICROS_PER_MINUTE, Micros
from groundswell.ports.momentum import SurgeAbout, SurgeMaterial, SurgePost
from groundswell.sql import queries

SQL = queries("surges")

BACKGROUND_MINUTES = 360
BACKGROUND_STEPS = 24


class PostgresSurges:
    """`ports.SurgeStore` over a connection pool."""

    def __init__(self, pool: Pool) -> None:
        self._pool = pool

    async def material(
        self, *, window_minutes: int, movers: int, posts_each: int, background_posts: int
    ) -> SurgeMaterial | None:
        async with connection(self._pool) as conn:
            # One snapshot: the counts belong to the posts.
            await conn.execute("SET TRANSACTION ISOLATION LEVEL REPEATABLE READ")
            row = await (await conn.execute(SQL["window"], {"movers": movers})).fetchone()
            if row is None or row[0] is None:
                return None
            as_of: Micros = row[0]
            until = to_datetime(as_of)
            span = {"since": to_datetime(as_of - window_minutes * MICROS_PER_MINUTE), "until": until}
            posts: dict[str, list[SurgePost]] = {entity: [] for entity in row[1]}
            found = await conn.execute(SQL["posts_of_movers"], {**span, "movers": row[1], "limit": posts_each})
            async for entity, *post in found:
                posts[entity].append(_post(post))
            named = {key for of_mover in posts.values() for post in of_mover for key in post.entities} | posts.keys()
            counted = await (await conn.execute(SQL["mentions"], {**span, "entities": sorted(named)})).fetchall()
            total = await (await conn.execute(SQL["total_posts"], span)).fetchone()
            background: list[SurgePost] = []
            if posts:
                spread = {
                    "since": to_datetime(as_of - BACKGROUND_MINUTES * MICROS_PER_MINUTE),
                    "until": until,
                    "steps": BACKGROUND_STEPS,
                    "limit": background_posts // BACKGROUND_STEPS,
                }
                background = [_post(row) for row in await (await conn.execute(SQL["background"], spread)).fetchall()]
        return SurgeMaterial(
            as_of=as_of,
            posts=posts,
            mentions=dict(counted),
            total_posts=0 if total is None else total[0],
            background=background,
        )

    async def replace(self, as_of: Micros, surges: Sequence[SurgeAbout]) -> None:
        labelled = [(surge.entity, surge.label) for surge in surges if surge.label is not None]
        links = [(surge.entity, each) for surge in surges for each in surge.related]
        async with connection(self._pool) as conn:
            await conn.execute(SQL["forget_labels"])
            await conn.execute(SQL["forget_links"])
            await conn.execute(
                SQL["store_labels"],
                {
                    "as_of": to_datetime(as_of),
                    "entity": [entity for entity, _ in labelled],
                    "label": [label.text for _, label in labelled],
                    "phrases": [msgspec.json.encode(label.phrases).decode() for _, label in labelled],
                    "posts": [label.posts for _, label in labelled],
                    "authors": [label.authors for _, label in labelled],
                },
            )
            await conn.execute(
                SQL["store_links"],
                {
                    "as_of": to_datetime(as_of),
                    "entity": [entity for entity, _ in links],
                    "other": [each.other for _, each in links],
                    "posts": [each.posts for _, each in links],
                    "authors": [each.authors for _, each in links],
                    "npmi": [each.npmi for _, each in links],
                    "g2": [each.g2 for _, each in links],
                },
            )


def _post(row: Sequence[Any]) -> SurgePost:
    id_, author, text, lang, entities = row
    return SurgePost(id_, author, text, lang, tuple(entities))
