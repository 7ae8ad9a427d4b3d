"""How the local AWS deletes a stack: in the order that CloudFormation keeps to, and refusing what AWS refuses.

moto tries resources in any order, again and again, and passes over types that it cannot delete. Here whatever refers to
a resource is deleted before it, each once, and a resource that cannot be deleted fails the deletion of its stack.
"""

from __future__ import annotations

import json
import re
from collections.abc import Callable, Iterator, Mapping
from graphlib import TopologicalSorter
from typing import Any

from rehearsal.refusals import ResourceFailed

Remove = Callable[[Any, str, str], None]
"""Deletes a resource of moto's, of an account and region."""

snapshots: list[str] = []
"""Logical names of what was deleted with `DeletionPolicy: Snapshot`."""


def install(mark: Callable[[str], None]) -> None:
    """Teach moto's CloudFormation. Has to run before its server takes the first request.

    Args:
        mark: called with the name of each stack that could not be deleted.
    """
    from moto.cloudformation.models import CloudFormationBackend
    from moto.cloudformation.parsing import ResourceMap

    ResourceMap.delete = _delete_resources
    delete: Any = CloudFormationBackend.delete_stack

    def delete_stack(self: Any, name_or_stack_id: str) -> None:
        stack = next((each for each in self.stacks.values() if name_or_stack_id in (each.stack_id, each.name)), None)
        if stack is None:
            return
        known = dict(self.stacks)
        try:
            used = sorted(export.name for export in stack.exports if _importers(self, stack, export.name))
            if used:
                raise ResourceFailed(f"Export {used[0]} cannot be deleted as it is in use")
            delete(self, stack.stack_id)
        except ResourceFailed as failed:
            self.stacks.update({stack.stack_id: known[stack.stack_id]})
            stack.status = "DELETE_FAILED"
            stack._add_stack_event("DELETE_FAILED", resource_status_reason=str(failed))
            mark(stack.name)

    CloudFormationBackend.delete_stack = delete_stack


def _importers(backend: Any, stack: Any, export: str) -> list[str]:
    return [
        each.name
        for each in backend.stacks.values()
        if each is not stack and f'"Fn::ImportValue": "{export}"' in json.dumps(each.template_dict)
    ]


def deletion_order(resources: Mapping[str, Any]) -> list[str]:
    """Return the names of a template's resources, each after all that refer to it or depend on it."""
    referrers: dict[str, set[str]] = {name: set() for name in resources}
    for name, resource in resources.items():
        depends = resource.get("DependsOn", [])
        for other in {*_references(resource), *([depends] if isinstance(depends, str) else depends)}:
            if other in referrers and other != name:
                referrers[other].add(name)
    return list(TopologicalSorter(referrers).static_order())


def _references(value: Any) -> Iterator[str]:
    """Yield the logical names that a part of a template refers to."""
    if isinstance(value, list):
        for each in value:
            yield from _references(each)
    elif isinstance(value, dict):
        for key, each in value.items():
            if key == "Ref":
                yield str(each)
            elif key == "Fn::GetAtt":
                yield (each if isinstance(each, str) else str(each[0])).partition(".")[0]
            elif key == "Fn::Sub":
                yield from re.findall(r"\$\{(\w+)", each if isinstance(each, str) else each[0])
                yield from _references(each)
            else:
                yield from _references(each)


def _delete_resources(self: Any) -> None:
    """In place of `ResourceMap.delete`.

    What was deleted stays in the map: moto makes anew whatever an output refers to and the map lacks.
    """
    gone: set[str] = self.__dict__.setdefault("rehearsal_gone", set())
    for name in deletion_order(self._resource_json_map):
        described, resource = self._resource_json_map[name], self._parsed_resources.get(name)
        policy = described.get("DeletionPolicy", "Delete")
        if name in gone or resource is None or isinstance(resource, str) or policy.startswith("Retain"):
            continue
        if policy == "Snapshot":
            snapshots.append(name)
        try:
            _delete(self, resource, described)
        except ResourceFailed:
            raise
        except Exception as error:
            raise ResourceFailed(f"{name} ({described['Type']}): {error}") from error
        gone.add(name)


def _delete(resources: Any, resource: Any, described: Mapping[str, Any]) -> None:
    kind, where = described["Type"], (resources._account_id, resources._region_name)
    for refuse in REFUSED.get(kind, ()):
        refuse(resource, *where)
    if kind in REMOVED:
        REMOVED[kind](resource, *where)
        return
    by_template = getattr(resource, "delete_from_cloudformation_json", None)
    known = by_template is not None and not getattr(by_template, "__isabstractmethod__", False)
    if not known and not callable(getattr(resource, "delete", None)):
        raise ResourceFailed(f"The local AWS does not know how a resource of type {kind} is deleted")
    resources._delete_resource(resource, described)


# ------------------------------------------------------------------ what AWS refuses
def _refuse_full_bucket(bucket: Any, account: str, region: str) -> None:
    del account, region
    if bucket.keys:
        raise ResourceFailed(
            f"The bucket {bucket.name} you tried to delete is not empty (Service: S3, Status Code: 409)"
        )


def _networks(account: str, region: str) -> Any:
    from moto.ec2.models import ec2_backends

    return ec2_backends[account][region]


def _refuse_network_in_use(network: Any, account: str, region: str) -> None:
    """Raise ResourceFailed where anything is left in a VPC but what AWS itself puts there."""
    ec2, of_it = _networks(account, region), {"vpc-id": network.id}
    endpoints = [each for each in ec2.vpc_end_points.values() if each.state != "deleted"]
    left = [
        *(f"subnet {each.id}" for each in ec2.describe_subnets(filters=of_it)),
        *(f"network interface {one.id}" for one in ec2.enis.values() if one.subnet.vpc_id == network.id),
        *(f"security group {one.id}" for one in ec2.groups[network.id].values() if one.name != "default"),
        *(f"route table {one.id}" for one in ec2.describe_route_tables(filters=of_it) if not one.main_association_id),
        *(f"gateway {one.id}" for one in ec2.internet_gateways.values() if one.vpc and one.vpc.id == network.id),
        *(f"gateway {one.id}" for one in ec2.egress_only_internet_gateways.values() if one.vpc_id == network.id),
        *(f"endpoint {one.id}" for one in endpoints if one.vpc_id == network.id),
    ]  # fmt: skip
    if left:
        raise ResourceFailed(
            f"The vpc '{network.id}' has dependencies and cannot be deleted: it still has {', '.join(left)} "
            "(Service: Ec2, Status Code: 400)"
        )


REFUSED: Mapping[str, tuple[Remove, ...]] = {
    "AWS::EC2::VPC": (_refuse_network_in_use,),
    "AWS::S3::Bucket": (_refuse_full_bucket,),
}


# ------------------------------------------------------------------ what moto passes over
def _disassociate(association: Any, account: str, region: str) -> None:
    table = _networks(account, region).get_route_table(association.route_table_id)
    for id, subnet in list(table._associations.items()):
        if subnet == association.subnet_id:
            del table._associations[id]


def _remove_route_table(table: Any, account: str, region: str) -> None:
    _networks(account, region).delete_route_table(table.id)


def _remove_group(group: Any, account: str, region: str) -> None:
    _networks(account, region).delete_security_group(group_id=group.id)


def _remove_gateway(gateway: Any, account: str, region: str) -> None:
    _networks(account, region).delete_internet_gateway(gateway.id)


def _detach_gateway(attachment: Any, account: str, region: str) -> None:
    _networks(account, region).detach_internet_gateway(attachment.gateway_id, attachment.vpc_id)


def _remove_endpoint(endpoint: Any, account: str, region: str) -> None:
    _networks(account, region).delete_vpc_endpoints([endpoint.id])


def _remove_cluster(cluster: Any, account: str, region: str) -> None:
    from moto.ecs.models import ecs_backends

    ecs_backends[account][region].delete_cluster(cluster.name)


def _deregister(task: Any, account: str, region: str) -> None:
    from moto.ecs.models import ecs_backends

    ecs_backends[account][region].deregister_task_definition(task.arn)


def _of_itself(resource: Any, account: str, region: str) -> None:
    """Do nothing: it ends with what it is a part of, or nothing refers to it and nobody is billed for it."""
    del resource, account, region


REMOVED: Mapping[str, Remove] = {
    "AWS::EC2::InternetGateway": _remove_gateway,
    "AWS::EC2::Route": _of_itself,
    "AWS::EC2::RouteTable": _remove_route_table,
    # moto looks for the group in a VPC whose name it does not resolve, and finds none.
    "AWS::EC2::SecurityGroup": _remove_group,
    "AWS::EC2::SecurityGroupIngress": _of_itself,
    "AWS::EC2::SubnetRouteTableAssociation": _disassociate,
    "AWS::EC2::VPCEndpoint": _remove_endpoint,
    "AWS::EC2::VPCGatewayAttachment": _detach_gateway,
    "AWS::ECS::Cluster": _remove_cluster,
    "AWS::ECS::TaskDefinition": _deregister,
    "AWS::Lambda::LayerVersion": _of_itself,
    "AWS::Lambda::Permission": _of_itself,
    "AWS::Lambda::Version": _of_itself,
}
