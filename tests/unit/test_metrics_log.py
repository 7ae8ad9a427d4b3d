"""Metrics in the log, as CloudWatch reads them."""

from __future__ import annotations

import asyncio
import json

import pytest

from groundswell.adapters.emf import WATCHED, EmfLog
from groundswell.metrics import METRICS, Metrics, Sample
from groundswell.services.metrics_log import log_metrics


def test_counters_are_told_by_what_they_rose_and_gauges_as_they_stand() -> None:
    metrics = Metrics()
    metrics.inc("posts_stored_total", 5)
    metrics.set("outbox_depth", 7)
    metrics.observe("commit_seconds", 0.25)
    assert set(metrics.samples()) == {
        Sample("posts_stored_total", None, "", 5),
        Sample("outbox_depth", None, "", 7),
        Sample("commit_seconds", None, "", 0.25),
        Sample("commit_seconds_count", None, "", 1),
    }
    metrics.inc("posts_stored_total", 2)
    assert metrics.samples() == [Sample("posts_stored_total", None, "", 2), Sample("outbox_depth", None, "", 7)]


def test_a_line_is_in_the_embedded_metric_format_with_the_label_as_a_dimension(
    capsys: pytest.CaptureFixture[str],
) -> None:
    metrics = Metrics()
    metrics.inc("frames_received_total", 3, label="jetstream")
    metrics.inc("posts_stored_total", 2)
    EmfLog("relay").write(metrics.samples())
    lines = [json.loads(line) for line in capsys.readouterr().out.splitlines()]
    by_source = next(line for line in lines if "frames_received_total" in line)
    assert by_source["source"] == "jetstream"
    assert by_source["frames_received_total"] == [3.0]
    (directive,) = by_source["_aws"]["CloudWatchMetrics"]
    assert directive["Namespace"] == "Groundswell"
    assert ["source", "service"] in directive["Dimensions"] or ["service", "source"] in directive["Dimensions"]
    plain = next(line for line in lines if "posts_stored_total" in line)
    assert plain["service"] == "relay"


def test_what_is_not_watched_stands_in_the_log_and_is_no_metric_that_costs(capsys: pytest.CaptureFixture[str]) -> None:
    metrics = Metrics()
    for name in ("posts_stored_total", "reconnects_total"):
        metrics.inc(name, 2)
    metrics.set("outbox_depth", 7)
    EmfLog("relay").write(metrics.samples())
    (line,) = [json.loads(line) for line in capsys.readouterr().out.splitlines()]
    assert (line["posts_stored_total"], line["outbox_depth"]) == (2, [7.0])
    (directive,) = line["_aws"]["CloudWatchMetrics"]
    assert [metric["Name"] for metric in directive["Metrics"]] == ["outbox_depth"]
    assert {metric.name for metric in METRICS} >= WATCHED


def test_what_was_counted_is_written_once_more_at_the_end() -> None:
    class Kept:
        def __init__(self) -> None:
            self.samples: list[Sample] = []

        def write(self, samples: list[Sample]) -> None:
            self.samples += samples

    async def run() -> list[Sample]:
        metrics, kept, stop = Metrics(), Kept(), asyncio.Event()
        metrics.inc("posts_stored_total")
        logging = asyncio.create_task(log_metrics(metrics, kept, stop))
        await asyncio.sleep(0)
        stop.set()
        await asyncio.wait_for(logging, 5)
        return kept.samples

    assert asyncio.run(run()) == [Sample("posts_stored_total", None, "", 1)]
