"""Metrics in the log, in CloudWatch's embedded metric format: no agent, and no call that could fail or cost."""

from __future__ import annotations

from groundswell.metrics import Sample

NAMESPACE = "Groundswell"


class EmfLog:
    """Writes samples to standard output through Powertools, which knows the format and its limits."""

    def __init__(self, service: str) -> None:
        from aws_lambda_powertools.metrics.provider.cloudwatch_emf.cloudwatch import AmazonCloudWatchEMFProvider

        self._make = lambda: AmazonCloudWatchEMFProvider(namespace=NAMESPACE, service=service, metric_set={})

    def write(self, samples: list[Sample]) -> None:
        """One line for the samples without a label, and one for each label."""
        by_label: dict[tuple[str | None, str], list[Sample]] = {}
        for sample in samples:
            by_label.setdefault((sample.label_name, sample.label), []).append(sample)
        for (name, label), mine in by_label.items():
            line = self._make()
            if name is not None:
                line.add_dimension(name=name, value=label)
            for sample in mine:
                line.add_metric(
                    name=sample.name, unit="Seconds" if "seconds" in sample.name else "Count", value=sample.value
                )
            line.flush_metrics()
