"""Metrics: a fixed, documented set of counters, gauges and histograms, bounded by construction."""

from __future__ import annotations

from bisect import bisect_left
from collections.abc import Iterable, Mapping
from threading import Lock
from typing import Literal, TypeAlias

import msgspec

MetricKind: TypeAlias = Literal["counter", "gauge", "histogram"]
MAX_SERIES = 64
"""Label values of one metric; what comes after is counted under `other`, so memory stays bounded."""
BUCKETS_S = (0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 2.5, 5.0, 10.0)


class Metric(msgspec.Struct, frozen=True):
    name: str
    kind: MetricKind
    about: str
    label: str | None = None


METRICS: tuple[Metric, ...] = (
    Metric("frames_received_total", "counter", "Frames received from the source.", "source"),
    Metric("frames_ignored_total", "counter", "Frames that carried no post, by reason.", "reason"),
    Metric("posts_stored_total", "counter", "Posts stored for the first time."),
    Metric("posts_updated_total", "counter", "Stored posts replaced by a later revision."),
    Metric("posts_deleted_total", "counter", "Stored posts removed because their author or network withdrew them."),
    Metric("posts_hidden_total", "counter", "Posts hidden with their account, or received while it was hidden."),
    Metric("posts_restored_total", "counter", "Hidden posts that came back when their account was active again."),
    Metric(
        "accounts_changed_total", "counter", "New states of whole accounts that were received, by status.", "status"
    ),
    Metric("posts_duplicate_total", "counter", "Posts received again and not counted again."),
    Metric("reconnects_total", "counter", "Connections to the source that were lost.", "source"),
    Metric("sequence_gaps_total", "counter", "Holes in a source's sequence, each a recorded gap.", "source"),
    Metric("source_lease", "gauge", "1 while this process holds the right to read its source, else 0."),
    Metric("spool_batches", "gauge", "Batches (and gaps) that wait on disk while the database is away."),
    Metric("spool_bytes", "gauge", "Size of the spool on disk."),
    Metric("spool_age_seconds", "gauge", "How long the oldest of them has waited."),
    Metric("spool_damaged_total", "counter", "Damaged parts of the spool, each a recorded gap or asked for again."),
    Metric("commit_seconds", "histogram", "Duration of the transaction that stores a batch."),
    Metric("outbox_depth", "gauge", "Posts that the vector index has not been told of yet."),
    Metric("vectors_indexed_total", "counter", "Posts embedded and stored in the vector index."),
    Metric("archive_posts_moved_total", "counter", "Posts moved from Postgres to the archive."),
    Metric("archive_failures_total", "counter", "Times that the mover had to stop and will try again."),
    Metric("cleanup_swept_total", "counter", "Rows and points that cleanup removed or mended, by sweep.", "sweep"),
    Metric("space_posts", "gauge", "Posts embedded in each space.", "space"),
    Metric("posts_reembedded_total", "counter", "Posts queued to be embedded anew by the model in use."),
    Metric("momentum_seconds", "histogram", "Duration of one computation of momentum."),
    Metric("surges_seconds", "histogram", "Duration of one making of labels and links for the top movers."),
    Metric("events_published_total", "counter", "Broadcast frames handed to clients, by type.", "type"),
    Metric("websocket_clients", "gauge", "WebSocket clients connected now."),
    Metric("websocket_evicted_total", "counter", "WebSocket clients dropped because they read too slowly."),
    Metric("broadcast_messages_total", "counter", "Messages posted to clients whose sockets API Gateway holds."),
    Metric("broadcast_gone_total", "counter", "Such clients that turned out to be gone."),
    Metric("broadcast_throttled_total", "counter", "Messages that API Gateway asked to be sent later."),
    Metric("http_requests_total", "counter", "Requests answered, by status class.", "status"),
    Metric("http_request_seconds", "histogram", "Duration of a request."),
    Metric("search_seconds", "histogram", "Duration of a search, by leg.", "leg"),
)
"""Every metric that there is. docs/metrics.md is made from this."""


class Sample(msgspec.Struct, frozen=True):
    """One number of one metric, for a log."""

    name: str
    label_name: str | None
    label: str
    value: float


class Metrics:
    """Counters, gauges and histograms of one process, kept in memory and shown in the Prometheus text format."""

    def __init__(self, metrics: Iterable[Metric] = METRICS) -> None:
        self._known = {metric.name: metric for metric in metrics}
        self._values: dict[str, dict[str, float]] = {name: {} for name in self._known}
        self._histograms: dict[str, dict[str, list[int]]] = {name: {} for name in self._known}
        self._lock = Lock()
        self._sampled: dict[tuple[str, str], float] = {}

    def inc(self, name: str, by: float = 1, *, label: str = "") -> None:
        """Raise a counter. KeyError for a metric that is not documented."""
        with self._lock:
            series = self._values[name]
            label = _bounded(label, series)
            series[label] = series.get(label, 0) + by

    def set(self, name: str, value: float, *, label: str = "") -> None:
        """Set a gauge. KeyError for a metric that is not documented."""
        with self._lock:
            series = self._values[name]
            series[_bounded(label, series)] = value

    def observe(self, name: str, seconds: float, *, label: str = "") -> None:
        """Add a duration to a histogram. KeyError for a metric that is not documented."""
        with self._lock:
            series = self._histograms[name]
            label = _bounded(label, series)
            counts = series.setdefault(label, [0] * (len(BUCKETS_S) + 1))
            counts[bisect_left(BUCKETS_S, seconds)] += 1
            totals = self._values[name]
            totals[label] = totals.get(label, 0) + seconds

    def value(self, name: str, *, label: str = "") -> float:
        """What a counter or gauge stands at; the sum of a histogram."""
        return self._values[name].get(label, 0)

    def samples(self) -> list[Sample]:
        """Gauges as they stand, and by how much counters and the sums and counts of histograms have risen since the
        last call. What did not rise is left out."""
        found: list[Sample] = []
        with self._lock:
            for metric in self._known.values():
                for label, value in self._values[metric.name].items():
                    name = metric.name
                    of = (metric.label if label else None, label)
                    if metric.kind == "gauge":
                        found.append(Sample(name, *of, value))
                        continue
                    found += self._risen(name, of, value)
                    if metric.kind == "histogram":
                        found += self._risen(f"{name}_count", of, sum(self._histograms[name][label]))
        return found

    def _risen(self, name: str, of: tuple[str | None, str], value: float) -> list[Sample]:
        before = self._sampled.get((name, of[1]), 0)
        self._sampled[name, of[1]] = value
        return [Sample(name, *of, value - before)] if value > before else []

    def render(self) -> str:
        """The Prometheus text exposition format, version 0.0.4."""
        lines: list[str] = []
        with self._lock:
            for metric in self._known.values():
                full = f"groundswell_{metric.name}"
                lines += [f"# HELP {full} {metric.about}", f"# TYPE {full} {metric.kind}"]
                if metric.kind == "histogram":
                    for label, counts in self._histograms[metric.name].items():
                        lines += _histogram_lines(full, metric, label, counts, self._values[metric.name][label])
                else:
                    series = self._values[metric.name] or ({} if metric.label else {"": 0})
                    lines += [f"{full}{_labels(metric, label)} {value:.10g}" for label, value in series.items()]
        return "\n".join(lines) + "\n"


def render_metrics_docs(metrics: Iterable[Metric] = METRICS) -> str:
    """docs/metrics.md."""
    rows = [
        f"| `groundswell_{metric.name}` | {metric.kind} | {metric.label or ''} | {metric.about} |" for metric in metrics
    ]
    return _METRICS_DOCS_HEAD + "\n".join(rows) + "\n"


def _bounded(label: str, series: Mapping[str, object]) -> str:
    return label if label in series or len(series) < MAX_SERIES else "other"


def _labels(metric: Metric, label: str, **more: str) -> str:
    pairs = ({metric.label: label} if metric.label else {}) | more
    inside = ",".join(f'{key}="{_escape(value)}"' for key, value in pairs.items())
    return f"{{{inside}}}" if inside else ""


def _escape(value: str) -> str:
    return value.replace("\\", "\\\\").replace('"', '\\"').replace("\n", "\\n")


def _histogram_lines(full: str, metric: Metric, label: str, counts: list[int], total: float) -> list[str]:
    lines: list[str] = []
    running = 0
    for limit, count in zip((*(f"{bound:g}" for bound in BUCKETS_S), "+Inf"), counts, strict=True):
        running += count
        lines.append(f"{full}_bucket{_labels(metric, label, le=limit)} {running}")
    lines.append(f"{full}_sum{_labels(metric, label)} {total:.10g}")
    lines.append(f"{full}_count{_labels(metric, label)} {running}")
    return lines


_METRICS_DOCS_HEAD = """\
# Metrics

Each process counts for itself and shows the counts at `/metrics` in the Prometheus text format. A metric has at most
one label and at most 64 values of it; what comes after those is counted under `other`.

This page is made from `groundswell/metrics.py` by `make generate`.

| Metric | Kind | Label | What it counts |
| --- | --- | --- | --- |
"""
