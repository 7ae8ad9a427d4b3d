"""The network: isolated subnets for the database, private ones for what runs, and one way out."""

from __future__ import annotations

from aws_cdk import aws_ec2 as ec2
from aws_cdk import aws_logs as logs
from constructs import Construct

from cdk.nag import accept
from deployment.costs import NAT_DISK_GB
from deployment.knobs import Knobs

NAT_IMAGE = "/aws/service/ami-amazon-linux-latest/al2023-ami-minimal-kernel-default-arm64"
"""Amazon Linux without what a router does not need: its disk is 2 GB."""

NAT_START = (
    "dnf install -y nftables",
    "echo net.ipv4.ip_forward=1 > /etc/sysctl.d/90-nat.conf",
    "sysctl -p /etc/sysctl.d/90-nat.conf",
    "echo 'table ip nat { chain out { type nat hook postrouting priority srcnat; masquerade; } }' "
    "> /etc/sysconfig/nftables.conf",
    "systemctl enable --now nftables",
)


class Network(Construct):
    """A VPC over two zones. The `budget` profile uses one of them, so that nothing pays for crossing."""

    def __init__(self, scope: Construct, id: str, chosen: Knobs) -> None:
        super().__init__(scope, id)
        nat = _nat_instance(chosen) if chosen.nat == "instance" else None
        self.vpc = ec2.Vpc(
            self,
            "Vpc",
            max_azs=None if chosen.zones else 2,
            availability_zones=chosen.zones.split() or None,
            nat_gateways=1,
            nat_gateway_provider=nat,
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
        if nat is not None:
            for instance in nat.gateway_instances:
                resource = instance.node.default_child
                assert isinstance(resource, ec2.CfnInstance)
                resource.block_device_mappings = [
                    ec2.CfnInstance.BlockDeviceMappingProperty(
                        device_name="/dev/xvda",
                        ebs=ec2.CfnInstance.EbsProperty(volume_size=NAT_DISK_GB, volume_type="gp3", encrypted=True),
                    )
                ]
            nat.security_group.add_ingress_rule(
                ec2.Peer.ipv4(self.vpc.vpc_cidr_block), ec2.Port.all_tcp(), "what is private, on its way out"
            )
            accept(
                self,
                {
                    "AwsSolutions-EC28": "The NAT instance is watched by its one effect: no frames for five minutes.",
                    "AwsSolutions-EC29": "The NAT instance holds nothing; AWS replaces it on failure.",
                    "AwsSolutions-EC23": "Only the VPC's own addresses may enter; the rule reads a token.",
                },
            )
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


def _nat_instance(chosen: Knobs) -> ec2.NatInstanceProviderV2:
    user_data = ec2.UserData.for_linux()
    user_data.add_commands(*NAT_START)
    return ec2.NatProvider.instance_v2(
        instance_type=ec2.InstanceType(chosen.nat_instance_class),
        machine_image=ec2.MachineImage.from_ssm_parameter(NAT_IMAGE, os=ec2.OperatingSystemType.LINUX),
        user_data=user_data,
        default_allowed_traffic=ec2.NatTrafficDirection.OUTBOUND_ONLY,
        associate_public_ip_address=True,
        credit_specification=ec2.CpuCredits.STANDARD,
    )
