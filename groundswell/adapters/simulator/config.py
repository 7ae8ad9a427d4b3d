"""What a world is made of. Two worlds of equal configuration are equal, whenever and wherever they run."""

from __future__ import annotations

from typing import Literal

import msgspec

from groundswell.core.posts import MICROS_PER_SECOND, Micros


class Surge(msgspec.Struct, frozen=True):
    """A planted rise of one entity: what a detector is judged by.

    The extra rate climbs over `ramp_s` to `peak` times the entity's usual rate (see `World.usual_rate`), stays until
    half of the remaining time has passed, and falls to nothing at `duration_s`. `spam` is the decoy: the same curve
    by a handful of throwaway accounts, which are taken down `takedown_after_s` after the end.
    """

    entity: str
    start: Micros
    ramp_s: float = 60
    peak: float = 12
    duration_s: float = 300
    authors: int = 400
    """How many accounts take part, at most."""
    kind: Literal["story", "spam"] = "story"
    takedown_after_s: float | None = None
    """Only for spam. None leaves the accounts be."""

    @property
    def end(self) -> Micros:
        return self.start + round(self.duration_s * MICROS_PER_SECOND)

    def intensity(self, at: Micros) -> float:
        """0 to 1: the height of the curve at an instant."""
        age = (at - self.start) / MICROS_PER_SECOND
        if not 0 <= age < self.duration_s:
            return 0.0
        if age < self.ramp_s:
            return age / self.ramp_s
        fall = max(self.duration_s - self.ramp_s, 0) / 2
        left = self.duration_s - age
        return 1.0 if left >= fall else left / fall


class WorldConfig(msgspec.Struct, frozen=True, kw_only=True):
    """A deterministic social network. Shares are fractions of the posts of a second."""

    seed: int = 7
    posts_per_second: float = 25
    """New posts a second on average over the day, surges not included."""
    authors: int = 20_000
    daily_rhythm: bool = True
    """Whether the rate follows the time of day. The languages' shares always do."""
    began_at: Micros = 0
    """Nothing exists before; a tape that starts here is complete in itself."""

    surges: tuple[Surge, ...] = ()
    surge_every_s: float = 75
    """Scheduled surges: one starts in every stretch of this length. 0 for none."""
    spam_every: int = 5
    """Every n-th scheduled surge is spam instead. 0 for none."""

    reply_share: float = 0.28
    quote_share: float = 0.04
    image_share: float = 0.08
    delete_share: float = 0.015
    update_share: float = 0.004
    duplicate_share: float = 0.004
    """The same record once more, up to two minutes later, with a later `time_us`."""
    late_share: float = 0.005
    """Posts whose author claims that they were written minutes to days ago."""
    skewed_share: float = 0.001
    """Posts whose author's clock runs ahead."""
    others_per_post: float = 1.5
    """Likes, reposts, follows, blocks and profile edits for every post."""
    away_per_minute: float = 0
    """Ordinary accounts a minute that the network takes away; most of them it brings back within two minutes."""
    account_share: float = 0.002
    """Identity and account frames that change nothing."""
    garbage_share: float = 0.0005
    """Frames that are broken: cut off, of wrong types, of invalid UTF-8, too deep, or huge."""
