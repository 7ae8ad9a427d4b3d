"""The three stacks and what they wire together.

`Data` holds what must not be lost, `Platform` what runs and where traffic enters, `Watch` who notices. A deploy goes
through them in this order; inside `Platform`: migration, services, traffic.
"""

# pyright: reportArgumentType=false
# The library's Python interfaces name parameters differently than its classes do: no class is its own interface.

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

from aws_cdk import ArnFormat, CfnOutput, Duration, Environment, Fn, Stack, triggers
from aws_cdk import aws_ec2 as ec2
from aws_cdk import aws_servicediscovery as servicediscovery
from constructs import Construct

from cdk.assets import CodeAssets
from cdk.environment import SecretReference
from cdk.nag import accept
from cdk.parts.alerts import Alerts
from cdk.parts.archive import Archive
from cdk.parts.database import Database
from cdk.parts.function import ServiceFunction
from cdk.parts.gateway import HttpFront, SocketsApi, SocketsRoutes
from cdk.parts.network import Network
from cdk.parts.qdrant import Qdrant
from cdk.parts.relay import API_PORT, DATA_DIR, HEARTBEAT_FILE, Cluster, Relay
from cdk.parts.schedule import WEEKLY, Job
from cdk.parts.site import Site
from cdk.parts.watch import Alarms, Dashboard, SpendBudget
from deployment.connections import ADMIN_CONCURRENCY, ADMIN_POOL
from deployment.knobs import Knobs, overrides_of

JOB_TIMEOUT_S = 300
MIGRATION_AWAITED_S = 840
"""How long a deploy waits for the migration. The helper that waits runs for fifteen minutes at most."""
MIGRATION_TIMEOUT_S = 780
"""When Lambda ends a migration: a minute before the deploy gives up, so that none goes on under a rollback."""
FUNCTION_DATA_DIR = "/tmp"  # noqa: S108 -- the one place where a function can write
ADMIN_TIMEOUT_S = 900
"""As long as a function may run: a file of the archive is restored in one go."""
ADMIN_MEMORY_MB = 1769
"""One whole processor."""
ADMIN_DISK_MB = 10_240
"""As much as a function may have: a query brings the files that it reads. Paid for while one runs."""
TRUSTED_PROXIES = "GROUNDSWELL_TRUSTED_PROXIES"
PUBLIC_API_URL = "GROUNDSWELL_PUBLIC_API_URL"
API_LOG = "ApiFunctionLog"
"""How the logical name of the log group of the API's function begins."""
ROLE_OF = {"api": "api", "mover": "jobs", "cleanup": "jobs", "admin": "operator"}
"""The role of the database that each function has; the relay's task has its own."""
VECTORS_TIMEOUT_S = 10
"""As long as the vector index's adapter waits."""
API_TIMEOUT_S = 29
"""An HTTP API waits thirty seconds for an answer."""


@dataclass(frozen=True)
class Inputs:
    """What a deployment is made from."""

    knobs: Knobs
    assets: CodeAssets
    site_folder: Path
    version: str
    environment: Mapping[str, str]
    """Variables that the operator sets (cdk.json, `environment`)."""
    secrets: Mapping[str, str]
    """Secret variables, each with the name of the SSM SecureString that holds it (cdk.json, `secrets`)."""


class DataStack(Stack):
    """The network, the database, the archive."""

    def __init__(self, scope: Construct, id: str, inputs: Inputs, *, env: Environment) -> None:
        super().__init__(scope, id, env=env, description="Groundswell: network, database and archive")
        chosen = inputs.knobs
        self.termination_protection = chosen.deletion_protection
        self.network = Network(self, "Network", chosen)
        self.database = Database(self, "Database", chosen, self.network)
        self.archive = Archive(self, "Archive", chosen)
        self.alerts = Alerts(self, "Alerts", chosen)
        # Exported always, not just while a deployment uses them: an export in use cannot be taken away again.
        for subnet in (*self.network.vpc.private_subnets, *self.network.vpc.public_subnets):
            self.export_value(subnet.subnet_id)
        CfnOutput(self, "ArchiveBucket", value=self.archive.bucket.bucket_name)
        CfnOutput(self, "DatabaseSecret", value=self.database.reference.arn)
        CfnOutput(self, "DatabaseInstanceName", value=self.database.instance.instance_identifier)


class PlatformStack(Stack):
    """The migration, the services, and where traffic enters."""

    def __init__(self, scope: Construct, id: str, inputs: Inputs, data: DataStack, *, env: Environment) -> None:
        super().__init__(scope, id, env=env, description="Groundswell: relay, functions, API and page")
        self._inputs, self._data = inputs, data
        chosen = inputs.knobs
        network = data.network
        self.cluster = Cluster(self, "Cluster", chosen, network)
        namespace = None
        if chosen.combined or chosen.qdrant == "fargate":
            namespace = servicediscovery.PrivateDnsNamespace(
                self, "Names", name=f"{chosen.name.lower()}.internal", vpc=network.vpc
            )
        self.qdrant = None
        if chosen.qdrant == "fargate":
            assert namespace is not None
            self.qdrant = Qdrant(self, "Qdrant", chosen, network=network, cluster=self.cluster, namespace=namespace)
            self.qdrant.allow_from(data.database.clients, "services")
        self.sockets_api = None if chosen.combined else SocketsApi(self, "Sockets")
        self._values = self._shared_values()
        self.source = str(self._values["GROUNDSWELL_SOURCE"])
        self.vectors = self._vectors()

        migrate, migration = self._migration()
        _accept_custom_resources(self)

        self.relay = Relay(
            self,
            "Relay",
            chosen,
            values=self._values,
            network=network,
            groups=[data.database.clients],
            cluster=self.cluster,
            namespace=namespace if chosen.combined else None,
        )
        self.mover = self._function("Mover", "mover", "functions.mover.handler.handler", memory=512, concurrency=1)
        self.cleanup = self._function(
            "Cleanup", "cleanup", "functions.cleanup.handler.handler", memory=512, concurrency=1
        )
        self.functions: dict[str, ServiceFunction] = {"migrate": migrate, "mover": self.mover, "cleanup": self.cleanup}
        self.admin = self._function(
            "Admin", "admin", "functions.admin.handler.handler", memory=ADMIN_MEMORY_MB,
            concurrency=ADMIN_CONCURRENCY, pool=ADMIN_POOL, timeout_s=ADMIN_TIMEOUT_S, disk_mb=ADMIN_DISK_MB,
        )  # fmt: skip
        # Agents, when they come, are one more function and one more job here, with `agents` as their service.
        self._grant_stores()
        topic = data.alerts.topic
        jobs = [
            Job(self, "MoverJob", self.mover.function, every_minutes=chosen.mover_every_minutes, failures=topic),
            Job(self, "CleanupJob", self.cleanup.function, every_minutes=chosen.cleanup_every_minutes, failures=topic),
        ]
        services: list[Construct] = [self.relay, self.mover, self.cleanup, self.admin]
        self.front = HttpFront(self, "Http", chosen)
        if chosen.combined:
            self._lead_to_task()
        else:
            services.append(self._function_of_the_api())
        for part in (*jobs, self.front):
            part.node.add_dependency(*services)
        self.site = Site(
            self,
            "Site",
            built=[str(inputs.site_folder)],
            api_host=self.front.host,
            ws_url=self.sockets_api.public_url if self.sockets_api else "",
            version=inputs.version,
            contact=chosen.contact,
        )
        if self.sockets_api:
            # It has to know the page's address, so that it comes after the page.
            services.append(self._function_of_the_sockets())
            self._socket_routes().node.add_dependency(*services)
        migration.execute_before(*services)
        CfnOutput(self, "Page", value=self.site.url)
        CfnOutput(self, "SiteBucket", value=self.site.bucket.bucket_name)
        CfnOutput(self, "AdminFunctionName", value=self.admin.function.function_name)
        CfnOutput(self, "MigrateFunctionName", value=migrate.function.function_name)
        CfnOutput(self, "ClusterName", value=self.cluster.cluster.cluster_name)
        CfnOutput(self, "RelayServiceName", value=self.relay.service.service_name)
        CfnOutput(self, "ScheduleNames", value=Fn.join(",", [job.schedule.ref for job in jobs]))
        CfnOutput(self, "HttpApi", value=f"https://{self.front.host}")
        if self.sockets_api:
            CfnOutput(self, "WebSocket", value=self.sockets_api.public_url)

    # ------------------------------------------------------------------ parts
    def _migration(self) -> tuple[ServiceFunction, triggers.Trigger]:
        """The function that migrates, and what calls it in every deploy. It makes the logins of all others."""
        migrate = self._function(
            "Migrate", "migrate", "functions.migrate.handler.handler", memory=512, concurrency=1,
            timeout_s=MIGRATION_TIMEOUT_S,
        )  # fmt: skip
        logins = [login.arn for login in self._data.database.logins.values()]
        migrate.grant(["ssm:GetParameter", "ssm:PutParameter"], *logins)
        migration = triggers.Trigger(
            self,
            "Migration",
            handler=migrate.function,
            execute_on_handler_change=True,
            timeout=Duration.seconds(MIGRATION_AWAITED_S),
        )
        return migrate, migration

    def _function_of_the_api(self) -> ServiceFunction:
        chosen = self._inputs.knobs
        api = self._function(
            "Api", "api", "functions.api.handler.handler", memory=chosen.api_memory_mb,
            concurrency=chosen.api_concurrency, pool=chosen.api_pool, timeout_s=API_TIMEOUT_S,
        )  # fmt: skip
        api.grant(["s3:GetObject"], f"{self._data.archive.arn}/*")
        self._let_ask_vectors(api)
        self.functions["api"] = api
        self.front.lead_to_function(api.function)
        return api

    def _function_of_the_sockets(self) -> ServiceFunction:
        chosen = self._inputs.knobs
        # Pages of other sites may not open the WebSocket, and the page is served under CloudFront's name.
        page = {} if PUBLIC_API_URL in self._inputs.environment else {PUBLIC_API_URL: self.site.url}
        sockets = self._function(
            "Sockets", "api", "functions.api.sockets.handler", memory=chosen.api_memory_mb,
            concurrency=chosen.sockets_concurrency, pool=chosen.sockets_pool, timeout_s=API_TIMEOUT_S, more=page,
        )  # fmt: skip
        assert self.sockets_api is not None
        for sender in (self.relay, sockets):
            sender.grant(["execute-api:ManageConnections"], self.sockets_api.manage_connections_arn())
        self.functions["sockets"] = sockets
        # Here and not in the stack that watches: what exists in one topology alone must not be exported.
        self._data.alerts.alarm(
            self,
            "SocketsErrors",
            sockets.function.metric_errors(statistic="Sum", period=Duration.minutes(5)),
            "The function behind the WebSocket API fails again and again. Its log says why.",
            threshold=2,
            periods=3,
        )
        return sockets

    def _vectors(self) -> ServiceFunction | None:
        """The function that asks a vector index on the internet for functions that have no way there."""
        chosen = self._inputs.knobs
        if chosen.nat != "none" or self.qdrant is not None or "GROUNDSWELL_QDRANT_URL" not in self._values:
            return None
        return ServiceFunction(
            self,
            "VectorsFunction",
            chosen,
            service="vectors",
            zip_name="vectors",
            handler="functions.vectors.handler.handler",
            assets=self._inputs.assets,
            values=self._values,
            network=None,
            memory_mb=512,
            timeout_s=VECTORS_TIMEOUT_S,
            concurrency=chosen.api_concurrency,
        )

    def _grant_stores(self) -> None:
        """The archive and the vector index to those who keep them in order."""
        archive = self._data.archive
        for keeper in (self.mover, self.admin):
            keeper.grant(["s3:PutObject", "s3:GetObject", "s3:DeleteObject"], f"{archive.arn}/*")
            keeper.grant(["s3:ListBucket"], archive.arn)
        self._let_ask_vectors(self.cleanup, self.admin)

    def _let_ask_vectors(self, *functions: ServiceFunction) -> None:
        if self.vectors is not None:
            for function in functions:
                function.grant(["lambda:InvokeFunction"], self.vectors.function.function_arn)

    def _socket_routes(self) -> SocketsRoutes:
        assert self.sockets_api is not None
        handler = self.functions["sockets"].function
        return SocketsRoutes(self, "SocketsRoutes", self._inputs.knobs, self.sockets_api, handler)

    def _lead_to_task(self) -> None:
        self.relay.grant(["s3:GetObject"], f"{self._data.archive.arn}/*")
        group = ec2.SecurityGroup(self, "LinkGroup", vpc=self._data.network.vpc, description="HTTP API to the task")
        self.relay.security_group.connections.allow_from(group, ec2.Port.tcp(API_PORT), "requests")
        accept(self.relay.security_group, {"AwsSolutions-EC23": "Open to the HTTP API's link alone."})
        service = self.relay.service.cloud_map_service
        assert service is not None
        self.front.lead_to_task(self._data.network, service, [group])

    def _function(
        self,
        id: str,
        service: str,
        handler: str,
        *,
        memory: int,
        concurrency: int,
        pool: int | None = None,
        timeout_s: int = JOB_TIMEOUT_S,
        disk_mb: int = 512,
        more: Mapping[str, object] | None = None,
    ) -> ServiceFunction:
        chosen = self._inputs.knobs
        scope_id = f"{id}Function"
        values = self._values
        if self.vectors is not None:
            # Who asks through that function needs no key: the function has it.
            values = {name: value for name, value in values.items() if name != "GROUNDSWELL_QDRANT_API_KEY"}
            values["GROUNDSWELL_QDRANT_VIA"] = self.vectors.function.function_arn
        return ServiceFunction(
            self,
            scope_id,
            chosen,
            service=service,
            zip_name=service,
            handler=handler,
            assets=self._inputs.assets,
            values={
                **values,
                **self._database_of(service),
                "GROUNDSWELL_DATA_DIR": FUNCTION_DATA_DIR,
                "GROUNDSWELL_DATABASE_POOL_SIZE": pool or chosen.jobs_pool,
                **(more or {}),
            },
            network=self._data.network,
            groups=[self._data.database.clients],
            memory_mb=memory,
            timeout_s=timeout_s,
            concurrency=concurrency,
            disk_mb=disk_mb,
        )

    def _database_of(self, service: str) -> dict[str, object]:
        """How a function connects: as the role of its service, and only the migration as the master."""
        inputs, database = self._inputs, self._data.database
        logins: dict[str, object] = {}
        if service == "migrate":
            logins["GROUNDSWELL_DATABASE_LOGINS"] = ",".join(login.arn for login in database.logins.values())
        if "GROUNDSWELL_DATABASE_URL" not in {**inputs.environment, **inputs.secrets}:
            is_master = service == "migrate"
            logins["GROUNDSWELL_DATABASE_URL"] = database.reference if is_master else database.logins[ROLE_OF[service]]
        return logins

    def _shared_values(self) -> dict[str, object]:
        """The value of every variable that this deployment decides; the rest keep the program's defaults."""
        chosen, inputs = self._inputs.knobs, self._inputs
        values: dict[str, object] = {
            "GROUNDSWELL_ENVIRONMENT": "staging" if chosen.combined else "production",
            "GROUNDSWELL_DATA_DIR": DATA_DIR,
            "GROUNDSWELL_LOG_FORMAT": "json",
            "GROUNDSWELL_SOURCE": "jetstream",
            "GROUNDSWELL_DATABASE_URL": self._data.database.logins["relay"],
            "GROUNDSWELL_DATABASE_POOL_SIZE": chosen.api_pool,
            "GROUNDSWELL_ARCHIVE": self._data.archive.location,
            "GROUNDSWELL_HOT_DAYS": chosen.hot_days,
            "GROUNDSWELL_ARCHIVE_KEEP_DAYS": chosen.archive_keep_days,
            # The functions do it: the relay's task is too small for it, and may not write to the archive.
            "GROUNDSWELL_MAINTENANCE": "scheduled",
            "GROUNDSWELL_METRICS_FORMAT": "emf",
            "GROUNDSWELL_TRACING": tracing(chosen),
            "GROUNDSWELL_HEARTBEAT_FILE": HEARTBEAT_FILE,
            "GROUNDSWELL_WS_MESSAGES_PER_MONTH": chosen.websocket_messages_per_month,
        }
        if self.sockets_api is not None:
            values["GROUNDSWELL_WS_ENDPOINT"] = self.sockets_api.endpoint
            values["GROUNDSWELL_PUBLIC_WS_URL"] = self.sockets_api.public_url
        if self.qdrant is not None:
            values["GROUNDSWELL_QDRANT_URL"] = self.qdrant.url
        elif chosen.qdrant == "cloud" and chosen.qdrant_url:
            values["GROUNDSWELL_QDRANT_URL"] = chosen.qdrant_url
        given = dict(inputs.environment)
        if chosen.combined:
            values |= {
                "GROUNDSWELL_API_HOST": "0.0.0.0",  # noqa: S104 -- inside its group
                "GROUNDSWELL_API_PORT": API_PORT,
                # Only the HTTP API reaches the task, and it answers under its own names alone.
                "GROUNDSWELL_ALLOWED_HOSTS": "*",
            }
            # API Gateway's link connects from inside the network, and names the client in Forwarded alone.
            values["GROUNDSWELL_PROXY_HEADER"] = "forwarded"
            others = given.get(TRUSTED_PROXIES, "")
            given[TRUSTED_PROXIES] = ",".join(filter(None, [ec2.Vpc.DEFAULT_CIDR_RANGE, others]))
        values |= given
        values |= {name: SecretReference.to_parameter(self, place) for name, place in inputs.secrets.items()}
        return values


class WatchStack(Stack):
    """Alarms, dashboard, budget, and the weekly report of what it costs."""

    def __init__(
        self, scope: Construct, id: str, inputs: Inputs, data: DataStack, platform: PlatformStack, *, env: Environment
    ) -> None:
        super().__init__(scope, id, env=env, description="Groundswell: alarms, dashboard and budget")
        chosen = inputs.knobs
        alerts = data.alerts
        database = data.database.instance
        api = platform.front.api
        costs = ServiceFunction(
            self,
            "CostsFunction",
            chosen,
            service="costs",
            zip_name="costs",
            handler="functions.costs.handler.handler",
            assets=inputs.assets,
            values={
                "GROUNDSWELL_LOG_FORMAT": "json",
                "GROUNDSWELL_TRACING": tracing(chosen),
                "GROUNDSWELL_DEPLOYMENT": [
                    f"{name}={value}" for name, value in overrides_of(chosen).items() if value != ""
                ],
                "GROUNDSWELL_REPORT_TOPIC": alerts.topic.topic_arn,
            },
            network=None,
            memory_mb=256,
            timeout_s=60,
            concurrency=1,
        )
        service = platform.relay.service
        alarms = Alarms(
            self,
            "Alarms",
            chosen,
            alerts=alerts,
            jobs={
                "Mover": (platform.mover.function, chosen.mover_every_minutes),
                "Cleanup": (platform.cleanup.function, chosen.cleanup_every_minutes),
            },
            report=costs.function,
            database=database,
            max_connections=data.database.max_connections,
            http_5xx=api.metric_server_error(statistic="Sum"),
            service=service,
            source=platform.source,
        )
        Dashboard(
            self,
            "Screen",
            chosen,
            alarms=alarms,
            relay={"cpu": service.metric_cpu_utilization(), "memory": service.metric_memory_utilization()},
            latency=api.metric_latency(statistic="p95"),
            requests=api.metric_count(statistic="Sum"),
            database=database,
        )
        SpendBudget(self, "Budget", chosen, alerts)
        costs.grant(["ce:GetCostAndUsage", "cloudwatch:GetMetricData"], "*")
        for stack in (data, platform):
            costs.grant(["cloudformation:DescribeStackResources"], stack.stack_id)
        if not chosen.combined:
            costs.grant(["logs:FilterLogEvents"], _named_in(platform, f"{API_LOG}*"))
        costs.grant(["sns:Publish"], alerts.topic.topic_arn)
        Job(self, "CostsJob", costs.function, expression=WEEKLY, failures=alerts.topic)


def _named_in(stack: Stack, resource: str) -> str:
    """Return the ARN of the log groups of a stack whose names CloudFormation begins like this.

    An export would stand in the way of a topology without them.
    """
    name = f"{stack.stack_name}-{resource}"
    return stack.format_arn(
        service="logs", resource="log-group", arn_format=ArnFormat.COLON_RESOURCE_NAME, resource_name=name
    )


def tracing(chosen: Knobs) -> str:
    """What the functions are told to tell X-Ray themselves."""
    return "xray" if chosen.traces == "inside" else "off"


def _accept_custom_resources(stack: Stack) -> None:
    """The functions that CDK itself brings to run the migration and to copy the page."""
    accept(
        stack,
        {
            "AwsSolutions-L1": "The runtimes of CDK's own helpers come with the library.",
        },
    )


def build(app: Construct, inputs: Inputs, *, env: Environment) -> tuple[DataStack, PlatformStack, WatchStack]:
    """All three, each named after the deployment."""
    name = inputs.knobs.name
    data = DataStack(app, f"{name}Data", inputs, env=env)
    platform = PlatformStack(app, f"{name}Platform", inputs, data, env=env)
    watch = WatchStack(app, f"{name}Watch", inputs, data, platform, env=env)
    return data, platform, watch
