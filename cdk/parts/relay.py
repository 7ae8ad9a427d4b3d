"""The relay: one small Fargate task that is always on. In the `combined` topology it serves the API as well."""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence

from aws_cdk import Aws, Duration, RemovalPolicy
from aws_cdk import aws_ec2 as ec2
from aws_cdk import aws_ecr as ecr
from aws_cdk import aws_ecr_assets as ecr_assets
from aws_cdk import aws_ecs as ecs
from aws_cdk import aws_iam as iam
from aws_cdk import aws_logs as logs
from aws_cdk import aws_servicediscovery as servicediscovery
from constructs import Construct

from cdk.environment import ROOT, environment_for
from cdk.nag import accept, accept_wildcards
from cdk.parts.function import retention
from cdk.parts.network import Network
from deployment.knobs import Knobs

DATA_DIR = "/var/lib/groundswell"
HEARTBEAT_FILE = "/tmp/groundswell-alive"  # noqa: S108 -- in the task, which has it to itself
WRITABLE: Mapping[str, str] = {"data": DATA_DIR, "tmp": "/tmp"}  # noqa: S108
"""Where the task can write: its own disk, gone with it."""
API_PORT = 8000
STOP_GRACE_S = 60
OWN_REGISTRY = re.compile(
    r"(?P<account>\d{12})\.dkr\.ecr\.(?P<region>[a-z0-9-]+)\.amazonaws\.com(\.cn)?/(?P<name>[^:@]+)"
    r"(:(?P<tag>[^:@]+))?(@(?P<digest>sha256:[0-9a-f]{64}))?"
)
"""Names of images in ECR: whoever pulls one needs rights to its repository."""
NOT_IN_THE_IMAGE = [
    ".git",
    ".venv",
    ".groundswell",
    "cdk",
    "**/node_modules",
    "**/__pycache__",
    "bench/results",
    "tests",
]


class Cluster(Construct):
    """Where tasks run."""

    def __init__(self, scope: Construct, id: str, chosen: Knobs, network: Network) -> None:
        super().__init__(scope, id)
        insights = ecs.ContainerInsights.ENABLED if chosen.production else ecs.ContainerInsights.DISABLED
        self.cluster = ecs.Cluster(
            self,
            "Cluster",
            vpc=network.vpc,
            container_insights_v2=insights,
        )
        self.providers = ecs.CfnClusterCapacityProviderAssociations(
            self,
            "Providers",
            cluster=self.cluster.cluster_name,
            capacity_providers=["FARGATE", "FARGATE_SPOT"],
            default_capacity_provider_strategy=[],
        )
        """What services depend on, so that a removal takes the services away first."""
        if not chosen.production:
            accept(
                self, {"AwsSolutions-ECS4": "Container Insights costs more than the task; the relay reports itself."}
            )


class Relay(Construct):
    """The task, its role and its service. One runs at a time: two would read the same source."""

    def __init__(
        self,
        scope: Construct,
        id: str,
        chosen: Knobs,
        *,
        values: Mapping[str, object],
        network: Network,
        groups: Sequence[ec2.ISecurityGroup],
        cluster: Cluster,
        namespace: servicediscovery.INamespace | None,
    ) -> None:
        super().__init__(scope, id)
        environment = environment_for("embedded" if chosen.combined else "relay", values)
        x86 = chosen.function_platform.startswith("x86_64")
        self.log_group = logs.LogGroup(
            self,
            "Log",
            retention=retention(chosen.log_days),
            # The log says why a first deploy was rolled back; it must outlive the stack.
            removal_policy=RemovalPolicy.RETAIN,
        )
        self.task = ecs.FargateTaskDefinition(
            self,
            "Task",
            cpu=chosen.relay_cpu,
            memory_limit_mib=chosen.relay_memory_mb,
            runtime_platform=ecs.RuntimePlatform(
                cpu_architecture=ecs.CpuArchitecture.X86_64 if x86 else ecs.CpuArchitecture.ARM64,
                operating_system_family=ecs.OperatingSystemFamily.LINUX,
            ),
        )
        environment.grant_secrets(self.task.task_role)
        for name in WRITABLE:
            self.task.add_volume(name=name)
        container = self.task.add_container(
            "relay",
            image=self._image(chosen, x86=x86),
            command=["groundswell", "up"] if chosen.combined else None,
            environment=dict(environment.variables),
            logging=ecs.LogDrivers.aws_logs(stream_prefix="relay", log_group=self.log_group),
            readonly_root_filesystem=True,
            health_check=_health_check(chosen),
            stop_timeout=Duration.seconds(STOP_GRACE_S),
            port_mappings=[ecs.PortMapping(container_port=API_PORT)] if chosen.combined else None,
        )
        for name, path in WRITABLE.items():
            container.add_mount_points(ecs.MountPoint(container_path=path, source_volume=name, read_only=False))
        self.security_group = ec2.SecurityGroup(self, "Group", vpc=network.vpc, description="Groundswell relay")
        self.service = ecs.FargateService(
            self,
            "Service",
            cluster=cluster.cluster,
            task_definition=self.task,
            desired_count=1,
            # The old task leaves before the new one comes: a gap of seconds, which backfill closes.
            min_healthy_percent=0,
            max_healthy_percent=100,
            circuit_breaker=ecs.DeploymentCircuitBreaker(rollback=True),
            capacity_provider_strategies=[
                ecs.CapacityProviderStrategy(
                    capacity_provider="FARGATE_SPOT" if chosen.relay_spot else "FARGATE", weight=1
                )
            ],
            vpc_subnets=network.tasks,
            assign_public_ip=network.tasks_are_public,
            security_groups=[self.security_group, *groups],
            cloud_map_options=ecs.CloudMapOptions(
                cloud_map_namespace=namespace,
                name="api",
                dns_record_type=servicediscovery.DnsRecordType.SRV,
                container_port=API_PORT,
            )
            if namespace is not None
            else None,
        )
        self.service.node.add_dependency(cluster.providers)
        accept(
            self,
            {
                "AwsSolutions-ECS2": "No secret is among the variables: those are references, resolved by the process.",
            },
        )

    def _image(self, chosen: Knobs, *, x86: bool) -> ecs.ContainerImage:
        own = OWN_REGISTRY.fullmatch(chosen.relay_image)
        if chosen.relay_image and own is None:
            return ecs.ContainerImage.from_registry(chosen.relay_image)
        accept_wildcards(
            self.task.obtain_execution_role(), "A token of ECR takes no narrower resource.", resources=("*",)
        )
        if own is not None:
            name = str(own["name"])
            repository = ecr.Repository.from_repository_attributes(
                self,
                "Repository",
                repository_arn=f"arn:{Aws.PARTITION}:ecr:{own['region']}:{own['account']}:repository/{name}",
                repository_name=name,
            )
            return ecs.ContainerImage.from_ecr_repository(repository, str(own["digest"] or own["tag"] or "latest"))
        return ecs.ContainerImage.from_asset(
            str(ROOT),
            file="relay_container/Dockerfile",
            exclude=NOT_IN_THE_IMAGE,
            platform=ecr_assets.Platform.LINUX_AMD64 if x86 else ecr_assets.Platform.LINUX_ARM64,
        )

    def grant(self, actions: list[str], *resources: str) -> None:
        """Let the task do these things to these resources."""
        self.task.add_to_task_role_policy(iam.PolicyStatement(actions=actions, resources=list(resources)))
        accept_wildcards(self.task, "The clients of one API, or the objects of one bucket.", resources=resources)


def _health_check(chosen: Knobs) -> ecs.HealthCheck:
    """A task whose loop no longer turns is replaced."""
    command = ["CMD", "python", "-m", "relay_container.check", *([str(API_PORT)] if chosen.combined else [])]
    return ecs.HealthCheck(
        command=command,
        interval=Duration.seconds(30),
        timeout=Duration.seconds(10),
        retries=3,
        start_period=Duration.seconds(180),
    )
