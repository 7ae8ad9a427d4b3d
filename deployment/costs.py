"""What a deployment costs a month, line by line, from list prices and assumptions about its use.

Both are data (`prices.json`, `usage.json`); this module multiplies. Amounts are US dollars a month, without taxes.
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import dataclass
from functools import cache
from importlib import resources
from typing import Any

from deployment.knobs import CONTEXT_FILE, DeploymentError, Knobs, line_for

NAT_DISK_GB = 2
"""Root volume of the NAT instance: that of Amazon Linux's minimal image."""
MEGA = 1e6
GIGA = 1e9
DAYS = 30.4


@dataclass(frozen=True)
class CostLine:
    """One line of the table."""

    service: str
    what: str
    usd: float
    note: str
    """How it was kept low, or what drives it."""


@dataclass(frozen=True)
class Estimate:
    """A month of one deployment."""

    lines: tuple[CostLine, ...]

    @property
    def total(self) -> float:
        return sum(line.usd for line in self.lines)


class Prices:
    """The price list. Quantities are for a month; what AWS always gives for nothing is taken off."""

    def __init__(self, document: Mapping[str, Any]) -> None:
        self._prices = document["prices"]
        self.hours = float(document["hours_per_month"])
        self.region = str(document["region"])
        self.as_of = str(document["as_of"])

    def of(self, name: str, quantity: float, size: str | None = None) -> float:
        """What `quantity` of `name` costs. `size` picks among the sizes of a thing that has some."""
        price = self._prices[name]
        usd = price["usd"][size] if size is not None else price["usd"]
        return float(usd) * max(0.0, quantity - float(price.get("always_free", 0)))

    def sources(self) -> list[str]:
        return sorted({str(price["source"]) for price in self._prices.values()})


@cache
def prices() -> Prices:
    return Prices(_read("prices.json"))


@cache
def default_usage() -> Mapping[str, float]:
    return {name: float(entry["value"]) for name, entry in _read("usage.json").items()}


def usage_reasons() -> Mapping[str, str]:
    return {name: str(entry["why"]) for name, entry in _read("usage.json").items()}


def estimate(chosen: Knobs, usage: Mapping[str, float] | None = None, at: Prices | None = None) -> Estimate:
    """The month's cost of `chosen` under `usage`."""
    month = _Month(chosen, usage or default_usage(), at or prices())
    lines = [
        *month.database(),
        *month.network(),
        *month.tasks(),
        *month.functions(),
        *month.gateway(),
        *month.storage(),
        *month.watching(),
        *month.vectors(),
    ]
    return Estimate(tuple(lines))


def check(chosen: Knobs, usage: Mapping[str, float] | None = None) -> Estimate:
    """The estimate, where it is within the deployment's budget.

    Raises:
        DeploymentError: it is not; names the dearest lines and the line to change.
    """
    found = estimate(chosen, usage)
    if found.total <= chosen.monthly_budget_usd:
        return found
    dearest = sorted(found.lines, key=lambda line: -line.usd)[:3]
    named = ", ".join(f"{line.what} {line.usd:.2f}" for line in dearest)
    raise DeploymentError(
        [
            f"This deployment would cost {found.total:.2f} USD a month, and may cost {chosen.monthly_budget_usd:.2f}. "
            f"The dearest lines: {named}. In {CONTEXT_FILE}, choose smaller parts, or set "
            f"{line_for('monthly_budget_usd', float(int(found.total) + 1))} (now {chosen.monthly_budget_usd:g})."
        ]
    )


@dataclass(frozen=True)
class _Month:
    chosen: Knobs
    usage: Mapping[str, float]
    at: Prices

    @property
    def posts(self) -> float:
        return self.usage["posts_per_day"] * DAYS

    @property
    def viewer_hours(self) -> float:
        return self.usage["viewers"] * self.at.hours

    @property
    def requests(self) -> float:
        return self.viewer_hours * self.usage["requests_per_viewer_hour"]

    def database(self) -> list[CostLine]:
        chosen = self.chosen
        zones = 2 if chosen.database_multi_az else 1
        needed = self.usage["posts_per_day"] * chosen.hot_days * self.usage["database_bytes_per_post"] / GIGA
        stored = min(max(chosen.database_storage_gb, needed * 1.5), chosen.database_storage_max_gb)
        yield_note = "the smallest class that RDS has; one zone" if zones == 1 else "a standby in a second zone"
        return [
            CostLine(
                "RDS",
                f"PostgreSQL db.{chosen.database_class}",
                zones * self.at.of("rds_hour", self.at.hours, chosen.database_class),
                yield_note,
            ),
            CostLine(
                "RDS",
                f"{stored:.0f} GB of gp3 storage",
                zones * self.at.of("rds_storage_gb", stored),
                f"the mover keeps about {needed:.0f} GB; as much backup is free",
            ),
            CostLine(
                "Secrets Manager",
                "the database's credentials",
                self.at.of("secret", 1),
                "all others are SSM parameters, which are free",
            ),
        ]

    def network(self) -> list[CostLine]:
        chosen, hours = self.chosen, self.at.hours
        inside = self.posts * (self.usage["source_bytes_per_post"] + self._vector_bytes()) / GIGA
        address = CostLine(
            "VPC",
            "1 public IPv4 address",
            self.at.of("public_ipv4_hour", hours),
            "the only one: everything else is private",
        )
        if chosen.nat == "gateway":
            gateway = self.at.of("nat_gateway_hour", hours) + self.at.of("nat_gateway_gb", inside)
            return [
                CostLine(
                    "VPC",
                    f"NAT gateway, {inside:.0f} GB",
                    gateway,
                    "one for all zones; S3 goes round it by its free endpoint",
                ),
                address,
            ]
        managed = self.at.of("nat_gateway_hour", hours) + self.at.of("nat_gateway_gb", inside)
        return [
            CostLine(
                "EC2",
                f"NAT instance {chosen.nat_instance_class}",
                self.at.of("ec2_hour", hours, chosen.nat_instance_class),
                f"a NAT gateway would be {managed:.2f}",
            ),
            CostLine(
                "EC2",
                f"its {NAT_DISK_GB} GB disk",
                self.at.of("ebs_gb", NAT_DISK_GB),
                "the minimal image needs no 8 GB",
            ),
            address,
        ]

    def tasks(self) -> list[CostLine]:
        chosen = self.chosen
        lines = [
            CostLine(
                "Fargate",
                f"{'relay and API' if chosen.combined else 'relay'}, {chosen.relay_cpu / 1024:g} vCPU, "
                f"{chosen.relay_memory_mb / 1024:g} GB{', Spot' if chosen.relay_spot else ''}",
                self._fargate(chosen.relay_cpu, chosen.relay_memory_mb, spot=chosen.relay_spot),
                "ARM is 20% cheaper than x86"
                + (", Spot 70% on top" if chosen.relay_spot else "; Spot would take off 70%"),
            ),
            CostLine("ECR", "the relay's image", self.at.of("ecr_gb", self.usage["image_gb"]), "two images are kept"),
        ]
        if chosen.qdrant == "fargate":
            lines.append(
                CostLine(
                    "Fargate",
                    f"Qdrant, {chosen.qdrant_cpu / 1024:g} vCPU, {chosen.qdrant_memory_mb / 1024:g} GB",
                    self._fargate(chosen.qdrant_cpu, chosen.qdrant_memory_mb, spot=False),
                    "our own: its index lies on the task's own disk, which is free",
                )
            )
        return lines

    def functions(self) -> list[CostLine]:
        chosen = self.chosen
        runs, calls = self._runs(), self._calls()
        seconds = (
            runs * self.usage["job_seconds"] * 0.5
            + (calls - runs) * self.usage["api_ms"] / 1000 * chosen.api_memory_mb / 1024
        )
        usd = self.at.of("lambda_million", calls / MEGA) + self.at.of("lambda_arm_gb_second", seconds)
        lines = [
            CostLine(
                "Lambda",
                f"{calls:,.0f} calls, {seconds:,.0f} GB-seconds",
                usd,
                "ARM; 1 million calls and 400,000 GB-seconds are always free",
            ),
            CostLine(
                "EventBridge",
                f"{runs:,.0f} scheduled runs",
                self.at.of("scheduler_million", runs / MEGA),
                "14 million are always free",
            ),
        ]
        if chosen.traces != "off":
            # By X-Ray's own rule: the first call of each second, and one in twenty of the others.
            recorded = min(calls, self.at.hours * 3600 + calls / 20)
            usd = self.at.of("xray_million", recorded / MEGA)
            lines.append(CostLine("X-Ray", f"{recorded:,.0f} calls recorded, at most", usd, "100,000 are always free"))
        return lines

    def gateway(self) -> list[CostLine]:
        chosen = self.chosen
        loads = self.usage["page_loads"] * self.usage["page_mb"] / 1024
        site = CostLine(
            "CloudFront", f"the page, {loads:.1f} GB", self.at.of("cloudfront_gb", loads), "1 TB is always free"
        )
        if chosen.combined:
            return [site]
        wished = self.viewer_hours * 60 * self.usage["frames_per_viewer_minute"]
        sent = min(wished, chosen.websocket_messages_per_month)
        messages = sent + self._client_frames()
        minutes = self.viewer_hours * 60
        usd = self.at.of("websocket_million", messages / MEGA) + self.at.of("websocket_minutes_million", minutes / MEGA)
        stretched = (
            f"the message budget stretches {wished / MEGA:.2f} million frames"
            if wished > sent
            else "within the message budget"
        )
        return [
            CostLine(
                "API Gateway",
                f"{self.requests:,.0f} HTTP requests",
                self.at.of("http_api_million", self.requests / MEGA),
                "an HTTP API: a REST API costs 3.5 times as much",
            ),
            CostLine("API Gateway", f"{messages:,.0f} WebSocket messages", usd, f"{stretched}; hidden tabs pause"),
            site,
        ]

    def storage(self) -> list[CostLine]:
        chosen, usage = self.chosen, self.usage
        per_day = usage["posts_per_day"] * usage["archive_bytes_per_post"] / GIGA
        days = chosen.archive_keep_days or 365
        warm = per_day * min(days, chosen.archive_cold_after_days)
        cold = per_day * max(0, days - chosen.archive_cold_after_days)
        files = (usage["posts_per_day"] / usage["archive_file_posts"] + 1) * 2 * DAYS / 1000
        usd = (
            self.at.of("s3_gb", warm)
            + self.at.of("s3_cold_gb", cold)
            + self.at.of("s3_put_thousand", files)
            + self.at.of("s3_cold_put_thousand", files)
        )
        kept = f"full after {days} days" if chosen.archive_keep_days else "as it is after a year; nothing is deleted"
        return [
            CostLine(
                "S3",
                f"archive, {warm + cold:.0f} GB",
                usd,
                f"{kept}; Parquet and zstd, cold after {chosen.archive_cold_after_days} days",
            )
        ]

    def watching(self) -> list[CostLine]:
        usage = self.usage
        logs = self.at.of("log_gb", usage["log_gb"])
        metrics = self.at.of("metric", usage["custom_metrics"])
        alarms = self.at.of("alarm", ALARMS)
        dashboards = self.at.of("dashboard", 1)
        reports = self.at.of("cost_explorer_request", usage["cost_reports"])
        return [
            CostLine(
                "CloudWatch",
                f"{usage['log_gb']:g} GB of logs",
                logs,
                f"5 GB are always free; kept {self.chosen.log_days} days",
            ),
            CostLine(
                "CloudWatch",
                f"{usage['custom_metrics']:.0f} metrics, {ALARMS} alarms, 1 dashboard",
                metrics + alarms + dashboards,
                "10 metrics, 10 alarms and 3 dashboards are always free",
            ),
            CostLine("Cost Explorer", f"{usage['cost_reports']:.0f} weekly reports", reports, "one request each"),
        ]

    def vectors(self) -> list[CostLine]:
        if self.chosen.qdrant != "cloud":
            return []
        sent = self.posts * self._vector_bytes() / GIGA
        return [
            CostLine(
                "Qdrant Cloud",
                "free cluster",
                self.at.of("qdrant_cloud_free", 1),
                "1 GB of memory, 4 GB of disk: three days of a million posts",
            ),
            CostLine(
                "EC2",
                f"{sent:.0f} GB to it, in the same region",
                self.at.of("transfer_zone_gb", sent),
                "a vector is sent as whole numbers, a fifth of what all its decimals would be",
            ),
        ]

    def _vector_bytes(self) -> float:
        return self.usage["vector_bytes_per_post"] if self.chosen.qdrant == "cloud" else 0.0

    def _runs(self) -> float:
        """Scheduled runs of mover and cleanup."""
        minutes = self.at.hours * 60
        return minutes / self.chosen.mover_every_minutes + minutes / self.chosen.cleanup_every_minutes

    def _calls(self) -> float:
        """Of all functions."""
        return self._runs() + (0 if self.chosen.combined else self.requests + self._client_frames())

    def _client_frames(self) -> float:
        return self.viewer_hours * self.usage["client_frames_per_viewer_hour"]

    def _fargate(self, cpu: int, memory_mb: int, *, spot: bool) -> float:
        hours = self.at.hours
        full = self.at.of("fargate_arm_vcpu_hour", hours * cpu / 1024) + self.at.of(
            "fargate_arm_gb_hour", hours * memory_mb / 1024
        )
        return full * self.at.of("fargate_spot_factor", 1) if spot else full


ALARMS = 10
"""Alarms of a deployment: as many as are free. A test counts those of the stacks."""


def _read(name: str) -> dict[str, Any]:
    return json.loads(resources.files("deployment").joinpath(name).read_text("utf-8"))
