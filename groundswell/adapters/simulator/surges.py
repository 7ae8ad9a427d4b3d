"""When what surges: the planted surges of a configuration, and the world's own schedule of them."""

from __future__ import annotations

from collections.abc import Sequence

from groundswell.adapters.simulator.chance import derive, unit
from groundswell.adapters.simulator.config import Surge, WorldConfig
from groundswell.adapters.simulator.stories import SPAM_ENTITIES, STORIES
from groundswell.adapters.simulator.vocabulary import vocabulary
from groundswell.core.posts import MICROS_PER_SECOND, Micros

LEAST_USUAL_RATE = 1 / 60
"""Mentions a second that a peak multiplies where an entity is rarer than once a minute."""
LONGEST_S = 460
TAKEDOWN_TRAIL_S = 120
"""Spam accounts are taken down one after another within this time after the first."""
_LANES = 900
_SCHEDULE = 0x5C4ED


class Lane:
    """One surge as a stream of posts next to the ordinary ones. `number` keeps its post ids apart from the others'."""

    __slots__ = ("extra_rate", "key", "lines", "number", "surge")

    def __init__(self, surge: Surge, *, number: int, seed_key: int, usual_rate: float) -> None:
        self.surge = surge
        self.number = number
        self.key = derive(seed_key, number, surge.start)
        self.extra_rate = surge.peak * max(usual_rate, LEAST_USUAL_RATE)
        """Mentions a second at the peak."""
        words = vocabulary()
        self.lines = words.spam(surge.entity) if surge.kind == "spam" else words.story(surge.entity)

    def posts_in(self, second: int) -> int:
        """How many posts the surge adds in one second."""
        intensity = self.surge.intensity(second * MICROS_PER_SECOND + MICROS_PER_SECOND // 2)
        if intensity <= 0:
            return 0
        return int(self.extra_rate * intensity + unit(derive(self.key, second)))

    def takedowns(self) -> Sequence[tuple[Micros, int]]:
        """(instant, number of the author) of every takedown that follows the surge."""
        surge = self.surge
        if surge.kind != "spam" or surge.takedown_after_s is None:
            return ()
        first = surge.end + round(surge.takedown_after_s * MICROS_PER_SECOND)
        step = TAKEDOWN_TRAIL_S * MICROS_PER_SECOND // max(surge.authors, 1)
        return [(first + n * step, n) for n in range(surge.authors)]


class Schedule:
    """Finds the lanes of any second without knowing the seconds before."""

    def __init__(self, config: WorldConfig, seed_key: int) -> None:
        self._config = config
        self._key = derive(seed_key, _SCHEDULE)
        self._planted = [self._lane(surge, _LANES + n) for n, surge in enumerate(config.surges)]
        self._slots: dict[int, Lane] = {}
        assert len(self._planted) <= 100, "clock ids tell at most a hundred planted surges apart"

    def lanes(self, second: int) -> list[Lane]:
        """All surges that post, or whose accounts fall, in this second, in a fixed order."""
        return self.between(second * MICROS_PER_SECOND, (second + 1) * MICROS_PER_SECOND)

    def between(self, since: Micros, until: Micros) -> list[Lane]:
        """All surges that overlap [since, until), takedowns included."""
        return [lane for lane in (*self._planted, *self._scheduled(since, until)) if _touches(lane, since, until)]

    def usual_rate(self, entity: str) -> float:
        """Mentions a second outside surges, averaged over the day."""
        config = self._config
        original = 1 - config.reply_share
        return config.posts_per_second * original * vocabulary().shares().get(entity, 0.0)

    def _scheduled(self, since: Micros, until: Micros) -> list[Lane]:
        every = self._config.surge_every_s
        if every <= 0:
            return []
        step = round(every * MICROS_PER_SECOND)
        oldest = since - (LONGEST_S + 2 * TAKEDOWN_TRAIL_S) * MICROS_PER_SECOND
        return [self._slot(number, step) for number in range(max(oldest // step, 0), until // step + 1)]

    def _slot(self, number: int, step: int) -> Lane:
        lane = self._slots.get(number)
        if lane is None:
            if len(self._slots) > 4096:
                self._slots.clear()
            lane = self._slots[number] = self._lane(self._surge(number, step), 1 + number % (_LANES - 1))
        return lane

    def _surge(self, number: int, step: int) -> Surge:
        key = derive(self._key, number)
        first, second, third, fourth = (unit(derive(key, n)) for n in range(4))
        start = number * step + int(first * 0.4 * step)
        spam_every = self._config.spam_every
        if spam_every and number % spam_every == spam_every - 1:
            entity = SPAM_ENTITIES[int(second * len(SPAM_ENTITIES))]
            return Surge(
                entity, start, ramp_s=15, peak=self._peak(entity, 0.02 + 0.03 * third), duration_s=90 + 60 * fourth,
                authors=2 + int(3 * second), kind="spam", takedown_after_s=45,
            )  # fmt: skip
        entity = self._entity(number)
        return Surge(
            entity, start, ramp_s=35 + 55 * second, peak=self._peak(entity, 0.02 + 0.07 * third * third),
            duration_s=200 + 260 * fourth, authors=150 + int(1500 * third),
        )  # fmt: skip

    def _entity(self, number: int) -> str:
        """Every story comes once in a round, in a new order, and at least half a round after the last time."""
        turn, place = divmod(number, len(STORIES))
        half = len(STORIES) // 2
        order = sorted(range(len(STORIES)), key=lambda n: (n >= half, derive(self._key, turn, n)))
        return STORIES[order[place]].entity

    def _peak(self, entity: str, share: float) -> float:
        """The multiple of the usual rate that makes the surge `share` of all posts at its peak."""
        return share * self._config.posts_per_second / max(self.usual_rate(entity), LEAST_USUAL_RATE)

    def _lane(self, surge: Surge, number: int) -> Lane:
        return Lane(surge, number=number, seed_key=self._key, usual_rate=self.usual_rate(surge.entity))


def _touches(lane: Lane, since: Micros, until: Micros) -> bool:
    surge = lane.surge
    end = surge.end
    if surge.kind == "spam" and surge.takedown_after_s is not None:
        end += round((surge.takedown_after_s + TAKEDOWN_TRAIL_S) * MICROS_PER_SECOND)
    return surge.start < until and end > since
