"""What moto's CloudFormation lacks of IPv6: the attribute `Ipv6CidrBlocks` of a VPC, and `Fn::Cidr`."""

from __future__ import annotations

import ipaddress
import itertools
from typing import Any


def install() -> None:
    """Teach moto both. Has to run before its server takes the first request."""
    from moto.cloudformation import parsing
    from moto.ec2.models.vpcs import VPC

    networks: Any = VPC
    has, get, clean = networks.has_cfn_attr, networks.get_cfn_attribute, parsing.clean_json

    def get_cfn_attribute(self: Any, attribute_name: str) -> Any:
        if attribute_name == "Ipv6CidrBlocks":
            # Its subnets may be made before its `AWS::EC2::VPCCidrBlock`: moto does not follow DependsOn.
            if not self.get_cidr_block_association_set(ipv6=True):
                self.associate_vpc_cidr_block(None, amazon_provided_ipv6_cidr_block=True)
            return [found["cidr_block"] for found in self.get_cidr_block_association_set(ipv6=True)]
        return get(self, attribute_name)

    def clean_json(resource_json: Any, resources_map: Any) -> Any:
        if isinstance(resource_json, dict) and "Fn::Cidr" in resource_json:
            block, count, bits = clean(resource_json["Fn::Cidr"], resources_map)
            network = ipaddress.ip_network(block)
            subnets = network.subnets(new_prefix=network.max_prefixlen - int(bits))
            return [str(subnet) for subnet in itertools.islice(subnets, int(count))]
        return clean(resource_json, resources_map)

    networks.has_cfn_attr = staticmethod(lambda attr: attr == "Ipv6CidrBlocks" or has(attr))  # pyright: ignore[reportUnknownLambdaType]
    networks.get_cfn_attribute = get_cfn_attribute
    parsing.clean_json = clean_json
