"""What is deployed is as promised: who may do what, what can be reached, what is kept, what comes in which order."""

from __future__ import annotations

import json
import re
from typing import Any

import pytest

from cdk.environment import schema
from cdk.parts.function import NETWORK_ACTIONS
from cdk.parts.gateway import ACTIONS
from deployment import connections
from deployment.database_parameters import LOG_PARAMETERS
from deployment.knobs import load, overrides_in
from groundswell.core import subscriptions
from groundswell.wiring.parts import RELAY_POOL_SIZE
from tests.infrastructure.conftest import DEPLOYMENTS, Get

each_deployment = pytest.mark.parametrize("name", DEPLOYMENTS)

OWN_LOG = {"logs:CreateLogStream", "logs:PutLogEvents"}
TRACES = {"xray:PutTraceSegments", "xray:PutTelemetryRecords"}
DATABASE = {"ssm:GetParameter"}
NETWORKED = OWN_LOG | TRACES | DATABASE | set(NETWORK_ACTIONS)
LOGINS_OF = {
    "functions.api.handler.handler": ("api",),
    "functions.api.sockets.handler": ("api",),
    "functions.mover.handler.handler": ("jobs",),
    "functions.cleanup.handler.handler": ("jobs",),
    "functions.admin.handler.handler": ("operator",),
    "functions.migrate.handler.handler": ("relay", "api", "jobs", "operator"),
}
"""What each function may read, and the migration write, of the database's logins."""
ALLOWED = {
    "functions.api.handler.handler": NETWORKED | {"s3:GetObject", "lambda:InvokeFunction"},
    "functions.api.sockets.handler": NETWORKED | {"execute-api:ManageConnections"},
    "functions.migrate.handler.handler": NETWORKED | {"secretsmanager:GetSecretValue", "ssm:PutParameter"},
    "functions.mover.handler.handler": NETWORKED
    | {"s3:PutObject", "s3:GetObject", "s3:DeleteObject", "s3:ListBucket", "sns:Publish"},
    "functions.cleanup.handler.handler": NETWORKED | {"sns:Publish", "lambda:InvokeFunction"},
    "functions.admin.handler.handler": NETWORKED
    | {"s3:PutObject", "s3:GetObject", "s3:DeleteObject", "s3:ListBucket", "lambda:InvokeFunction"},
    "functions.vectors.handler.handler": OWN_LOG | TRACES | {"ssm:GetParameter"},
    "functions.costs.handler.handler": OWN_LOG
    | TRACES
    | {
        "ce:GetCostAndUsage",
        "cloudwatch:GetMetricData",
        "sns:Publish",
        "cloudformation:DescribeStackResources",
        "logs:FilterLogEvents",
    },
}


def actions_of(statement: dict[str, Any]) -> set[str]:
    actions = statement["Action"]
    return {actions} if isinstance(actions, str) else set(actions)


# ------------------------------------------------------------------ rights
@each_deployment
def test_cdk_nag_has_nothing_to_say(deployment: Get, name: str) -> None:
    assert deployment(name).complaint == ""


@pytest.mark.parametrize("handler", ALLOWED)
def test_a_function_may_do_what_it_needs_and_nothing_else(deployment: Get, handler: str) -> None:
    found = deployment("budget")
    role_id = found.functions()[handler]["Role"]["Fn::GetAtt"][0]
    role = found.of_type("AWS::IAM::Role")[role_id]
    assert "ManagedPolicyArns" not in role
    allowed = set().union(*(actions_of(statement) for statement in found.statements_of(role_id)))
    assert allowed == ALLOWED[handler]
    assert not any("*" in action for action in allowed)


@each_deployment
def test_in_no_deployment_may_a_function_do_more(deployment: Get, name: str) -> None:
    """Where a secret is a parameter of SSM its readers may read that parameter, and nobody reads another."""
    found = deployment(name)
    for handler, function in found.functions().items():
        statements = found.statements_of(function["Role"]["Fn::GetAtt"][0])
        allowed = set().union(*(actions_of(statement) for statement in statements))
        assert allowed <= ALLOWED[handler] | {"ssm:GetParameter"}, handler
        granted = json.dumps([s["Resource"] for s in statements if "ssm:GetParameter" in actions_of(s)])
        given = function.get("Environment", {}).get("Variables", {})
        expected = [f"Groundswell/database/{role}" for role in LOGINS_OF.get(handler, ())]
        expected += ["groundswell/qdrant-key"] if "GROUNDSWELL_QDRANT_API_KEY" in given else []
        assert sorted(re.findall(r"parameter/([\w/-]+)", granted)) == sorted(expected), handler


@each_deployment
def test_nobody_but_the_migration_connects_as_the_databases_master(deployment: Get, name: str) -> None:
    found = deployment(name)
    for handler, function in found.functions().items():
        url = json.dumps(function.get("Environment", {}).get("Variables", {}).get("GROUNDSWELL_DATABASE_URL", ""))
        if handler == "functions.migrate.handler.handler":
            assert "secretsmanager" in url or "DatabaseInstanceSecret" in url
        else:
            assert all(f"/database/{role}" in url for role in LOGINS_OF.get(handler, ())), handler
    for policy in found.of_type("AWS::IAM::Policy").values():
        for statement in policy["PolicyDocument"]["Statement"]:
            if "secretsmanager:GetSecretValue" in actions_of(statement):
                assert "Migrate" in json.dumps(policy["Roles"])
    (task,) = (
        container
        for each in found.of_type("AWS::ECS::TaskDefinition").values()
        for container in each["ContainerDefinitions"]
        if container["Name"] == "relay"
    )
    assert "parameter/Groundswell/database/relay" in json.dumps(task["Environment"])


def test_only_what_has_no_narrower_resource_is_granted_for_every_resource(deployment: Get) -> None:
    found = deployment("budget")
    unbounded = TRACES | set(NETWORK_ACTIONS) | {"ce:GetCostAndUsage", "cloudwatch:GetMetricData"}
    for handler, function in found.functions().items():
        for statement in found.statements_of(function["Role"]["Fn::GetAtt"][0]):
            if statement["Resource"] == "*":
                assert actions_of(statement) <= unbounded, handler


def test_every_function_has_a_role_of_its_own(deployment: Get) -> None:
    functions = deployment("budget").functions()
    roles = [json.dumps(function["Role"]) for function in functions.values()]
    assert len(set(roles)) == len(functions)


def test_the_relay_may_read_its_secret_and_post_to_clients_and_nothing_else(deployment: Get) -> None:
    found = deployment("budget")
    (task,) = found.of_type("AWS::ECS::TaskDefinition").values()
    role_id = task["TaskRoleArn"]["Fn::GetAtt"][0]
    allowed = set().union(*(actions_of(statement) for statement in found.statements_of(role_id)))
    assert allowed == {"ssm:GetParameter", "execute-api:ManageConnections"}


def test_a_schedule_may_call_its_function_and_no_other(deployment: Get) -> None:
    found = deployment("budget")
    schedules = found.of_type("AWS::Scheduler::Schedule").values()
    assert len(schedules) == 3
    for schedule in schedules:
        role_id = schedule["Target"]["RoleArn"]["Fn::GetAtt"][0]
        (statement,) = found.statements_of(role_id)
        assert statement["Action"] == "lambda:InvokeFunction"
        assert statement["Resource"] == schedule["Target"]["Arn"]


# ------------------------------------------------------------------ secrets and environment
@each_deployment
def test_no_secret_stands_in_a_template(deployment: Get, name: str) -> None:
    secrets = {variable for variable, rule in schema().items() if rule.get("x-secret")}
    for template in deployment(name).templates.values():
        for resource in template["Resources"].values():
            for variable, value in variables_of(resource):
                if variable in secrets:
                    assert is_reference(value), f"{variable} is {value}"
        assert not re.search(r"postgres(ql)?://[^\"]*:[^\"]*@", json.dumps(template))
    instance = deployment(name).one("AWS::RDS::DBInstance")
    assert "{{resolve:secretsmanager:" in json.dumps(instance["MasterUserPassword"])


def variables_of(resource: dict[str, Any]) -> list[tuple[str, Any]]:
    properties = resource.get("Properties", {})
    if resource["Type"] == "AWS::Lambda::Function":
        return list(properties.get("Environment", {}).get("Variables", {}).items())
    if resource["Type"] == "AWS::ECS::TaskDefinition":
        return [(v["Name"], v["Value"]) for c in properties["ContainerDefinitions"] for v in c.get("Environment", [])]
    return []


def is_reference(value: object) -> bool:
    """A resource's own name, or the ARN of a parameter: nothing that opens a door."""
    text = json.dumps(value)
    return text.startswith(('{"Ref"', '{"Fn::ImportValue"')) or ":parameter/" in text


SERVICE_OF = {
    "functions.api.handler.handler": "api",
    "functions.api.sockets.handler": "api",
    "functions.migrate.handler.handler": "migrate",
    "functions.mover.handler.handler": "mover",
    "functions.cleanup.handler.handler": "cleanup",
    "functions.admin.handler.handler": "admin",
    "functions.vectors.handler.handler": "vectors",
    "functions.costs.handler.handler": "costs",
}


@pytest.mark.parametrize("handler", SERVICE_OF)
def test_a_function_has_every_variable_of_its_service_and_no_other(deployment: Get, handler: str) -> None:
    function = deployment("budget").functions()[handler]
    given = set(function.get("Environment", {}).get("Variables", {})) - {"AWS_USE_DUALSTACK_ENDPOINT"}
    service = SERVICE_OF[handler]
    if service in ("api", "cleanup", "admin"):
        assert "GROUNDSWELL_QDRANT_VIA" in given and "GROUNDSWELL_QDRANT_API_KEY" not in given
    assert_variables(given, service)


def test_the_relay_has_every_variable_of_its_service_and_no_other(deployment: Get) -> None:
    (task,) = deployment("budget").of_type("AWS::ECS::TaskDefinition").values()
    (container,) = task["ContainerDefinitions"]
    assert_variables({variable["Name"] for variable in container["Environment"]}, "relay")


def assert_variables(given: set[str], service: str) -> None:
    used = {name for name, rule in schema().items() if service in rule["x-services"]}
    may_be_empty = {name for name in used if schema()[name]["default"] in ("", [])}
    assert given <= used
    assert used - may_be_empty <= given
    assert {name for name in used if service in schema()[name].get("x-required", ())} <= given


def test_the_combined_task_has_the_variables_of_every_service_that_it_is(deployment: Get) -> None:
    (task,) = deployment("combined").of_type("AWS::ECS::TaskDefinition").values()
    (container,) = task["ContainerDefinitions"]
    assert container["Command"] == ["groundswell", "up"]
    given = {variable["Name"]: variable["Value"] for variable in container["Environment"]}
    assert given["GROUNDSWELL_API_HOST"] == "0.0.0.0"
    assert given["GROUNDSWELL_ENVIRONMENT"] == "staging"
    vpc = deployment("combined").one("AWS::EC2::VPC")
    assert given["GROUNDSWELL_TRUSTED_PROXIES"] == vpc["CidrBlock"], "what the HTTP API's link connects from"
    assert given["GROUNDSWELL_PROXY_HEADER"] == "forwarded"
    assert "GROUNDSWELL_DATABASE_URL" in given


def test_the_page_finds_the_api_beside_it_and_the_socket_by_its_address(deployment: Get) -> None:
    distribution = deployment("budget").one("AWS::CloudFront::Distribution")["DistributionConfig"]
    paths = {behaviour["PathPattern"] for behaviour in distribution["CacheBehaviors"]}
    assert {"/v1/*", "/healthz", "/readyz", "/openapi.json"} <= paths
    copied = deployment("budget").of_type("Custom::CDKBucketDeployment").values()
    assert any("execute-api" in json.dumps(each.get("SourceMarkers", [])) for each in copied)


def test_the_function_of_the_sockets_knows_whose_pages_may_open_them(deployment: Get) -> None:
    """A deployment that says nothing else lets in the page that it serves."""
    budget = deployment("budget")
    (distribution,) = budget.of_type("AWS::CloudFront::Distribution")
    variables = budget.functions()["functions.api.sockets.handler"]["Environment"]["Variables"]
    assert variables["GROUNDSWELL_PUBLIC_API_URL"] == {
        "Fn::Join": ["", ["https://", {"Fn::GetAtt": [distribution, "DomainName"]}]]
    }


@pytest.mark.parametrize(
    ("name", "mode", "variable"),
    [("budget", "Active", "off"), ("production", "Active", "xray"), ("own-qdrant", None, "off")],
)
def test_functions_trace_as_far_as_the_knob_says_and_may_do_no_more_than_that(
    deployment: Get, name: str, mode: str | None, variable: str
) -> None:
    found = deployment(name)
    for handler, function in found.functions().items():
        assert function.get("TracingConfig", {}).get("Mode") == mode, handler
        assert function["Environment"]["Variables"]["GROUNDSWELL_TRACING"] == variable, handler
        statements = found.statements_of(function["Role"]["Fn::GetAtt"][0])
        traces = set().union(*(actions_of(statement) for statement in statements)) & TRACES
        assert traces == (TRACES if mode else set()), handler


# ------------------------------------------------------------------ network and storage
@each_deployment
def test_the_database_is_private_encrypted_and_takes_tls_alone(deployment: Get, name: str) -> None:
    found = deployment(name)
    instance = found.one("AWS::RDS::DBInstance")
    assert instance["PubliclyAccessible"] is False
    assert instance["StorageEncrypted"] is True
    parameters = found.one("AWS::RDS::DBParameterGroup")["Parameters"]
    assert parameters["rds.force_ssl"] == "1"
    chosen = load(overrides_in(DEPLOYMENTS[name]))
    assert parameters["max_connections"] == str(connections.MAX_CONNECTIONS[chosen.database_class])


def test_a_budget_deployment_is_small_and_can_be_taken_down(deployment: Get) -> None:
    found = deployment("budget")
    instance = found.one("AWS::RDS::DBInstance")
    assert (instance["DBInstanceClass"], instance["MultiAZ"], instance["DeletionProtection"]) == (
        "db.t4g.micro",
        False,
        False,
    )
    assert found.of_type("AWS::EC2::NatGateway") == {}
    task = found.one("AWS::ECS::TaskDefinition")
    assert (task["Cpu"], task["Memory"], task["RuntimePlatform"]["CpuArchitecture"]) == ("256", "512", "ARM64")


def test_a_production_deployment_survives_a_zone_and_a_slip_of_the_hand(deployment: Get) -> None:
    found = deployment("production")
    instance = found.one("AWS::RDS::DBInstance")
    assert instance["MultiAZ"] is True
    assert instance["DeletionProtection"] is True
    assert len(found.of_type("AWS::EC2::NatGateway")) == 1
    assert found.of_type("AWS::SecretsManager::RotationSchedule")


@pytest.mark.parametrize(
    ("name", "public", "subnets"),
    [("budget", "ENABLED", "public"), ("combined", "ENABLED", "public"), ("production", "DISABLED", "private")],
)
def test_a_task_has_a_public_address_where_there_is_no_nat(
    deployment: Get, name: str, public: str, subnets: str
) -> None:
    found = deployment(name)
    network = found.one("AWS::ECS::Service")["NetworkConfiguration"]["AwsvpcConfiguration"]
    assert network["AssignPublicIp"] == public
    assert all(f"Vpc{subnets}Subnet" in json.dumps(subnet) for subnet in network["Subnets"])
    assert all(not subnet["MapPublicIpOnLaunch"] for subnet in found.of_type("AWS::EC2::Subnet").values())
    assert len(found.of_type("AWS::EC2::NatGateway")) == len(found.of_type("AWS::EC2::EIP")) == (public == "DISABLED")


@each_deployment
def test_nothing_can_connect_from_the_internet(deployment: Get, name: str) -> None:
    found = deployment(name)
    rules = [rule for group in found.of_type("AWS::EC2::SecurityGroup").values() for rule in ingress_of(group)]
    rules += found.of_type("AWS::EC2::SecurityGroupIngress").values()
    assert rules
    assert [rule for rule in rules if "CidrIp" in rule or "CidrIpv6" in rule] == []


def ingress_of(group: dict[str, Any]) -> list[dict[str, Any]]:
    return group.get("SecurityGroupIngress", [])


@each_deployment
def test_functions_of_the_network_reach_aws_over_ipv6(deployment: Get, name: str) -> None:
    found = deployment(name)
    assert found.of_type("AWS::EC2::EgressOnlyInternetGateway")
    inside = [function for function in found.functions().values() if "VpcConfig" in function]
    assert inside
    for function in inside:
        assert function["VpcConfig"]["Ipv6AllowedForDualStack"] is True
        assert function["Environment"]["Variables"]["AWS_USE_DUALSTACK_ENDPOINT"] == "true"
    (clients,) = (
        group
        for group in found.of_type("AWS::EC2::SecurityGroup").values()
        if "may connect to the database" in group["GroupDescription"]
    )
    assert any(rule.get("CidrIpv6") == "::/0" for rule in clients["SecurityGroupEgress"])
    sockets = [api for api in found.of_type("AWS::ApiGatewayV2::Api").values() if api["ProtocolType"] == "WEBSOCKET"]
    assert [api["IpAddressType"] for api in sockets] == ["dualstack"] * (name != "combined")


def test_qdrant_cloud_is_asked_by_one_function_outside_the_network_which_alone_has_the_key(deployment: Get) -> None:
    found = deployment("budget")
    functions = found.functions()
    forwards = functions["functions.vectors.handler.handler"]
    assert "VpcConfig" not in forwards
    assert "parameter/groundswell/qdrant-key" in json.dumps(
        forwards["Environment"]["Variables"]["GROUNDSWELL_QDRANT_API_KEY"]
    )
    (arn,) = {
        json.dumps(functions[f"functions.{asks}.handler.handler"]["Environment"]["Variables"]["GROUNDSWELL_QDRANT_VIA"])
        for asks in ("api", "cleanup", "admin")
    }
    for asks in ("api", "cleanup", "admin"):
        statements = found.statements_of(functions[f"functions.{asks}.handler.handler"]["Role"]["Fn::GetAtt"][0])
        (invokes,) = (s for s in statements if "lambda:InvokeFunction" in actions_of(s))
        assert json.dumps(invokes["Resource"]) == arn


@pytest.mark.parametrize("name", ["production", "own-qdrant"])
def test_where_the_index_can_be_reached_nothing_forwards(deployment: Get, name: str) -> None:
    functions = deployment(name).functions()
    assert "functions.vectors.handler.handler" not in functions
    assert all("GROUNDSWELL_QDRANT_VIA" not in f["Environment"]["Variables"] for f in functions.values())


@each_deployment
def test_no_bucket_is_public_and_none_takes_plain_http(deployment: Get, name: str) -> None:
    found = deployment(name)
    for bucket in found.of_type("AWS::S3::Bucket").values():
        assert set(bucket["PublicAccessBlockConfiguration"].values()) == {True}
    policies = list(found.of_type("AWS::S3::BucketPolicy").values())
    assert len(policies) == len(found.of_type("AWS::S3::Bucket"))
    for policy in policies:
        denied = [s for s in policy["PolicyDocument"]["Statement"] if s["Effect"] == "Deny"]
        assert any(s["Condition"].get("Bool") == {"aws:SecureTransport": "false"} for s in denied)


def test_the_archive_is_never_removed_with_its_stack_and_grows_cold_where_files_stay_long(deployment: Get) -> None:
    def rule_of(name: str) -> dict[str, Any]:
        template = deployment(name).templates["Data"]
        (bucket,) = (r for r in template["Resources"].values() if r["Type"] == "AWS::S3::Bucket")
        assert bucket["DeletionPolicy"] == "Retain"
        (rule,) = bucket["Properties"]["LifecycleConfiguration"]["Rules"]
        return rule

    # S3 bills ninety days of cold storage at least: files that are deleted after sixty days would cost more in it.
    assert "Transitions" not in rule_of("budget")
    assert rule_of("budget")["ExpirationInDays"] == 60
    assert rule_of("production")["Transitions"] == [{"StorageClass": "GLACIER_IR", "TransitionInDays": 90}]
    assert "ExpirationInDays" not in rule_of("production")


def test_the_database_writes_its_log_as_it_was_measured(deployment: Get) -> None:
    parameters = deployment("budget").one("AWS::RDS::DBParameterGroup")["Parameters"]
    assert parameters.items() >= LOG_PARAMETERS.items()
    cleanup = deployment("budget").functions()["functions.cleanup.handler.handler"]
    assert cleanup["Environment"]["Variables"]["GROUNDSWELL_ARCHIVE_KEEP_DAYS"] == "60"


# ------------------------------------------------------------------ services and traffic
def test_a_broken_relay_is_rolled_back_and_two_never_run_at_once(deployment: Get) -> None:
    service = deployment("budget").one("AWS::ECS::Service")
    assert service["DesiredCount"] == 1
    assert service["DeploymentConfiguration"]["DeploymentCircuitBreaker"] == {"Enable": True, "Rollback": True}
    assert service["DeploymentConfiguration"]["MaximumPercent"] == 100
    assert service["CapacityProviderStrategy"][0]["CapacityProvider"] == "FARGATE"
    spot = deployment("spot").one("AWS::ECS::Service")
    assert [each["CapacityProvider"] for each in spot["CapacityProviderStrategy"]] == ["FARGATE_SPOT"]


def test_the_relay_cannot_write_to_its_own_image(deployment: Get) -> None:
    (container,) = deployment("budget").one("AWS::ECS::TaskDefinition")["ContainerDefinitions"]
    assert container["ReadonlyRootFilesystem"] is True
    data_dir = next(v["Value"] for v in container["Environment"] if v["Name"] == "GROUNDSWELL_DATA_DIR")
    assert [mount["ContainerPath"] for mount in container["MountPoints"] if not mount["ReadOnly"]] == [data_dir, "/tmp"]


def test_every_action_of_a_client_has_a_route_and_all_lead_to_one_function(deployment: Get) -> None:
    assert ACTIONS == subscriptions.ACTIONS
    routes = deployment("budget").of_type("AWS::ApiGatewayV2::Route").values()
    keys = {route["RouteKey"] for route in routes}
    assert keys == {"$connect", "$disconnect", "$default", *ACTIONS, "ANY /{proxy+}"}
    apis = deployment("budget").of_type("AWS::ApiGatewayV2::Api").values()
    assert {api.get("RouteSelectionExpression") for api in apis} == {"$request.body.action", None}


def test_the_migration_comes_before_the_services_and_they_before_the_traffic(deployment: Get) -> None:
    resources = deployment("budget").templates["Platform"]["Resources"]
    migration = next(name for name, r in resources.items() if r["Type"] == "Custom::Trigger")

    def needs(name: str) -> set[str]:
        needed = resources[name].get("DependsOn", [])
        return {needed} if isinstance(needed, str) else set(needed)

    functions = {
        r["Properties"]["Handler"]: name for name, r in resources.items() if r["Type"] == "AWS::Lambda::Function"
    }
    relay = next(name for name, r in resources.items() if r["Type"] == "AWS::ECS::Service")
    without_database = ("functions.migrate.handler.handler", "functions.vectors.handler.handler")
    for service in (relay, *(functions[h] for h in SERVICE_OF if h in functions and h not in without_database)):
        assert migration in needs(service), service
    assert migration not in needs(functions["functions.migrate.handler.handler"])
    for name, resource in resources.items():
        if resource["Type"] in ("AWS::ApiGatewayV2::Route", "AWS::Scheduler::Schedule"):
            assert {relay, functions["functions.mover.handler.handler"]} <= needs(name), name


def test_functions_reserve_what_the_connection_budget_counted(deployment: Get) -> None:
    assert connections.RELAY_POOL == RELAY_POOL_SIZE
    functions = deployment("production").functions()
    claimed = {claim.service: claim for claim in connections.claims(load(DEPLOYMENTS["production"]))}
    handlers = {
        "api": "api.handler",
        "sockets": "api.sockets",
        "mover": "mover.handler",
        "cleanup": "cleanup.handler",
        "migrate": "migrate.handler",
        "admin": "admin.handler",
    }
    assert set(handlers) | {"relay"} == set(claimed)
    for service, handler in handlers.items():
        function = functions[f"functions.{handler}.handler"]
        assert function["ReservedConcurrentExecutions"] == claimed[service].instances
        pool = function["Environment"]["Variables"].get("GROUNDSWELL_DATABASE_POOL_SIZE")
        assert pool in (None, str(claimed[service].each)), service


@each_deployment
def test_the_archive_is_known_to_all_who_use_it_and_only_the_mover_and_the_operator_write_it(
    deployment: Get, name: str
) -> None:
    found = deployment(name)
    (task,) = (
        {v["Name"]: v["Value"] for v in container["Environment"]}
        for task in found.of_type("AWS::ECS::TaskDefinition").values()
        for container in task["ContainerDefinitions"]
        if container["Name"] == "relay"
    )
    assert task["GROUNDSWELL_MAINTENANCE"] == "scheduled"
    functions = found.functions()
    mover = functions["functions.mover.handler.handler"]
    where = mover["Environment"]["Variables"]["GROUNDSWELL_ARCHIVE"]
    assert json.dumps(where).count("s3://") == 1 and "ArchiveName" in json.dumps(where)
    readers = [f["Environment"]["Variables"] for h, f in functions.items() if h == "functions.api.handler.handler"]
    assert all(reader["GROUNDSWELL_ARCHIVE"] == where for reader in (*readers, task))
    assert mover["Environment"]["Variables"]["GROUNDSWELL_HOT_DAYS"] == str(
        load(overrides_in(DEPLOYMENTS[name])).hot_days
    )
    writers = {
        handler
        for handler, function in functions.items()
        for statement in found.statements_of(function["Role"]["Fn::GetAtt"][0])
        if actions_of(statement) & {"s3:PutObject", "s3:DeleteObject"}
    }
    assert writers == {"functions.mover.handler.handler", "functions.admin.handler.handler"}


@each_deployment
def test_nobody_but_an_operator_may_call_the_function_that_runs_commands(deployment: Get, name: str) -> None:
    """Whoever may invoke it is decided by the operators' own policies: no part of the platform, and no service, may."""
    found = deployment(name)
    (admin,) = (
        logical
        for logical, f in found.of_type("AWS::Lambda::Function").items()
        if "functions.admin" in str(f["Handler"])
    )
    for permission in found.of_type("AWS::Lambda::Permission").values():
        assert admin not in json.dumps(permission)
    for policy in found.of_type("AWS::IAM::Policy").values():
        for statement in policy["PolicyDocument"]["Statement"]:
            if any(action.startswith("lambda:") for action in actions_of(statement)):
                assert admin not in json.dumps(statement["Resource"])
                assert statement["Resource"] != "*"
    outputs = found.templates["Platform"]["Outputs"]
    assert outputs["AdminFunctionName"]["Value"] == {"Ref": admin}


def test_mover_and_cleanup_run_by_the_clock_of_their_knobs(deployment: Get) -> None:
    found = deployment("production")
    by_function = {
        json.dumps(s["Target"]["Arn"]): s["ScheduleExpression"]
        for s in found.of_type("AWS::Scheduler::Schedule").values()
    }
    assert sorted(by_function.values()) == ["cron(0 7 ? * MON *)", "rate(15 minutes)", "rate(30 minutes)"]


# ------------------------------------------------------------------ who notices
@each_deployment
def test_one_screen_shows_whether_it_reads_answers_and_is_full(deployment: Get, name: str) -> None:
    body = json.dumps(deployment(name).one("AWS::CloudWatch::Dashboard")["DashboardBody"])
    shown = ("frames_received_total", "Latency", "Errors", "DatabaseConnections", "FreeStorageSpace", "CPUUtilization")
    assert [metric for metric in shown if metric not in body] == []


def test_the_budget_mails_before_the_money_is_gone(deployment: Get) -> None:
    budget = deployment("budget").one("AWS::Budgets::Budget")
    assert budget["Budget"]["BudgetLimit"] == {"Amount": 30, "Unit": "USD"}
    mailed = [
        (told["Notification"]["NotificationType"], told["Notification"]["Threshold"])
        for told in budget["NotificationsWithSubscribers"]
        if {"Address": "ops@example.com", "SubscriptionType": "EMAIL"} in told["Subscribers"]
    ]
    assert mailed == [("ACTUAL", 50), ("ACTUAL", 80), ("FORECASTED", 100)]


def test_the_costs_are_mailed_every_week(deployment: Get) -> None:
    found = deployment("budget")
    schedules = found.of_type("AWS::Scheduler::Schedule").values()
    assert [s["ScheduleExpression"] for s in schedules if "cron" in s["ScheduleExpression"]] == ["cron(0 7 ? * MON *)"]
    function = found.functions()["functions.costs.handler.handler"]
    given = dict(
        pair.split("=", 1) for pair in function["Environment"]["Variables"]["GROUNDSWELL_DEPLOYMENT"].split(",")
    )
    assert load(given) == load(overrides_in(DEPLOYMENTS["budget"]) | {"relay_image": "example.com/relay:1"})
