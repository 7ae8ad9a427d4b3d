"""What an entity usually does: its level, its rhythm over day and week, how unsteady it is, how high its days peak.

A *habit* is a row of `WIDTH` numbers that is folded forward hour by hour from counts and coverage. Every number is a
sum that forgets exponentially; what it has to be divided by depends on coverage alone and is therefore the same for
every entity: the *watched* row. An entity that says nothing only forgets, so an idle one needs no work, and one that
was never seen is a row of zeros: what is expected of it then comes from priors.

Expectation is multiplicative, level times hour of the day times day of the week, each factor shrunk towards one by
a gamma prior (Poisson-gamma shrinkage, as in Gelman et al., Bayesian Data Analysis, 3rd ed., section 2.6). Counts
enter winsorised (Huber, Robust Statistics, chapter 1), so that a surge does not become its own excuse.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import TypeAlias

import msgspec
import numpy as np
import numpy.typing as npt

from groundswell.core.priors import GENERAL, Kinds, Priors, learn_kinds
from groundswell.core.surprise import deviance_residual, gumbel_of_moments

Floats: TypeAlias = npt.NDArray[np.floating]

HOURS_A_DAY = 24
DAYS_A_WEEK = 7
THURSDAY = 3
"""The weekday of the first day of the Unix epoch, Monday being 0."""

LEVEL = 0
HOURS = slice(1, 25)
WEEKDAYS = slice(25, 32)
NOISE = slice(32, 34)
SIGNAL = slice(34, 36)
PEAKS = slice(36, 38)
SQUARES = slice(38, 40)
TODAY = slice(40, 42)
WIDTH = 42
"""Numbers in a habit; in single precision 168 bytes an entity."""

LEVEL_HALF_LIFE_H = 7 * 24.0
RHYTHM_HALF_LIFE_H = 21 * 24.0
PEAK_HALF_LIFE_H = 30 * 24.0

PRIOR_RATE = 0.01
"""Mentions a minute of an entity never seen, worth `PRIOR_MINUTES` of watching."""
PRIOR_MINUTES = 60.0
HOUR_PRIOR_MENTIONS = 20.0
HOUR_PRIOR_DAYS = 2.0
WEEKDAY_PRIOR_MENTIONS = 50.0
WEEKDAY_PRIOR_WEEKS = 2.0
"""The strength of "no rhythm": this many mentions, and this many days or weeks at the entity's own level."""
FACTOR_LIMITS = (0.02, 50.0)
LEAST_RATE = 0.02
"""Mentions a minute that are expected of anything: what is said for the first time is often said two or three times."""

WINSOR_RATIO = 3.0
WINSOR_MENTIONS = 3.0
WINSOR_DEVIATIONS = 3.0
NOISE_CAP = 4.0
"""Counts enter the level at most at so many times what was expected, and so many mentions; the peak of a day at so many
standard deviations of peaks; a squared deviation at so many variances."""

DISPERSION_BUCKETS = (200.0, 12.0)
LEAST_DISPERSION = 0.002
PEAK_MEAN_DAYS = 1.0
PEAK_DEVIATION_DAYS = 3.0

ENOUGH_MINUTES = (30.0, 180.0)
"""With less watched before a window than this, by scale, little in it can be called surprising."""
WINSOR_AFTER_MINUTES = 60.0


class Grid(msgspec.Struct, frozen=True):
    """Buckets of equal length. Everything is looked at on two scales: one bucket, and six hours of buckets."""

    minutes: int = 5

    def __post_init__(self) -> None:
        if self.minutes < 1 or 60 % self.minutes:
            raise ValueError(f"buckets of {self.minutes} minutes do not fill an hour: use a divisor of 60")

    @property
    def hour(self) -> int:
        return 60 // self.minutes

    @property
    def scales(self) -> tuple[int, int]:
        """Buckets in the fast and in the slow window."""
        return 1, 6 * self.hour


class Watched(msgspec.Struct, frozen=True):
    """What habits are divided by: buckets watched, forgetting as the habits do. The same for every entity."""

    row: Floats
    """Shape (WIDTH,). `TODAY` holds the watched part of the day."""
    kinds: Kinds = {}
    """What kinds have taught; see `groundswell.core.priors`."""

    @classmethod
    def nothing(cls) -> Watched:
        return cls(np.zeros(WIDTH))


class Outlook(msgspec.Struct, frozen=True):
    """What is expected of n entities in b buckets."""

    mean: Floats
    """Shape (n, b): mentions, of the observed part of each bucket."""
    factor: Floats
    """Shape (n, b): the rhythm alone."""
    dispersion: Floats
    """Shape (n, 2): by scale."""
    peak_mean: Floats
    peak_deviation: Floats
    """Shape (n, 2): of the highest standard deviation of a day, by scale."""
    watched_minutes: Floats
    """Shape (b,): watched before each bucket."""


def no_habits(n: int) -> Floats:
    """Habits of entities that were never seen: shape (n, WIDTH)."""
    return np.zeros((n, WIDTH), np.float32)


def outlook(
    grid: Grid,
    habits: Floats,
    watched: Watched,
    counts: Floats,
    exposure: Floats,
    *,
    first_minute: int,
    fresh: int,
    priors: Priors = GENERAL,
) -> Outlook:
    """What habit leads one to expect of each bucket, using nothing later than the bucket before it.

    Args:
        counts: shape (n, b), mentions.
        exposure: shape (b,), the observed part of each bucket, 0 to 1.
        first_minute: minutes since the epoch of the first bucket's start; not necessarily a multiple of the grid.
        fresh: how many of the last buckets are not in the habits yet. They tell the level of those that follow them.
        priors: what is expected of each before it has a history.
    """
    level, denominator = habits[:, LEVEL].astype(float), float(watched.row[LEVEL])
    rate = level / denominator if denominator > 0 else np.zeros(len(habits))
    factor = _rhythm(grid, habits, watched.row, rate, first_minute=first_minute, buckets=len(exposure))
    prior_buckets = PRIOR_MINUTES / grid.minutes
    prior = PRIOR_RATE * grid.minutes * prior_buckets
    base = (level + prior) / (denominator + prior_buckets)
    least = LEAST_RATE * grid.minutes
    mean = np.maximum(base[:, None] * factor, least) * exposure
    before = np.zeros(len(exposure))
    if fresh:
        told, new = slice(len(exposure) - fresh, None), exposure[-fresh:]
        before[told] = np.cumsum(new) - new
        enough = (denominator + before[told]) * grid.minutes >= WINSOR_AFTER_MINUTES
        seen = np.where(enough, winsorised(counts[:, told], mean[:, told]), counts[:, told]) * (new > 0)
        level_of = np.cumsum(seen / factor[:, told], axis=1)
        level_of = level_of - seen / factor[:, told]
        rates = (level[:, None] + level_of + prior) / (denominator + before[told] + prior_buckets)
        mean[:, told] = np.maximum(rates * factor[:, told], least) * new
    return Outlook(
        mean=mean,
        factor=factor,
        dispersion=_dispersion(grid, habits, rate, priors),
        **_peaks(habits, watched.row, priors),
        watched_minutes=(denominator + before) * grid.minutes,
    )


def winsorised(counts: Floats, mean: Floats) -> Floats:
    return np.minimum(counts, WINSOR_RATIO * mean + WINSOR_MENTIONS)


def _rhythm(grid: Grid, habits: Floats, watched: Floats, rate: Floats, *, first_minute: int, buckets: int) -> Floats:
    """Shape (n, buckets): hour of the day, joined by straight lines, times day of the week."""
    pull = HOUR_PRIOR_MENTIONS + HOUR_PRIOR_DAYS * grid.hour * rate[:, None]
    hours = (habits[:, HOURS] + pull) / (watched[HOURS] * rate[:, None] + pull)
    hours = (np.roll(hours, 1, axis=1) + 2 * hours + np.roll(hours, -1, axis=1)) / 4
    pull = WEEKDAY_PRIOR_MENTIONS + WEEKDAY_PRIOR_WEEKS * HOURS_A_DAY * grid.hour * rate[:, None]
    weekdays = (habits[:, WEEKDAYS] + pull) / (watched[WEEKDAYS] * rate[:, None] + pull)

    centre = (first_minute + grid.minutes * (np.arange(buckets) + 0.5)) / 60 - 0.5
    hour = np.floor(centre).astype(int)
    part = centre - hour
    by_hour = hours[:, hour % HOURS_A_DAY] * (1 - part) + hours[:, (hour + 1) % HOURS_A_DAY] * part
    weekday = weekday_of(np.floor(centre + 0.5).astype(int))
    return np.clip(by_hour * weekdays[:, weekday], *FACTOR_LIMITS)


def weekday_of(hour: npt.NDArray[np.int_] | int) -> npt.NDArray[np.int_]:
    """0 for Monday, of hours since the epoch."""
    return (np.asarray(hour) // HOURS_A_DAY + THURSDAY) % DAYS_A_WEEK


def _dispersion(grid: Grid, habits: Floats, rate: Floats, priors: Priors) -> Floats:
    unit = (rate[:, None] + 0.25) ** 2 * np.square(grid.scales, dtype=float)
    pull = unit * DISPERSION_BUCKETS
    found = (habits[:, NOISE] + priors.dispersion * pull) / (habits[:, SIGNAL] + pull)
    return np.maximum(found, LEAST_DISPERSION)


def _peaks(habits: Floats, watched: Floats, priors: Priors) -> dict[str, Floats]:
    days = watched[PEAKS]
    sums, squares = habits[:, PEAKS].astype(float), habits[:, SQUARES].astype(float)
    mean = (sums + PEAK_MEAN_DAYS * priors.peak_mean) / (days + PEAK_MEAN_DAYS)
    spread = np.maximum(squares - 2 * mean * sums + days * mean**2, 0.0)
    pull = PEAK_DEVIATION_DAYS * np.square(priors.peak_deviation)
    deviation = np.sqrt((spread + pull) / (days + PEAK_DEVIATION_DAYS))
    return {
        "peak_mean": np.maximum(mean, priors.least_mean),
        "peak_deviation": np.maximum(deviation, priors.least_deviation),
    }


# ------------------------------------------------------------------ how surprising
def windows(grid: Grid, values: Floats, last: int) -> tuple[Floats, Floats]:
    """Sums over the fast and the slow window that end with each of the `last` buckets: two of shape (n, last)."""
    if last == 1:
        # What a tick asks for: a running sum over everything would be most of its work.
        fast, slow = (values[..., -span:].sum(-1, keepdims=True) for span in grid.scales)
        return fast, slow
    sums = np.concatenate([np.zeros((*values.shape[:-1], 1)), np.cumsum(values, axis=-1)], axis=-1)
    width = int(values.shape[-1])
    ends = np.arange(width - last + 1, width + 1)
    fast, slow = (sums[..., ends] - sums[..., np.maximum(ends - span, 0)] for span in grid.scales)
    return fast, slow


def deviations(grid: Grid, counts: Floats, expected: Outlook, last: int) -> tuple[Floats, Floats]:
    """By scale, for each of the `last` buckets: standard deviations above what habit leads one to expect.

    Scaled down where little was watched before: what was not watched may have been there.
    """
    found: list[Floats] = []
    sums = zip(windows(grid, counts, last), windows(grid, expected.mean, last), strict=True)
    for scale, (seen, mean) in enumerate(sums):
        z = deviance_residual(seen, np.maximum(mean, 1e-3), 1 / expected.dispersion[:, scale, None])
        found.append(z * confidence(grid, expected, scale, last))
    return found[0], found[1]


def confidence(grid: Grid, expected: Outlook, scale: int, last: int) -> Floats:
    """Shape (last,), 0 to 1."""
    before = expected.watched_minutes[-last:] - (grid.scales[scale] - 1) * grid.minutes
    return np.clip(before / ENOUGH_MINUTES[scale], 0.0, 1.0)


# ------------------------------------------------------------------ learning
def _kept(hours: npt.NDArray[np.int_] | int) -> Floats:
    """What `hours` leave of each column."""
    half_lives = np.full(WIDTH, PEAK_HALF_LIFE_H)
    half_lives[LEVEL], half_lives[HOURS], half_lives[WEEKDAYS] = (
        LEVEL_HALF_LIFE_H,
        RHYTHM_HALF_LIFE_H,
        RHYTHM_HALF_LIFE_H,
    )
    half_lives[NOISE] = half_lives[SIGNAL] = RHYTHM_HALF_LIFE_H
    half_lives[TODAY] = np.inf
    return 0.5 ** (np.asarray(hours, float)[..., None] / half_lives)


def fold_hour(
    grid: Grid,
    habits: Floats,
    watched: Watched,
    counts: Floats,
    exposure: Floats,
    *,
    hour: int,
    priors: Priors = GENERAL,
) -> tuple[Floats, Watched]:
    """Habits after one more hour of the epoch.

    Args:
        habits: shape (n, WIDTH), folded up to this hour.
        counts: shape (n, b), mentions in the buckets that end with the hour; b spans the hour and the slow window.
        exposure: shape (b,).
    """
    first_minute = (hour + 1) * 60 - len(exposure) * grid.minutes
    expected = outlook(
        grid, habits, watched, counts, exposure, first_minute=first_minute, fresh=grid.hour, priors=priors
    )
    now = slice(-grid.hour, None)
    enough = expected.watched_minutes >= WINSOR_AFTER_MINUTES
    clipped = np.where(enough, winsorised(counts, expected.mean), counts) * (exposure > 0)
    hour_of_day, weekday = hour % HOURS_A_DAY, int(weekday_of(hour))
    centre = grid.hour // 2

    new = habits.astype(float) * _kept(1)
    own = clipped[:, now] / expected.factor[:, now]
    new[:, LEVEL] += own.sum(1)
    # Each rhythm is learnt net of the other.
    shares = _shares(grid, habits, watched.row)
    total = clipped[:, now].sum(1)
    new[:, HOURS.start + hour_of_day] += total / shares[1][:, weekday]
    new[:, WEEKDAYS.start + weekday] += total / shares[0][:, hour_of_day]
    for scale, (seen, mean) in enumerate(
        zip(windows(grid, clipped, grid.hour), windows(grid, expected.mean, grid.hour), strict=True)
    ):
        trust = (confidence(grid, expected, scale, grid.hour) > 0) & (exposure[now] > 0)
        pick = slice(None) if scale == 0 else slice(centre, centre + 1)
        usual = mean + expected.dispersion[:, scale, None] * np.square(mean)
        excess = np.minimum(np.square(seen - mean), NOISE_CAP * usual) - mean
        new[:, NOISE.start + scale] += (excess * trust)[:, pick].sum(1)
        new[:, SIGNAL.start + scale] += (np.square(mean) * trust)[:, pick].sum(1)
    highest = [z.max(1) for z in deviations(grid, counts * (exposure > 0), expected, grid.hour)]
    new[:, TODAY] = np.maximum(new[:, TODAY], np.stack(highest, axis=1))

    row = watched.row * _kept(1)
    seen_buckets = float(exposure[now].sum())
    row[LEVEL] += seen_buckets
    row[HOURS.start + hour_of_day] += seen_buckets
    row[WEEKDAYS.start + weekday] += seen_buckets
    row[TODAY] += seen_buckets / (grid.hour * HOURS_A_DAY)
    if hour_of_day == HOURS_A_DAY - 1:
        part = float(row[TODAY.start])
        new = _close_day(new, expected.peak_mean, expected.peak_deviation, part)
        row[PEAKS] += part
        row[SQUARES] += part
        row[TODAY] = 0.0
    return new.astype(np.float32), Watched(row, watched.kinds)


def _shares(grid: Grid, habits: Floats, watched: Floats) -> tuple[Floats, Floats]:
    """The factors of hours and of weekdays, not smoothed: shapes (n, 24) and (n, 7)."""
    denominator = float(watched[LEVEL])
    rate = (habits[:, LEVEL] / denominator if denominator > 0 else np.zeros(len(habits)))[:, None]
    pull = HOUR_PRIOR_MENTIONS + HOUR_PRIOR_DAYS * grid.hour * rate
    hours = (habits[:, HOURS] + pull) / (watched[HOURS] * rate + pull)
    pull = WEEKDAY_PRIOR_MENTIONS + WEEKDAY_PRIOR_WEEKS * HOURS_A_DAY * grid.hour * rate
    weekdays = (habits[:, WEEKDAYS] + pull) / (watched[WEEKDAYS] * rate + pull)
    return np.clip(hours, *FACTOR_LIMITS), np.clip(weekdays, *FACTOR_LIMITS)


def _close_day(habits: Floats, mean: Floats, deviation: Floats, part: float) -> Floats:
    """Take the highest of the day into the account of peaks, winsorised, weighed by how much of the day was watched."""
    peak = np.minimum(np.maximum(habits[:, TODAY], 0.0), mean + WINSOR_DEVIATIONS * deviation)
    habits[:, PEAKS] += part * peak
    habits[:, SQUARES] += part * np.square(peak)
    habits[:, TODAY] = 0.0
    return habits


def taught(grid: Grid, habits: Floats, watched: Watched, kinds: Sequence[str]) -> Watched:
    """The same, with what these habits say of the kinds of their entities."""
    rate = habits[:, LEVEL].astype(float) / max(float(watched.row[LEVEL]), 1.0)
    own = _dispersion(grid, habits, rate, GENERAL)
    return Watched(watched.row, learn_kinds(kinds, own, habits[:, PEAKS], habits[:, SQUARES]))


def age(habits: Floats, watched: Watched, since: npt.NDArray[np.int_], hour: int, priors: Priors = GENERAL) -> Floats:
    """Habits that were last folded up to `since` (shape (n,), hours since the epoch), as they are at `hour`.

    What lies between was silence: sums are forgotten, and an unfinished day is closed as it stood.
    """
    aged = habits.astype(float)
    midnight = (since // HOURS_A_DAY + 1) * HOURS_A_DAY
    over = (midnight <= hour) & (since < hour)
    if over.any():
        of_these = Priors(*(np.broadcast_to(each, (len(habits), 2))[over] for each in msgspec.structs.astuple(priors)))
        spread = _peaks(habits[over], watched.row, of_these)
        until = aged[over] * _kept(midnight[over] - since[over])
        aged[over] = _close_day(until, spread["peak_mean"], spread["peak_deviation"], 1.0)
    began = np.where(over, midnight, since)
    return (aged * _kept(np.maximum(hour - began, 0))).astype(np.float32)


def peak_distribution(expected: Outlook) -> tuple[Floats, Floats]:
    """Location and scale of the Gumbel distribution of a day's highest deviation, by scale: shape (n, 2) each."""
    return gumbel_of_moments(expected.peak_mean, expected.peak_deviation)
