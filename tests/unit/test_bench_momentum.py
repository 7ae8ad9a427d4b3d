"""`groundswell bench momentum`: series of anyone's, scored and judged as the Numenta Anomaly Benchmark does."""

from __future__ import annotations

import csv
import importlib.util
import sys
from datetime import UTC, datetime, timedelta
from pathlib import Path

import numpy as np
import pytest
from typer.testing import CliRunner

from groundswell.benchmarks.nab import PROFILES, at_threshold, best_threshold, judge, leave_one_out, read_labels
from groundswell.benchmarks.series import lay, read_series, score_directory, score_series
from groundswell.cli import app
from groundswell.errors import InvalidRequest

SHARED = Path(__file__).resolve().parents[3] / "shared"
START = datetime(2026, 6, 1, tzinfo=UTC)


def write(path: Path, rows: list[tuple[str, str]]) -> Path:
    with path.open("w", newline="") as file:
        csv.writer(file).writerows([("timestamp", "value"), *rows])
    return path


def rows_of(values: list[float], minutes: int = 5) -> list[tuple[str, str]]:
    return [(f"{START + timedelta(minutes=n * minutes):%Y-%m-%d %H:%M:%S}", f"{v:g}") for n, v in enumerate(values)]


def a_month(seed: int = 1) -> list[float]:
    return np.random.default_rng(seed).poisson(20, 30 * 288).astype(float).tolist()


def test_every_csv_is_scored_into_a_file_of_its_name_with_its_rows_as_they_were(tmp_path: Path) -> None:
    values = a_month()
    values[8000:8003] = [120.0, 300.0, 280.0]
    write(tmp_path / "calm.csv", rows_of(a_month(2)))
    write(tmp_path / "surge.csv", rows_of(values))
    result = CliRunner().invoke(app, ["bench", "momentum", "--series", str(tmp_path), "--out", str(tmp_path / "out")])
    assert result.exit_code == 0, result.output
    with (tmp_path / "out" / "surge.csv").open() as file:
        written = list(csv.DictReader(file))
    assert [(row["timestamp"], row["value"]) for row in written] == rows_of(values)
    scores = [float(row["anomaly_score"]) for row in written]
    assert max(scores) == max(scores[8000:8003]) > 0.99 > max(scores[288:7900])
    assert {path.name for path in (tmp_path / "out").iterdir()} == {"calm.csv", "surge.csv"}


@pytest.mark.parametrize(
    ("rows", "says"),
    [
        ([("soon", "1")], "line 2: timestamp 'soon' is not a time"),
        ([("2026-01-01 00:00:00", "many")], "line 2: value 'many' is not a count"),
        ([("2026-01-01 00:00:00", "-1")], "line 2: value '-1' is not a count"),
        ([("2026-01-01 00:00:00", "nan")], "line 2: value 'nan' is not a count"),
        ([("2026-01-01 00:00:00", "1"), ("2026-01-01 00:07:00", "1")], "7 minutes apart"),
        ([("2026-01-01 00:00:00", "1"), ("2026-01-01 00:05:00", "1"), ("2126-01-01", "1")], "wrong year"),
        ([], "has no rows"),
    ],
)
def test_a_file_that_cannot_be_scored_is_named_with_its_line(
    tmp_path: Path, rows: list[tuple[str, str]], says: str
) -> None:
    path = write(tmp_path / "bad.csv", rows)
    rows_apart = rows * 2 if "wrong year" in says else rows
    if "wrong year" in says:  # the usual distance of rows has to be plain
        path = write(path, [*rows_of([1.0] * 20), rows_apart[-1]])
    with pytest.raises(InvalidRequest, match=says):
        score_series(read_series(path))


def test_a_bad_file_leaves_nothing_half_written(tmp_path: Path) -> None:
    write(tmp_path / "a.csv", rows_of([1.0, 2.0]))
    write(tmp_path / "b.csv", [("2026-01-01 00:00:00", "x")])
    with pytest.raises(InvalidRequest, match=r"b\.csv, line 2"):
        score_directory(tmp_path, tmp_path / "out")
    assert not (tmp_path / "out").exists()


def test_scores_never_overwrite_the_series(tmp_path: Path) -> None:
    write(tmp_path / "a.csv", rows_of([1.0, 2.0]))
    with pytest.raises(InvalidRequest, match="would be overwritten"):
        score_directory(tmp_path, tmp_path)


def test_rows_that_are_missing_empty_or_out_of_order_are_no_surge(tmp_path: Path) -> None:
    rows = rows_of(a_month())
    rows[5000] = (rows[5000][0], "")
    late, rest = rows[6000], rows[:6000] + rows[6288:]
    series = read_series(write(tmp_path / "holes.csv", [*rest, late]))
    scores = score_series(series)
    assert scores[5000] == 0.0 and scores[-1] == 0.0
    assert max(scores[4000:]) < 0.9
    assert lay(series).exposure[6000:6288].sum() == 0


def test_options_that_do_not_go_together_say_what_is_missing(tmp_path: Path) -> None:
    for arguments, says in (
        (["--series", str(tmp_path)], "add --out"),
        (["--out", str(tmp_path)], "belong to --series"),
        (["--series", str(tmp_path / "none"), "--out", str(tmp_path)], "is not a directory"),
    ):
        result = CliRunner().invoke(app, ["bench", "momentum", *arguments])
        assert result.exit_code != 0
        assert says in result.output.replace("\n", " ")


def test_an_early_detection_earns_more_and_a_false_one_costs() -> None:
    times = [START + timedelta(minutes=5 * n) for n in range(1000)]
    spans = [(times[500], times[599])]
    standard = PROFILES[0]

    def at(*rows: int) -> float:
        scores = np.zeros(1000)
        scores[list(rows)] = 1.0
        return at_threshold([judge("x", times, scores.tolist(), spans)], standard, 0.5).normalised

    assert at(500) > at(550) > at(599) > at() == 0
    assert at(500) == at(500, 510, 590) > at(500, 300)
    assert at(500, 620) > at(500, 300), "just behind a window costs less"


@pytest.fixture(scope="module")
def scored() -> list[tuple[str, list[datetime], list[float]]]:
    found = score_directory(SHARED / "data" / "momentum", None)
    return [(series.name, list(series.times), scores) for series, scores in found]


@pytest.mark.slow
@pytest.mark.skipif(not SHARED.is_dir(), reason="../shared is not here: no labelled streams to judge by")
class TestRealStreams:
    DATA = SHARED / "data" / "momentum"

    def test_the_detector_is_above_every_published_one_in_every_profile_with_one_threshold(
        self, scored: list[tuple[str, list[datetime], list[float]]]
    ) -> None:
        labels = read_labels(self.DATA / "windows.json")
        judged = [judge(name, times, scores, labels[name]) for name, times, scores in scored]
        for profile, published in zip(PROFILES, (88.1, 82.3, 92.1), strict=True):
            assert best_threshold(judged, profile).normalised > published
            assert leave_one_out(judged, profile) > published

    def test_the_scorer_agrees_with_an_independent_one(
        self, scored: list[tuple[str, list[datetime], list[float]]]
    ) -> None:
        spec = importlib.util.spec_from_file_location("nab_score", SHARED / "tools" / "nab_score.py")
        assert spec is not None and spec.loader is not None
        other = importlib.util.module_from_spec(spec)
        sys.modules["nab_score"] = other
        spec.loader.exec_module(other)
        labels = read_labels(self.DATA / "windows.json")
        mine = [judge(name, times, scores, labels[name]) for name, times, scores in scored]
        theirs = other.Pool([other.Series(name, times, scores, labels[name]) for name, times, scores in scored])
        for profile, name in zip(PROFILES, other.PROFILES, strict=True):
            assert best_threshold(mine, profile).normalised == pytest.approx(theirs.best(name)["normalised"], abs=1e-6)
            assert at_threshold(mine, profile, 0.8).normalised == pytest.approx(
                theirs.at(name, 0.8)["normalised"], abs=1e-6
            )
