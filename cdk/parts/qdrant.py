"""Our own Qdrant, for who does not want Qdrant Cloud: a Fargate task that only our services can reach."""

from __future__ import annotations

from aws_cdk import RemovalPolicy
from aws_cdk import aws_ec2 as ec2
from aws_cdk import aws_ecs as ecs
from aws_cdk import aws_logs as logs
from aws_cdk import aws_servicediscovery as servicediscovery
from constructs import Construct

from cdk.nag import accept
from cdk.parts.function import retention
from cdk.parts.network import Network
from cdk.parts.relay import Cluster
from deployment.knobs import Knobs

IMAGE = "docker.io/qdrant/qdrant:v1.19.1-unprivileged"
PORT = 6333


class Qdrant(Construct):
    """One task. Its index lies on the task's own disk: Postgres has all that it is made of."""

    def __init__(
        self,
        scope: Construct,
        id: str,
        chosen: Knobs,
        *,
        network: Network,
        cluster: Cluster,
        namespace: servicediscovery.PrivateDnsNamespace,
    ) -> None:
        super().__init__(scope, id)
        self.url = f"http://qdrant.{namespace.namespace_name}:{PORT}"
        task = ecs.FargateTaskDefinition(
            self,
            "Task",
            cpu=chosen.qdrant_cpu,
            memory_limit_mib=chosen.qdrant_memory_mb,
            runtime_platform=ecs.RuntimePlatform(
                cpu_architecture=ecs.CpuArchitecture.ARM64, operating_system_family=ecs.OperatingSystemFamily.LINUX
            ),
        )
        # No volumes: Fargate mounts them as root's over the folders that the image made for its own user.
        task.add_container(
            "qdrant",
            image=ecs.ContainerImage.from_registry(IMAGE),
            port_mappings=[ecs.PortMapping(container_port=PORT)],
            environment={"QDRANT__TELEMETRY_DISABLED": "true", "QDRANT__STORAGE__ON_DISK_PAYLOAD": "true"},
            logging=ecs.LogDrivers.aws_logs(
                stream_prefix="qdrant",
                log_group=logs.LogGroup(
                    self, "Log", retention=retention(chosen.log_days), removal_policy=RemovalPolicy.DESTROY
                ),
            ),
        )
        self.security_group = ec2.SecurityGroup(
            self, "Group", vpc=network.vpc, description="Groundswell Qdrant", allow_all_ipv6_outbound=True
        )
        self.service = ecs.FargateService(
            self,
            "Service",
            cluster=cluster.cluster,
            task_definition=task,
            desired_count=1,
            min_healthy_percent=0,
            max_healthy_percent=100,
            circuit_breaker=ecs.DeploymentCircuitBreaker(rollback=True),
            vpc_subnets=network.tasks,
            assign_public_ip=network.tasks_are_public,
            security_groups=[self.security_group],
            cloud_map_options=ecs.CloudMapOptions(cloud_map_namespace=namespace, name="qdrant"),
        )
        self.service.node.add_dependency(cluster.providers)
        accept(
            self,
            {
                "AwsSolutions-ECS2": "Two switches, and no secret.",
                "AwsSolutions-EC23": "The port is open to the services' security groups alone.",
            },
        )

    def allow_from(self, connectable: ec2.IConnectable, who: str) -> None:
        self.security_group.connections.allow_from(connectable, ec2.Port.tcp(PORT), who)
