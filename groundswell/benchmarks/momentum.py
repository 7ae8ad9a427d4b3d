"""What `groundswell bench momentum` prints."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

from rich.console import Console
from rich.table import Table

from groundswell.benchmarks.nab import PROFILES, Judged, at_threshold, best_threshold, judge, leave_one_out, read_labels
from groundswell.benchmarks.series import score_directory
from groundswell.benchmarks.speed import speed_rows
from groundswell.benchmarks.surges import surge_tables
from groundswell.core.news import TOLD
from groundswell.core.surprise import probability
from groundswell.errors import InvalidRequest

LABELLED = Path("../shared/data/momentum")
"""Real mention streams, where they lie beside the repository."""


def score_and_judge(series: Path, out: Path | None, labels: Path | None) -> dict[str, object]:
    """Score the series of a directory, write the scores where asked, and judge them where labels are given."""
    console = Console()
    windows = None if labels is None else read_labels(labels)
    scored = score_directory(series, out)
    if out is not None:
        console.print(f"Scored {len(scored)} series into {out}.")
    if windows is None:
        return {}
    judged = [
        judge(recorded.name, recorded.times, scores, windows[recorded.name])
        for recorded, scores in scored
        if recorded.name in windows
    ]
    if not judged:
        raise InvalidRequest(f"--labels {labels} names none of the series in {series}.")
    return _judged(judged, console)


def _judged(judged: Sequence[Judged], console: Console) -> dict[str, object]:
    table = Table(title=f"Numenta Anomaly Benchmark, {len(judged)} series, one threshold for all", title_justify="left")
    for heading in ("Profile", "Best threshold", "Left one out", "Default threshold", "Windows", "False rows"):
        table.add_column(heading)
    values: dict[str, object] = {}
    default = float(probability(TOLD))  # pyright: ignore[reportArgumentType]
    for profile in PROFILES:
        best, out = best_threshold(judged, profile), leave_one_out(judged, profile)
        plain = at_threshold(judged, profile, default - 1e-12)
        table.add_row(
            profile.name,
            f"{best.normalised:.1f} at {best.threshold:.3f}",
            f"{out:.1f}",
            f"{plain.normalised:.1f} at {default:.3f}",
            f"{best.caught} of {best.windows}",
            f"{best.false}",
        )
        values[profile.name] = {"best": best.normalised, "left_one_out": out, "default": plain.normalised}
    console.print(table)
    return values


def measure_all() -> dict[str, object]:
    """Every table: real streams where they are at hand, planted surges and decoys, speed."""
    console = Console()
    values: dict[str, object] = {}
    if LABELLED.is_dir():
        values["real"] = score_and_judge(LABELLED, None, LABELLED / "windows.json")
    else:
        console.print(f"Real mention streams: left out, {LABELLED} is not there. Use --series and --labels.")
    tables, values["surges"] = surge_tables()
    for table in tables:
        console.print(table)
    rows, values["speed"] = speed_rows()
    table = Table(title="Speed, one core", title_justify="left")
    for heading in ("What", "Measured", "Goal"):
        table.add_column(heading)
    for row in rows:
        table.add_row(*row)
    console.print(table)
    return values
