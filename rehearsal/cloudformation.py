"""What moto's CloudFormation lacks: it refuses what the real one refuses, and rolls back what failed."""

from __future__ import annotations

import copy
import json
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

from rehearsal import deletion
from rehearsal.aws_front import Invoke
from rehearsal.refusals import ResourceFailed


@dataclass
class Hooks:
    """What whoever rehearses does when a deploy comes to a resource. Each runs in a thread of the server."""

    database: Callable[[dict[str, Any]], None] | None = None
    """Called with the value of the database's secret, once it says where the database is."""
    trigger: Callable[[str], None] | None = None
    """Calls the function with this ARN. What it raises fails the deploy."""
    invoke: Invoke | None = None
    """Calls a function for another one."""


def install(mark: Callable[[str], None]) -> None:
    """Teach moto's CloudFormation. Has to run before its server takes the first request.

    Args:
        mark: called with the id of each stack that was rolled back or could not be deleted.
    """
    _name_versions()
    _mend_change_sets(mark)
    deletion.install(mark)
    _mend_parameters()
    _keep_what_cannot_change()


def _mend_parameters() -> None:
    """An update that keeps a parameter of SSM hands moto the value that it found before, in place of the name."""
    from moto.cloudformation.parsing import ResourceMap

    parse: Any = ResourceMap.parse_ssm_parameter

    def parse_ssm_parameter(self: Any, value: str, value_type: str) -> Any:
        return parse(self, value, value_type) if value.startswith("/") else value

    ResourceMap.parse_ssm_parameter = parse_ssm_parameter


def _keep_what_cannot_change() -> None:
    """Of a type that moto creates and cannot update, a resource stays as it was; moto would forget it."""
    from moto.cloudformation import parsing

    update: Any = parsing.parse_and_update_resource

    def parse_and_update_resource(logical_id: str, resource_json: Any, resources_map: Any, **more: Any) -> Any:
        return update(logical_id, resource_json, resources_map, **more) or resources_map[logical_id]

    parsing.parse_and_update_resource = parse_and_update_resource


def _name_versions() -> None:
    """Let `Ref` of a function's version be its ARN, as a trigger needs it."""
    from moto.awslambda.models import LambdaVersion, get_backend

    if hasattr(LambdaVersion, "physical_resource_id"):
        return
    create: Any = LambdaVersion.create_from_cloudformation_json

    def create_from_cloudformation_json(
        resource_name: str, cloudformation_json: Any, account_id: str, region_name: str, **more: Any
    ) -> Any:
        made = create(resource_name, cloudformation_json, account_id, region_name, **more)
        name = cloudformation_json["Properties"]["FunctionName"]
        made.rehearsal_arn = f"{get_backend(account_id, region_name).get_function(name).function_arn}:{made.version}"
        return made

    known: Any = LambdaVersion
    known.create_from_cloudformation_json = staticmethod(create_from_cloudformation_json)
    known.physical_resource_id = property(lambda version: version.rehearsal_arn)


def _mend_change_sets(mark: Callable[[str], None]) -> None:
    """moto's change sets, which CDK deploys with, neither see what other stacks export nor leave outputs behind.

    They do not roll back either: what failed is undone here with the template that was deployed before.
    """
    from moto.cloudformation.exceptions import ValidationError
    from moto.cloudformation.models import CloudFormationBackend

    execute: Any = CloudFormationBackend.execute_change_set

    def execute_change_set(self: Any, change_set_name: str, stack_name: str | None = None) -> None:
        change_set = self.describe_change_set(change_set_name)
        stack = change_set.stack
        stack.cross_stack_resources = stack.resource_map.cross_stack_resources = self.exports
        is_new = change_set.change_set_type == "CREATE"
        before, parameters = copy.deepcopy(stack.template_dict), dict(stack.resource_map.input_parameters)
        try:
            _refuse_replacement({} if is_new else before, change_set.template_dict)
            execute(self, change_set_name, stack_name)
            # What was carried out is gone, as in CloudFormation. moto would find it by its name for other stacks too.
            for id in [id for id, each in self.change_sets.items() if each.stack is stack]:
                del self.change_sets[id]
        except ResourceFailed as failed:
            kind = "CREATE" if is_new else "UPDATE"
            stack._add_stack_event(f"{kind}_FAILED", resource_status_reason=str(failed))
            stack.status = "ROLLBACK_COMPLETE" if is_new else "UPDATE_ROLLBACK_COMPLETE"
            if not is_new:
                try:
                    # A trigger is called here as well: with the function of before, whose schema is older.
                    stack.resource_map.update(before, parameters)
                except ResourceFailed:
                    stack.status = "UPDATE_ROLLBACK_FAILED"
            change_set.execution_status = "EXECUTE_FAILED"
            stack._add_stack_event(stack.status, resource_status_reason=str(failed))
            mark(stack.name)
            return
        stack.template_dict = change_set.template_dict
        stack.output_map = stack._create_output_map()
        self.exports.update({export.name: export for export in stack.exports})

    delete: Any = CloudFormationBackend.delete_change_set

    def delete_change_set(self: Any, change_set_name: str) -> None:
        """CDK deletes the one of its last deploy first, be it there or not."""
        if any(change_set_name in (id, each.change_set_name) for id, each in self.change_sets.items()):
            delete(self, change_set_name)

    describe: Any = CloudFormationBackend.describe_change_set

    def describe_change_set(self: Any, change_set_name: str) -> Any:
        try:
            return describe(self, change_set_name)
        except ValidationError as error:
            # CDK waits for this code after it deleted one.
            error.code = error.error_type = "ChangeSetNotFound"
            raise

    CloudFormationBackend.describe_change_set = describe_change_set
    CloudFormationBackend.execute_change_set = execute_change_set
    CloudFormationBackend.delete_change_set = delete_change_set


CREATE_ONLY = {
    "AWS::RDS::DBInstance": (
        "DBName", "KmsKeyId", "StorageEncrypted", "MasterUsername", "DBSubnetGroupName", "Engine", "AvailabilityZone",
    ),
    "AWS::S3::Bucket": ("BucketName", "ObjectLockEnabled"),
    "AWS::SecretsManager::Secret": ("Name",),
}  # fmt: skip
"""Properties of what holds data whose change makes CloudFormation replace it by an empty one."""


def _refuse_replacement(before: dict[str, Any], after: dict[str, Any]) -> None:
    for name, resource in before.get("Resources", {}).items():
        new = after["Resources"].get(name)
        for each in CREATE_ONLY.get(resource["Type"], ()):
            old_value = resource.get("Properties", {}).get(each)
            if new is not None and json.dumps(new.get("Properties", {}).get(each)) != json.dumps(old_value):
                raise ResourceFailed(
                    f"{name} ({resource['Type']}) would be replaced by an empty one, since {each} changes."
                )
