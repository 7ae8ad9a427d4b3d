"""The scoring of the Numenta Anomaly Benchmark: early detections earn, false ones cost, repeated ones do neither.

Lavin & Ahmad, "Evaluating Real-Time Anomaly Detection Algorithms: the Numenta Anomaly Benchmark", ICMLA 2015. A
detection is a row whose score reaches the threshold; a labelled window earns by its earliest detection.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from datetime import UTC, datetime
from pathlib import Path
from typing import TypeAlias

import msgspec
import numpy as np
import numpy.typing as npt

from groundswell.errors import InvalidRequest

Floats: TypeAlias = npt.NDArray[np.float64]
Windows: TypeAlias = Mapping[str, Sequence[tuple[datetime, datetime]]]

PROBATION = 0.15
PROBATION_ROWS = 5000
STEEPNESS = 5.0
MOST_CANDIDATES = 500


class Profile(msgspec.Struct, frozen=True):
    """What a missed window and a false detection cost, where a caught window earns up to one."""

    name: str
    missed: float
    false: float


PROFILES = (Profile("standard", 1.0, 0.11), Profile("low FP", 1.0, 0.22), Profile("low FN", 2.0, 0.11))


class Judged(msgspec.Struct, frozen=True):
    """One scored series against its labels: the rows that count."""

    name: str
    scores: Floats
    worth: Floats
    """Of a detection in this row: 0 to 1 within a window, -1 to 0 outside."""
    window: npt.NDArray[np.int64]
    """-1 outside."""
    windows: int


class Result(msgspec.Struct, frozen=True):
    """`normalised` is 0 for a detector that says nothing and 100 for a perfect one."""

    threshold: float
    normalised: float
    caught: int
    windows: int
    false: int


def read_labels(path: Path) -> Windows:
    """`{"folder/name.csv": [[start, end], …]}`, by the file's name alone.

    Raises:
        InvalidRequest: the file cannot be read, or is no such document.
    """
    try:
        raw = msgspec.json.decode(path.read_bytes(), type=dict[str, list[tuple[str, str]]])
        return {
            key.rpartition("/")[2]: [(_instant(start), _instant(end)) for start, end in spans]
            for key, spans in raw.items()
        }
    except (OSError, ValueError, msgspec.DecodeError) as error:
        raise InvalidRequest(f"--labels {path} cannot be used: {error}.") from error


def _instant(text: str) -> datetime:
    time = datetime.fromisoformat(text)
    return time if time.tzinfo else time.replace(tzinfo=UTC)


def judge(
    name: str, times: Sequence[datetime], scores: Sequence[float], spans: Sequence[tuple[datetime, datetime]]
) -> Judged:
    """Lay the labelled windows over a series. The first 15% of its rows, 750 at most, are for learning: uncounted."""
    n = len(times)
    instants = np.array([time.timestamp() for time in times])
    window, worth = np.full(n, -1), np.full(n, -1.0)
    edges = [
        (
            int(np.searchsorted(instants, start.timestamp())),
            int(np.searchsorted(instants, end.timestamp(), "right")) - 1,
        )
        for start, end in sorted(spans)
    ]
    for number, (left, right) in enumerate(edges):
        width = right - left + 1
        until = edges[number + 1][0] if number + 1 < len(edges) else n
        inside, after = np.arange(left, right + 1), np.arange(right + 1, until)
        window[inside] = number
        worth[inside] = _sigmoid(-(right - inside + 1) / width) / _sigmoid(np.array(-1.0))
        worth[after] = _sigmoid((after - right) / max(width - 1, 1))
    skip = int(min(np.floor(PROBATION * n), PROBATION * PROBATION_ROWS))
    return Judged(name, np.asarray(scores, float)[skip:], worth[skip:], window[skip:], len(edges))


def _sigmoid(position: Floats) -> Floats:
    return np.where(position > 3.0, -1.0, 2 / (1 + np.exp(STEEPNESS * np.minimum(position, 3.0))) - 1)


def at_threshold(series: Sequence[Judged], profile: Profile, threshold: float) -> Result:
    raw, caught, windows, false = 0.0, 0, 0, 0
    for one in series:
        hit = one.scores >= threshold
        outside = hit & (one.window < 0)
        raw += profile.false * float(one.worth[outside].sum())
        false += int(outside.sum())
        windows += one.windows
        for number in range(one.windows):
            found = one.worth[hit & (one.window == number)]
            raw += float(found.max()) if len(found) else -profile.missed
            caught += bool(len(found))
    least = -profile.missed * windows
    return Result(threshold, 100 * (raw - least) / (windows - least) if windows else 0.0, caught, windows, false)


def best_threshold(series: Sequence[Judged], profile: Profile) -> Result:
    """The threshold that serves these series best, the highest among equals."""
    candidates = np.unique(np.concatenate([one.scores[one.scores > 0] for one in series]))[::-1]
    best = at_threshold(series, profile, np.inf)
    # A detector worth scoring has few candidates near the top; those far below only add false detections.
    for threshold in candidates[:MOST_CANDIDATES]:
        result = at_threshold(series, profile, float(threshold))
        if result.normalised > best.normalised + 1e-9:
            best = result
    return best


def leave_one_out(series: Sequence[Judged], profile: Profile) -> float:
    """Each series scored at the threshold that serves the others best; normalised over all."""
    earned = possible = 0.0
    for one in series:
        others = [other for other in series if other is not one]
        if not others:
            return best_threshold(series, profile).normalised
        result = at_threshold([one], profile, best_threshold(others, profile).threshold)
        earned += result.normalised * one.windows
        possible += one.windows
    return earned / possible if possible else 0.0
