"""`groundswell bench`: measurements that anyone can repeat."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from groundswell.commands.console import explained
from groundswell.errors import InvalidRequest

app = typer.Typer(no_args_is_help=True, rich_markup_mode=None, help="Measure how good and how fast the platform is.")


@app.callback()
def bench() -> None:
    """Measure how good and how fast the platform is."""


@app.command(short_help="How early and how rightly surges are noticed.")
@explained
def momentum(
    series: Annotated[
        Path | None, typer.Option(help="Directory of CSVs with timestamp,value rows.", show_default=False)
    ] = None,
    out: Annotated[
        Path | None, typer.Option(help="Where to write the same files with an anomaly_score.", show_default=False)
    ] = None,
    labels: Annotated[
        Path | None,
        typer.Option(
            help="Labelled windows, as of the Numenta Anomaly Benchmark: judge the scores.", show_default=False
        ),
    ] = None,
) -> None:
    """Score recorded series, or measure the detector on surges whose truth is known.

    \b
    Examples:
      groundswell bench momentum                                         # planted surges, decoys, speed
      groundswell bench momentum --series mine --out scored              # score series of your own
      groundswell bench momentum --series nab --labels nab/windows.json  # and judge them
    """
    from groundswell.benchmarks import momentum as measured

    if series is None:
        if out is not None or labels is not None:
            raise InvalidRequest("--out and --labels belong to --series: name the directory of the series.")
        measured.measure_all()
        return
    if out is None and labels is None:
        raise InvalidRequest("--series says what to score: add --out to write the scores, or --labels to judge them.")
    measured.score_and_judge(series, out, labels)
