"""Metrics in the log, in CloudWatch's embedded metric format: no agent, and no call that could fail or cost."""

from __future__ import annotations

import json
import sys

from groundswell.metrics import Sample

NAMESPACE = "Groundswell"

WATCHED = frozenset({"frames_received_total", "outbox_depth", "websocket_clients"})
"""What CloudWatch keeps as metrics, each of which costs. All else stands in the same lines for Logs Insights to read,
which costs nothing."""


class EmfLog:
    """Writes samples to standard output through Powertools, which knows the format and its limits."""

    def __init__(self, service: str) -> None:
        from aws_lambda_powertools.metrics.provider.cloudwatch_emf.cloudwatch import AmazonCloudWatchEMFProvider

        self._service = service
        self._make = lambda: AmazonCloudWatchEMFProvider(
            namespace=NAMESPACE, service=service, metric_set={}, metadata_set={}
        )

    def write(self, samples: list[Sample]) -> None:
        """One line for the samples without a label, and one for each label."""
        by_label: dict[tuple[str | None, str], list[Sample]] = {}
        for sample in samples:
            by_label.setdefault((sample.label_name, sample.label), []).append(sample)
        for (name, label), mine in by_label.items():
            line = self._make()
            if name is not None:
                line.add_dimension(name=name, value=label)
            beside = {sample.name: sample.value for sample in mine if sample.name not in WATCHED}
            if len(beside) == len(mine):
                of = {name: label} if name is not None else {}
                sys.stdout.write(json.dumps({"service": self._service, **of, **beside}) + "\n")
                continue
            for sample in mine:
                if sample.name in WATCHED:
                    line.add_metric(name=sample.name, unit="Count", value=sample.value)
            for key, value in beside.items():
                line.add_metadata(key=key, value=value)
            line.flush_metrics()
