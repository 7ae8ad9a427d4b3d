"""The network: isolated subnets for the database, private ones for functions, and the ways out.

Every subnet has IPv4 and IPv6. Functions reach AWS over IPv6, through an egress-only internet gateway, which costs
nothing. What only speaks IPv4 (the source, Qdrant Cloud) is reached by tasks with a public address of their own, or
through a NAT gateway.
"""

from __future__ import annotations

from aws_cdk import aws_ec2 as ec2
from aws_cdk import aws_logs as logs
from constructs import Construct

from cdk.nag import accept
from deployment.knobs import Knobs


class Network(Construct):
    """A VPC over two zones. The `budget` profile uses one of them, so that nothing pays for crossing."""

    def __init__(self, scope: Construct, id: str, chosen: Knobs) -> None:
        super().__init__(scope, id)
        gateway = chosen.nat == "gateway"
        self.vpc = ec2.Vpc(
            self,
            "Vpc",
            max_azs=None if chosen.zones else 2,
            availability_zones=chosen.zones.split() or None,
            ip_protocol=ec2.IpProtocol.DUAL_STACK,
            nat_gateways=1 if gateway else 0,
            restrict_default_security_group=False,
            subnet_configuration=[
                ec2.SubnetConfiguration(
                    name="public", subnet_type=ec2.SubnetType.PUBLIC, map_public_ip_on_launch=False
                ),
                ec2.SubnetConfiguration(name="private", subnet_type=ec2.SubnetType.PRIVATE_WITH_EGRESS),
                ec2.SubnetConfiguration(name="isolated", subnet_type=ec2.SubnetType.PRIVATE_ISOLATED),
            ],
            gateway_endpoints={
                "S3": ec2.GatewayVpcEndpointOptions(service=ec2.GatewayVpcEndpointAwsService.S3),
            },
        )
        one_zone = self.vpc.availability_zones[chosen.services_zone - 1 : chosen.services_zone]
        zones = self.vpc.availability_zones if chosen.production else one_zone
        self.private = ec2.SubnetSelection(subnet_type=ec2.SubnetType.PRIVATE_WITH_EGRESS, availability_zones=zones)
        self.isolated = ec2.SubnetSelection(subnet_type=ec2.SubnetType.PRIVATE_ISOLATED)
        self.tasks = (
            self.private
            if gateway
            else ec2.SubnetSelection(subnet_type=ec2.SubnetType.PUBLIC, availability_zones=zones)
        )
        self.tasks_are_public = not gateway
        """Whether a task needs an address of its own to get out. Nothing gets in: no group lets anything in."""
        if chosen.production:
            self.vpc.add_flow_log(
                "FlowLog",
                destination=ec2.FlowLogDestination.to_cloud_watch_logs(
                    logs.LogGroup(self, "FlowLogs", retention=logs.RetentionDays.ONE_MONTH)
                ),
                traffic_type=ec2.FlowLogTrafficType.REJECT,
            )
        else:
            accept(self.vpc, {"AwsSolutions-VPC7": "Flow logs would cost more than the network; production has them."})
