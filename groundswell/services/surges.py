"""Says what the movers are about: a label for each from its posts, and the entities that are named with it."""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Awaitable, Sequence

from groundswell.core.co_mentions import Naming, related
from groundswell.core.entities import entity_kind, entity_name
from groundswell.core.labels import Background, Said, label_of
from groundswell.core.near_duplicates import fingerprints, group
from groundswell.core.posts import Micros
from groundswell.errors import StoreUnavailable
from groundswell.metrics import Metrics
from groundswell.ports.momentum import SurgeAbout, SurgeMaterial, SurgePost, SurgeStore
from groundswell.ports.time import Clock
from groundswell.services.pausing import pause

log = logging.getLogger(__name__)

SOONEST_S = 5.0
"""A look that was asked for comes no sooner after the one before."""
WINDOW_MINUTES = 60
MAX_MOVERS = 20
POSTS_OF_A_MOVER = 200
BACKGROUND_POSTS = 1200


class SurgeTeller:
    """Looks at the top movers every `interval_s`.

    What it makes is a function of what is stored, so nothing is lost when it is stopped, and an outage makes no
    difference once it is backfilled.
    """

    def __init__(self, store: SurgeStore, clock: Clock, *, interval_s: float, metrics: Metrics) -> None:
        self._store = store
        self._clock = clock
        self._interval_s = interval_s
        self._metrics = metrics
        self._told: Micros | None = None
        self._waits = False
        self._asked = asyncio.Event()

    def wake(self) -> None:
        """Look soon: posts that labels were made of are withdrawn."""
        self._asked.set()

    async def run(self, stop: asyncio.Event) -> None:
        """Look until `stop`. A store that is away is waited for."""
        while not stop.is_set():
            started = self._clock.monotonic()
            self._asked.clear()
            try:
                await self.look()
            except StoreUnavailable as error:
                if not self._waits:
                    log.warning("labels and links of movers wait for the database: %s", error)
                self._waits = True
            else:
                self._waits = False
                self._metrics.observe("surges_seconds", self._clock.monotonic() - started)
            if await self._within(stop.wait(), min(SOONEST_S, self._interval_s)):
                return
            rest = max(0.0, self._interval_s - SOONEST_S)
            await self._within(pause(self._clock, None, stop, self._asked), rest)

    @staticmethod
    async def _within(event: Awaitable[object], seconds: float) -> bool:
        try:
            await asyncio.wait_for(event, seconds)
        except TimeoutError:
            return False
        return True

    async def look(self) -> Sequence[SurgeAbout]:
        """One look at the last full hour of event time; what it found is stored. Raises `StoreUnavailable`."""
        material = await self._store.material(
            window_minutes=WINDOW_MINUTES,
            movers=MAX_MOVERS,
            posts_each=POSTS_OF_A_MOVER,
            background_posts=BACKGROUND_POSTS,
        )
        if material is None or (material.as_of == self._told and not material.posts):
            return []
        # Half a second of work at the most: not on the loop that reads the source.
        surges = await asyncio.to_thread(tell, material)
        await self._store.replace(material.as_of, surges)
        self._told = material.as_of
        return surges


def tell(material: SurgeMaterial) -> list[SurgeAbout]:
    """What each mover is about, in the order of `material`. Copies of a text count once, for who posted the newest."""
    background = Background((_said(post), post.entities) for post in without_copies(material.background))
    surges: list[SurgeAbout] = []
    for mover, posts in material.posts.items():
        own = without_copies(posts)
        # A mention's name is an identity, not a word.
        name = "" if entity_kind(mover) == "mention" else entity_name(mover)
        surges.append(
            SurgeAbout(
                entity=mover,
                label=label_of(mover, name, [_said(post) for post in own], background),
                related=related(
                    mover,
                    [Naming(post.author, post.entities) for post in own],
                    mover_posts=material.mentions.get(mover, 0),
                    mentions=material.mentions,
                    total_posts=material.total_posts,
                ),
            )
        )
    return surges


def without_copies(posts: Sequence[SurgePost]) -> list[SurgePost]:
    """The first of each group of copies and near-copies."""
    first = group(fingerprints([post.text for post in posts]))
    return [post for place, post in enumerate(posts) if first[place] == place]


def _said(post: SurgePost) -> Said:
    return Said(post.author, post.text, post.lang)
