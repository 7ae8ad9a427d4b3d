"""The lines of the table of costs: what each part of a deployment costs in a month, and for which resources."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

from deployment.database_parameters import LOG_PARAMETERS
from deployment.knobs import Knobs
from deployment.price_list import ALARMS, CostLine, Prices

MEGA = 1e6
GIGA = 1e9
DAYS = 30.4

BASELINE_CORES: Mapping[str, float] = {"t4g.micro": 0.2, "t4g.small": 0.4, "t4g.medium": 0.4, "t4g.large": 0.6}
"""What a T class of RDS may use of its two processors without an end. More is billed by the hour, and never refused."""

ESTIMATED_DAYS = 365
"""How old the archive is taken to be where nothing is deleted from it."""
LOG_ON_DISK_GB = float(LOG_PARAMETERS["max_wal_size"]) / 1000
"""What Postgres keeps of its log."""


def archive_days(chosen: Knobs) -> int:
    """Days of posts that the archive has in the month that is estimated."""
    return chosen.archive_keep_days or ESTIMATED_DAYS


def database_gb(chosen: Knobs, usage: Mapping[str, float]) -> float:
    """What the database holds: hot posts with their counts, and where each archived post is."""
    each = chosen.hot_days * usage["database_bytes_per_post"]
    return usage["posts_per_day"] * (each + archive_days(chosen) * usage["archive_index_bytes_per_post"]) / GIGA


def storage_gb(chosen: Knobs, needed: float) -> float:
    """How far RDS has grown the disk: by a tenth, and 10 GB at least, whenever less than a tenth of it is free."""
    stored = float(chosen.database_storage_gb)
    while needed + LOG_ON_DISK_GB > stored * 0.9 and stored < chosen.database_storage_max_gb:
        stored += max(10.0, stored / 10)
    return min(stored, float(chosen.database_storage_max_gb))


def lines(chosen: Knobs, usage: Mapping[str, float], at: Prices) -> list[CostLine]:
    """Every line of a month."""
    month = _Month(chosen, usage, at)
    return [
        *month.database(),
        *month.network(),
        *month.tasks(),
        *month.functions(),
        *month.gateway(),
        *month.storage(),
        *month.watching(),
        *month.vectors(),
    ]


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
        """Of the HTTP API. A page without a WebSocket polls as well."""
        each = self.usage["requests_per_viewer_hour"]
        return self.viewer_hours * (each + (self.usage["polls_per_viewer_hour"] if self.chosen.combined else 0))

    @property
    def x86(self) -> bool:
        return self.chosen.function_platform.startswith("x86_64")

    def database(self) -> list[CostLine]:
        chosen = self.chosen
        zones = 2 if chosen.database_multi_az else 1
        needed = database_gb(chosen, self.usage)
        stored = storage_gb(chosen, needed)
        found = [
            CostLine(
                "RDS",
                f"PostgreSQL db.{chosen.database_class}",
                zones * self.at.of("rds_hour", self.at.hours, chosen.database_class),
                ("the smallest class that RDS has; one zone" if zones == 1 else "a standby in a second zone")
                + "; extended support is switched off",
                ("AWS::RDS::DBInstance",),
            ),
            CostLine(
                "RDS",
                f"{stored:.0f} GB of gp3 storage",
                zones * self.at.of("rds_storage_gb", stored),
                f"{needed:.0f} GB of posts and of the archive's index; RDS adds storage before it is full",
            ),
            self._backups(needed, stored),
        ]
        if (baseline := BASELINE_CORES.get(chosen.database_class)) is not None:
            used = self.usage["posts_per_day"] / 86_400 * self.usage["database_core_seconds_per_post"]
            found.append(
                CostLine(
                    "RDS",
                    "processor time above the baseline",
                    zones * self.at.of("rds_credit_hour", max(0.0, used - baseline) * self.at.hours),
                    f"{used:.2f} of the {baseline:g} cores that a {chosen.database_class} always has",
                )
            )
        reads = self._calls() * self.usage["cold_start_share"] + self._runs()
        found.append(
            CostLine(
                "Secrets Manager",
                "the database's credentials",
                self.at.of("secret", 1) + self.at.of("secret_calls_10k", reads / 10_000),
                "all others are SSM parameters, which are free; read once by each new process",
                ("AWS::SecretsManager::Secret",),
            )
        )
        return found

    def _backups(self, needed: float, stored: float) -> CostLine:
        """Daily snapshots share what did not change; the log is kept whole for every day that can be restored."""
        usage, days = self.usage, self.chosen.database_backup_days
        log = usage["posts_per_day"] * usage["wal_bytes_per_post"] / GIGA
        kept = needed + log * days
        return CostLine(
            "RDS",
            f"{kept:.0f} GB of backups",
            self.at.of("rds_backup_gb", max(0.0, kept - stored)),
            f"{log:.0f} GB of the database's log for each day ({days}), and the data; as much as the storage is free",
        )

    def network(self) -> list[CostLine]:
        chosen, hours = self.chosen, self.at.hours
        gateway = chosen.nat == "gateway"
        addresses = 1 if gateway or chosen.qdrant != "fargate" else 2
        answers = self._answers() * self.usage["answer_kb"] / MEGA
        found = [
            CostLine(
                "VPC",
                f"{addresses} public IPv4 address{'es' if addresses > 1 else ''}",
                addresses * self.at.of("public_ipv4_hour", hours),
                "the NAT gateway's"
                if gateway
                else "the task's own: no NAT; functions reach AWS over IPv6, which is free",
                ("AWS::EC2::EIP",) if gateway else ("AWS::ECS::Service",),
            ),
            CostLine(
                "EC2",
                f"{answers:.1f} GB to viewers",
                self.at.of("transfer_internet_gb", answers),
                "100 GB are always free",
            ),
        ]
        if gateway:
            inside = self.posts * (self.usage["source_bytes_per_post"] + self._vector_bytes()) / GIGA
            found.append(
                CostLine(
                    "VPC",
                    f"NAT gateway, {inside:.0f} GB",
                    self.at.of("nat_gateway_hour", hours) + self.at.of("nat_gateway_gb", inside),
                    "one for all zones; S3 goes round it by its free endpoint, the rest of AWS over IPv6",
                    ("AWS::EC2::NatGateway",),
                )
            )
            if chosen.production:
                crossing = inside + self.posts * self.usage["database_bytes_per_post"] / GIGA
                found.append(
                    CostLine(
                        "EC2",
                        f"{crossing:.0f} GB between zones, at most",
                        2 * self.at.of("transfer_zone_gb", crossing),
                        "where the relay runs in another zone than the gateway and the database; both ends are charged",
                    )
                )
        return found

    def tasks(self) -> list[CostLine]:
        chosen, usage = self.chosen, self.usage
        found = [
            CostLine(
                "Fargate",
                f"{'relay and API' if chosen.combined else 'relay'}, {chosen.relay_cpu / 1024:g} vCPU, "
                f"{chosen.relay_memory_mb / 1024:g} GB{', Spot' if chosen.relay_spot else ''}",
                self._fargate(chosen.relay_cpu, chosen.relay_memory_mb, spot=chosen.relay_spot, x86=self.x86),
                ("x86; ARM is 20% cheaper" if self.x86 else "ARM is 20% cheaper than x86")
                + (", Spot 70% on top" if chosen.relay_spot else "; Spot would take off 70%"),
                ("AWS::ECS::Service", "AWS::ECS::TaskDefinition"),
            ),
            CostLine(
                "ECR",
                f"the relay's images, {usage['releases_kept']:.0f} releases",
                self.at.of("ecr_gb", usage["image_gb"] * usage["releases_kept"]),
                "`cdk gc` removes those that nothing uses",
            ),
        ]
        if chosen.qdrant == "fargate":
            found.append(
                CostLine(
                    "Fargate",
                    f"Qdrant, {chosen.qdrant_cpu / 1024:g} vCPU, {chosen.qdrant_memory_mb / 1024:g} GB",
                    self._fargate(chosen.qdrant_cpu, chosen.qdrant_memory_mb, spot=False, x86=False),
                    "our own: its index lies on the task's own disk, which is free",
                    ("AWS::ECS::Service", "AWS::ECS::TaskDefinition"),
                )
            )
        if chosen.qdrant == "fargate" or chosen.combined:
            found.append(
                CostLine(
                    "Route 53",
                    "1 private zone",
                    self.at.of("hosted_zone", 1),
                    "names of tasks: ECS registers them in a namespace with DNS alone",
                    ("AWS::ServiceDiscovery::PrivateDnsNamespace",),
                )
            )
        return found

    def functions(self) -> list[CostLine]:
        chosen, usage = self.chosen, self.usage
        runs, calls, forwarded = self._runs(), self._calls(), self._forwarded()
        memory = chosen.api_memory_mb / 1024
        cold = usage["cold_start_share"] * usage["cold_start_s"]
        seconds = (
            runs * usage["job_seconds"] * 0.5
            + (calls - runs - forwarded) * (usage["api_ms"] / 1000 + cold) * memory
            + forwarded * (usage["api_ms"] / 1000 + cold) * 0.5
        )
        price = "lambda_x86_gb_second" if self.x86 else "lambda_arm_gb_second"
        found = [
            CostLine(
                "Lambda",
                f"{calls:,.0f} calls, {seconds:,.0f} GB-seconds",
                self.at.of("lambda_million", calls / MEGA) + self.at.of(price, seconds),
                "INIT is billed and counted; 1 million calls and 400,000 GB-seconds are always free",
                ("AWS::Lambda::Function",),
            ),
            CostLine(
                "EventBridge",
                f"{runs:,.0f} scheduled runs",
                self.at.of("scheduler_million", runs / MEGA),
                "14 million are always free",
                ("AWS::Scheduler::Schedule",),
            ),
        ]
        if chosen.traces != "off":
            # By X-Ray's own rule: the first call of each second, and one in twenty of the others.
            recorded = min(calls, self.at.hours * 3600 + calls / 20)
            usd = self.at.of("xray_million", recorded / MEGA)
            found.append(CostLine("X-Ray", f"{recorded:,.0f} calls recorded, at most", usd, "100,000 are always free"))
        return found

    def gateway(self) -> list[CostLine]:
        chosen = self.chosen
        loads = self.usage["page_loads"] * self.usage["page_mb"] / 1024
        site = CostLine(
            "CloudFront",
            f"the page, {loads:.1f} GB",
            self.at.of("cloudfront_gb", loads),
            "1 TB and 10 million requests are always free",
            ("AWS::CloudFront::Distribution",),
        )
        http = CostLine(
            "API Gateway",
            f"{self.requests:,.0f} HTTP requests",
            self.at.of("http_api_million", self.requests / MEGA),
            "an HTTP API: a REST API costs 3.5 times as much" + ("; pages poll" if chosen.combined else ""),
            ("AWS::ApiGatewayV2::Api",),
        )
        if chosen.combined:
            return [http, site]
        wished = self.viewer_hours * 60 * self.usage["frames_per_viewer_minute"]
        sent = self._frames()
        messages = sent + self._client_frames()
        minutes = self.viewer_hours * 60
        usd = self.at.of("websocket_million", messages / MEGA) + self.at.of("websocket_minutes_million", minutes / MEGA)
        stretched = (
            f"the message budget stretches {wished / MEGA:.2f} million frames"
            if wished > sent
            else "within the message budget"
        )
        return [
            http,
            CostLine(
                "API Gateway",
                f"{messages:,.0f} WebSocket messages",
                usd,
                f"{stretched}; hidden tabs pause",
                ("AWS::ApiGatewayV2::Api",),
            ),
            site,
        ]

    def storage(self) -> list[CostLine]:
        chosen, usage = self.chosen, self.usage
        per_day = usage["posts_per_day"] * usage["archive_bytes_per_post"] / GIGA
        days = archive_days(chosen)
        warm_days = min(days, chosen.archive_cold_after_days) if chosen.archive_grows_cold else days
        warm, cold = per_day * warm_days, per_day * (days - warm_days)
        files = (usage["posts_per_day"] / usage["archive_file_posts"] + 1) * 2 * DAYS / 1000
        usd = (
            self.at.of("s3_gb", warm)
            + self.at.of("s3_cold_gb", cold)
            + self.at.of("s3_put_thousand", files)
            + self.at.of("s3_cold_put_thousand", files if chosen.archive_grows_cold else 0)
        )
        kept = f"full after {days} days" if chosen.archive_keep_days else "as it is after a year; nothing is deleted"
        assets = usage["assets_gb"] * usage["releases_kept"]
        return [
            CostLine(
                "S3",
                f"archive, {warm + cold:.0f} GB",
                usd,
                f"{kept}; Parquet and zstd"
                + (f", cold after {chosen.archive_cold_after_days} days" if chosen.archive_grows_cold else ""),
                ("AWS::S3::Bucket",),
            ),
            CostLine(
                "S3",
                f"the page, and the zips of {usage['releases_kept']:.0f} releases",
                self.at.of("s3_gb", assets),
                "`cdk gc` removes those that nothing uses",
                ("AWS::S3::Bucket",),
            ),
        ]

    def watching(self) -> list[CostLine]:
        usage, production = self.usage, self.chosen.production
        written = usage["log_gb"] + (usage["production_log_gb"] if production else 0)
        watched = usage["custom_metrics"] + (usage["insights_metrics"] if production else 0)
        return [
            CostLine(
                "CloudWatch",
                f"{written:g} GB of logs",
                self.at.of("log_gb", written),
                f"5 GB are always free; kept {self.chosen.log_days} days",
                ("AWS::Logs::LogGroup",),
            ),
            CostLine(
                "CloudWatch",
                f"{watched:.0f} metrics, {ALARMS} alarms, 1 dashboard",
                self.at.of("metric", watched) + self.at.of("alarm", ALARMS) + self.at.of("dashboard", 1),
                "10 metrics, 10 alarms and 3 dashboards are always free"
                + ("; Container Insights has the most metrics" if production else ""),
                ("AWS::CloudWatch::Alarm", "AWS::CloudWatch::Dashboard", "AWS::ECS::Cluster"),
            ),
            CostLine(
                "Cost Explorer",
                f"{usage['cost_reports']:.0f} weekly reports",
                self.at.of("cost_explorer_request", usage["cost_reports"]),
                "one request each",
            ),
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
        answered = 0 if self.chosen.combined else self.requests + self._client_frames()
        return self._runs() + answered + self._forwarded()

    def _forwarded(self) -> float:
        """Searches that the function outside the network sends on."""
        if self.chosen.combined or self.chosen.nat != "none" or self.chosen.qdrant != "cloud":
            return 0.0
        return self.requests * self.usage["searches_share"]

    def _client_frames(self) -> float:
        return self.viewer_hours * self.usage["client_frames_per_viewer_hour"]

    def _frames(self) -> float:
        """Live frames to clients whose sockets API Gateway holds."""
        if self.chosen.combined:
            return 0.0
        wished = self.viewer_hours * 60 * self.usage["frames_per_viewer_minute"]
        return min(wished, self.chosen.websocket_messages_per_month)

    def _answers(self) -> float:
        return self.requests + self._frames()

    def _fargate(self, cpu: int, memory_mb: int, *, spot: bool, x86: bool) -> float:
        hours, kind = self.at.hours, "x86" if x86 else "arm"
        full = self.at.of(f"fargate_{kind}_vcpu_hour", hours * cpu / 1024) + self.at.of(
            f"fargate_{kind}_gb_hour", hours * memory_mb / 1024
        )
        return full * self.at.of("fargate_spot_factor", 1) if spot else full
