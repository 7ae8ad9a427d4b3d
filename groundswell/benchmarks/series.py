"""Scoring recorded series: `timestamp,value` in, `timestamp,value,anomaly_score` out."""

from __future__ import annotations

import csv
import itertools
import math
import statistics
from collections.abc import Sequence
from datetime import UTC, datetime
from pathlib import Path

import msgspec
import numpy as np

from groundswell.core.habit import Grid
from groundswell.core.recording import Floats, score_recording
from groundswell.errors import InvalidRequest

LONGEST_BUCKETS = 2_000_000
"""A series that spans more buckets than this has a wrong date in it: nineteen years of five minutes."""
HEADER = ("timestamp", "value", "anomaly_score")


class Recorded(msgspec.Struct, frozen=True):
    """One series as it was read. The lists run in parallel; rows without a value were not watched."""

    name: str
    stamps: Sequence[str]
    times: Sequence[datetime]
    """UTC where the file names no zone."""
    texts: Sequence[str]
    values: Sequence[float | None]


class Laid(msgspec.Struct, frozen=True):
    """A series on its grid."""

    grid: Grid
    first_minute: int
    counts: Floats
    exposure: Floats
    """Shape (b,) both."""
    place: Sequence[int | None]
    """The bucket of each row; None for a row that is not later than the one before it."""


def read_series(path: Path) -> Recorded:
    """Read a CSV with the columns `timestamp` and `value`; others are ignored.

    Raises:
        InvalidRequest: the file cannot be read; a column, a time or a number is not one. Says the line.
    """
    try:
        with path.open(newline="", encoding="utf-8-sig") as file:
            reader = csv.DictReader(file)
            missing = {"timestamp", "value"} - set(reader.fieldnames or ())
            if missing:
                raise InvalidRequest(
                    f"{path} has no column {' and no column '.join(sorted(missing))} in its first line."
                )
            rows = [(reader.line_num, row["timestamp"] or "", row["value"] or "") for row in reader]
    except (OSError, UnicodeDecodeError, csv.Error) as error:
        raise InvalidRequest(f"{path} cannot be read as CSV: {error}.") from error
    if not rows:
        raise InvalidRequest(f"{path} has no rows: there is nothing to score.")
    return Recorded(
        name=path.name,
        stamps=[stamp for _, stamp, _ in rows],
        times=[_time(path, line, stamp) for line, stamp, _ in rows],
        texts=[text for _, _, text in rows],
        values=[_value(path, line, text) for line, _, text in rows],
    )


def _time(path: Path, line: int, text: str) -> datetime:
    try:
        time = datetime.fromisoformat(text.strip())
    except ValueError as error:
        raise InvalidRequest(
            f"{path}, line {line}: timestamp {text!r} is not a time. Write it like 2026-07-04 14:35:00."
        ) from error
    return time.astimezone(UTC) if time.tzinfo else time.replace(tzinfo=UTC)


def _value(path: Path, line: int, text: str) -> float | None:
    if not text.strip():
        return None
    try:
        value = float(text)
    except ValueError:
        value = math.nan
    if not math.isfinite(value) or value < 0:
        raise InvalidRequest(
            f"{path}, line {line}: value {text!r} is not a count. Write a number of at least 0, or nothing where the "
            "source was not watched."
        )
    return value


def lay(series: Recorded) -> Laid:
    """Find the grid of a series and put its values on it. Buckets without a row were not watched.

    Raises:
        InvalidRequest: the rows are not a whole divisor of an hour apart, or span an absurd time.
    """
    grid = _grid(series)
    minutes = [int(time.timestamp() // 60) for time in series.times]
    first = minutes[0] - minutes[0] % grid.minutes
    offset = minutes[0] - first
    place: list[int | None] = []
    latest = -1
    for minute in minutes:
        bucket = round((minute - offset - first) / grid.minutes)
        place.append(bucket if bucket > latest else None)
        latest = max(latest, bucket)
    if latest >= LONGEST_BUCKETS:
        raise InvalidRequest(
            f"{series.name} spans {latest + 1} buckets of {grid.minutes} minutes, more than {LONGEST_BUCKETS}: "
            "is there a wrong year in it?"
        )
    counts, exposure = np.zeros(latest + 1), np.zeros(latest + 1)
    for bucket, value in zip(place, series.values, strict=True):
        if bucket is not None and value is not None:
            counts[bucket], exposure[bucket] = value, 1.0
    return Laid(grid, first, counts, exposure, place)


def _grid(series: Recorded) -> Grid:
    times = series.times
    steps = [(b - a).total_seconds() / 60 for a, b in itertools.pairwise(times) if b > a]
    minutes = statistics.median(steps) if steps else 5.0
    try:
        if minutes != round(minutes):
            raise ValueError(f"buckets of {minutes:g} minutes are not whole minutes")
        return Grid(round(minutes))
    except ValueError as error:
        raise InvalidRequest(
            f"{series.name}: its rows are {minutes:g} minutes apart. Add them up to 1, 5, 10, 15, 30 or 60 minutes."
        ) from error


def score_series(series: Recorded) -> list[float]:
    """An anomaly score for every row, 0 where it was not watched or is out of order."""
    laid = lay(series)
    scores = score_recording(laid.grid, laid.counts[None, :], laid.exposure, laid.first_minute).anomaly[0]
    scores = np.where(laid.exposure > 0, scores, 0.0)
    return [0.0 if bucket is None else float(scores[bucket]) for bucket in laid.place]


def score_directory(source: Path, target: Path | None) -> list[tuple[Recorded, list[float]]]:
    """Score every CSV of `source`, into files of the same names in `target` if given; it is made if need be.

    Raises:
        InvalidRequest: there is no CSV, a file cannot be read or written, or both directories are the same.
    """
    paths = series_of(source)
    if target is not None and target.resolve() == source.resolve():
        raise InvalidRequest(
            f"--out {target} is where the series are: they would be overwritten. Name another directory."
        )
    # All are read before any is written: a bad one leaves nothing half done.
    scored = [(series, score_series(series)) for series in map(read_series, paths)]
    if target is not None:
        try:
            target.mkdir(parents=True, exist_ok=True)
            for series, scores in scored:
                _write(target / series.name, series, scores)
        except OSError as error:
            raise InvalidRequest(f"--out {target} cannot be written: {error.strerror or error}.") from error
    return scored


def _write(path: Path, series: Recorded, scores: Sequence[float]) -> None:
    with path.open("w", newline="", encoding="utf-8") as file:
        writer = csv.writer(file, lineterminator="\n")
        writer.writerow(HEADER)
        # All digits: scores near 1 differ late.
        writer.writerows(zip(series.stamps, series.texts, map(repr, scores), strict=True))


def series_of(directory: Path) -> list[Path]:
    """The CSV files of a directory, by name."""
    if not directory.is_dir():
        raise InvalidRequest(f"--series {directory} is not a directory.")
    paths = sorted(path for path in directory.iterdir() if path.suffix.lower() == ".csv" and path.is_file())
    if not paths:
        raise InvalidRequest(f"--series {directory} has no .csv file: each series is one, with timestamp,value rows.")
    return paths
