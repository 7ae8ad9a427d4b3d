"""`groundswell bench`: measurements that anyone can repeat."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from groundswell import settings
from groundswell.commands.console import explained
from groundswell.errors import InvalidRequest

app = typer.Typer(no_args_is_help=True, rich_markup_mode=None, help="Measure how good and how fast the platform is.")


@app.callback()
def bench() -> None:
    """Measure how good and how fast the platform is."""


@app.command(short_help="How well search finds what is meant, by words, by meaning and by both.")
@explained
def search(
    pairs: Annotated[
        Path | None,
        typer.Option(
            help="Labelled sentences, one pair a line: score 0 to 5, tab, sentence, tab, sentence.", show_default=False
        ),
    ] = None,
    model: Annotated[
        list[str] | None,
        typer.Option(help="Embedding model, as in GROUNDSWELL_EMBEDDING_CHAIN; repeatable.", show_default="the chain"),
    ] = None,
) -> None:
    """Measure recall and reciprocal rank on labelled sentences and on the simulated network's stories.

    Each question is asked of a real search engine, filled for the purpose in a folder that goes away. A pair scored 4
    or more is a match: found by its first sentence among all second ones.

    \b
    Examples:
      groundswell bench search
      groundswell bench search --pairs sts-headlines.tsv --model static:wordllama-256
    """
    from groundswell.benchmarks.search import measure

    measure(settings.load(settings.EmbeddedSettings), pairs, model or [])


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

    With --series every CSV of a directory is scored, row by row and from nothing later than the row: 0.9 is what an
    ordinary day of that series reaches one time in ten, 0.99 one in a hundred. What has been told is 0 until it is ten
    times as rare or a day has passed. Rows are whole minutes apart, an hour's divisor; a missing row, or one without
    a value, was not watched.

    Without options: the share of planted surges that is found and the delay in buckets, by size and by usual rate;
    false surges a day; spam bursts that were taken for surges; and how fast it all is. This takes about a minute.

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
