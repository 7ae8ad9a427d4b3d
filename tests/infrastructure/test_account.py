"""What a real account would refuse or do differently than it looks in a template."""

from __future__ import annotations

import json
import re
from fnmatch import fnmatchcase
from typing import Any

import pytest
from aws_cdk import App
from cfnlint import lint
from cfnlint.config import ManualArgs

from cdk.app import synthesise
from cdk.assets import StubAssets
from cdk.parts import qdrant
from cdk.parts.function import NETWORK_ACTIONS
from deployment.knobs import DeploymentError, load, overrides_in
from functions.api import site as embedded
from groundswell.adapters.qdrant_embedded.server import API_VERSION
from groundswell.adapters.qdrant_rest import MINIMUM_SERVER
from tests.infrastructure.conftest import DEPLOYMENTS, ROOT, Deployment, Get, context_of

each_deployment = pytest.mark.parametrize("name", DEPLOYMENTS)

FORWARDS_HOST = {
    "4cc15a8a-d715-48a4-82b8-cc0b614638fe": "UseOriginCacheControlHeaders-QueryStrings",
    "83da9c7e-98b4-4e11-a168-04f0df8e2c65": "UseOriginCacheControlHeaders",
    "2e54312d-136d-493c-8eb9-b001f22f67d2": "Amplify",
}
"""Managed cache policies that have Host in their key."""
KEEPS_HOST = {"b689b0a8-53d0-40ab-baf2-68738e2966ac": "AllViewerExceptHostHeader"}
"""Managed origin request policies that forward the viewer's headers without Host."""
VOLUMES: dict[str, set[str]] = {}
"""Of images that are not ours: the folders for which they have a VOLUME instruction."""


def needs(resource: dict[str, Any]) -> set[str]:
    needed = resource.get("DependsOn", [])
    return {needed} if isinstance(needed, str) else set(needed)


def resources(found: Deployment, kind: str) -> dict[str, dict[str, Any]]:
    """Return every resource of a type, whole, by its logical name."""
    return {
        name: resource
        for template in found.templates.values()
        for name, resource in template["Resources"].items()
        if resource["Type"] == kind
    }


# ------------------------------------------------------------------ templates
@each_deployment
def test_cfn_lint_finds_no_error(deployment: Get, name: str) -> None:
    """W3005, a dependency that is there twice, comes of dependencies between whole constructs. W3010, a zone that is
    written down, is what an operator who names zones asks for.
    """
    named = ["W3010"] if overrides_in(DEPLOYMENTS[name]).get("zones") else []
    rules = ManualArgs(ignore_checks=["W3005", *named], regions=["us-east-1"])
    found = [
        f"{path.name}: {match}"
        for path in sorted(deployment(name).folder.glob("*.template.json"))
        for match in lint(path.read_text("utf-8"), config=rules)
    ]
    assert found == []


# ------------------------------------------------------------------ the page and the API behind it
@each_deployment
def test_cloudfront_never_sends_the_viewers_host_to_the_api(deployment: Get, name: str) -> None:
    """API Gateway answers 403 to a Host that is not its own, and the cache key is sent along."""
    found = deployment(name)
    own = found.of_type("AWS::CloudFront::CachePolicy")
    distribution = found.one("AWS::CloudFront::Distribution")["DistributionConfig"]
    of_api = {each["Id"] for each in distribution["Origins"] if "execute-api" in json.dumps(each["DomainName"])}
    behaviours = [each for each in distribution["CacheBehaviors"] if each["TargetOriginId"] in of_api]
    assert behaviours
    for behaviour in behaviours:
        assert behaviour["OriginRequestPolicyId"] in KEEPS_HOST
        policy = behaviour["CachePolicyId"]
        assert isinstance(policy, dict), f"a managed policy: {FORWARDS_HOST.get(str(policy), policy)}"
        key = own[policy["Ref"]]["CachePolicyConfig"]["ParametersInCacheKeyAndForwardedToOrigin"]
        assert key["HeadersConfig"] == {"HeaderBehavior": "whitelist", "Headers": ["Accept", "Authorization", "Origin"]}
        assert key["QueryStringsConfig"] == {"QueryStringBehavior": "all"}
        assert key["CookiesConfig"] == {"CookieBehavior": "none"}


def test_an_answer_is_kept_no_longer_than_the_api_says_and_not_at_all_where_it_says_nothing(deployment: Get) -> None:
    (policy,) = deployment("budget").of_type("AWS::CloudFront::CachePolicy").values()
    kept = policy["CachePolicyConfig"]
    assert (kept["MinTTL"], kept["DefaultTTL"], kept["MaxTTL"]) == (0, 0, 60)


def test_browsers_keep_the_pages_files_as_long_as_the_api_itself_would_say(deployment: Get) -> None:
    resources_of = resources(deployment("budget"), "Custom::CDKBucketDeployment")
    hashed = {name: r for name, r in resources_of.items() if r["Properties"].get("Include")}
    ((hashed_name, assets),) = hashed.items()
    (rest,) = (r for name, r in resources_of.items() if name not in hashed)
    assert assets["Properties"]["Include"] == ["assets/*"]
    assert assets["Properties"]["Exclude"] == ["*"]
    assert assets["Properties"]["SystemMetadata"] == {"cache-control": embedded.IMMUTABLE}
    assert assets["Properties"]["Prune"] is False, "an older index.html names files of an older release"
    assert rest["Properties"]["Exclude"] == ["assets/*"]
    assert rest["Properties"]["SystemMetadata"] == {"cache-control": embedded.REVALIDATE}
    assert hashed_name in needs(rest)


# ------------------------------------------------------------------ tasks
def test_an_image_of_ones_own_registry_can_be_pulled(deployment: Get) -> None:
    found = deployment("own-image")
    task = found.one("AWS::ECS::TaskDefinition")
    statements = found.statements_of(task["ExecutionRoleArn"]["Fn::GetAtt"][0])
    allowed = {
        action: json.dumps(each["Resource"])
        for each in statements
        for action in ([each["Action"]] if isinstance(each["Action"], str) else each["Action"])
    }
    for action in ("ecr:BatchGetImage", "ecr:GetDownloadUrlForLayer"):
        assert ":ecr:us-east-1:123456789012:repository/groundswell/relay" in allowed[action]
    assert allowed["ecr:GetAuthorizationToken"] == '"*"'
    assert "groundswell/relay:1" in json.dumps(task["ContainerDefinitions"][0]["Image"])


def test_an_image_may_be_named_by_its_digest(tmp_path: Any, site: Any) -> None:
    digest = f"sha256:{'0123456789abcdef' * 4}"
    name = f"123456789012.dkr.ecr.eu-west-1.amazonaws.com/relay@{digest}"
    app = App(context=context_of({"relay_image": name}), outdir=str(tmp_path / "out"))
    synthesise(app, assets=StubAssets(tmp_path / "stub"), site=site)
    app.synth()
    found = Deployment(tmp_path / "out", "", "")
    image = json.dumps(found.one("AWS::ECS::TaskDefinition")["ContainerDefinitions"][0]["Image"])
    assert f"/relay@{digest}" in image and "dkr.ecr.eu-west-1" in image


@each_deployment
def test_nothing_is_mounted_over_the_folders_of_an_image_that_has_no_volume_for_them(
    deployment: Get, name: str
) -> None:
    """Fargate makes such a mount as root's; an image that runs as another user cannot write there."""
    for task in deployment(name).of_type("AWS::ECS::TaskDefinition").values():
        for container in task["ContainerDefinitions"]:
            if container["Name"] == "relay":
                dockerfile = (ROOT / "relay_container" / "Dockerfile").read_text("utf-8")
                volumes = set(json.loads(re.findall(r"^VOLUME (\[.*\])$", dockerfile, re.MULTILINE)[-1]))
            else:
                volumes = VOLUMES.get(container["Image"], set())
            mounted = {mount["ContainerPath"] for mount in container.get("MountPoints", [])}
            assert mounted <= volumes, container["Name"]


def test_every_version_of_qdrant_that_is_named_is_within_one_minor_of_what_the_client_is_tested_with() -> None:
    """A server may lack what is asked of it, and drops what it deprecated a release or two before."""
    described = json.loads((ROOT / "tests/data/qdrant-openapi-1.19.json").read_text("utf-8"))
    (image,) = re.findall(r"^docker\.io/qdrant/qdrant:v(\d+\.\d+)\.\d+-unprivileged$", qdrant.IMAGE)
    named = {
        "the image": image,
        "the embedded engine": API_VERSION,
        "the description that tests hold requests against": described["info"]["version"].removeprefix("v"),
    }
    for path in sorted((ROOT / "docs").glob("*.md")):
        found = re.findall(r"Qdrant (\d+\.\d+) or newer", path.read_text("utf-8"))
        named |= {f"{path.name} ({n})": version for n, version in enumerate(found)}
    assert any(name.startswith("deploy.md") for name in named)
    major, least = MINIMUM_SERVER
    for name, version in named.items():
        found_major, minor = map(int, version.split(".")[:2])
        assert found_major == major, name
        assert least <= minor <= least + 1, f"{name} is {version}, the client needs {major}.{least}"
        if name.startswith("deploy.md"):
            assert minor == least, "what is documented is what is checked"


def test_the_log_that_rds_makes_by_itself_is_not_kept_for_ever(deployment: Get) -> None:
    found = deployment("production")
    exported = [
        each for each in found.of_type("AWS::RDS::DBInstance").values() if "EnableCloudwatchLogsExports" in each
    ]
    kept = [json.dumps(each) for each in found.of_type("Custom::LogRetention").values()]
    assert exported
    assert all("/aws/rds/instance/" in each and "RetentionInDays" in each for each in kept)
    assert len(kept) == sum(len(each["EnableCloudwatchLogsExports"]) for each in exported)


# ------------------------------------------------------------------ deploys and removals
@each_deployment
def test_a_bucket_that_goes_with_its_stack_is_emptied_first(deployment: Get, name: str) -> None:
    found = deployment(name)
    emptied = [each["BucketName"] for each in found.of_type("Custom::S3AutoDeleteObjects").values()]
    removed = [n for n, r in resources(found, "AWS::S3::Bucket").items() if r["DeletionPolicy"] == "Delete"]
    assert len(removed) == 1, "the archive is never emptied by a deploy"
    assert emptied == [{"Ref": each} for each in removed]


@each_deployment
def test_services_leave_before_the_capacity_they_run_on(deployment: Get, name: str) -> None:
    found = deployment(name)
    (providers,) = resources(found, "AWS::ECS::ClusterCapacityProviderAssociations")
    for service in resources(found, "AWS::ECS::Service").values():
        assert providers in needs(service)


@each_deployment
def test_a_migration_has_ended_before_the_deploy_stops_waiting_for_it(deployment: Get, name: str) -> None:
    """Under a rollback none goes on. Lambda runs nothing for longer than fifteen minutes."""
    found = deployment(name)
    awaited_s = int(found.one("Custom::Trigger")["Timeout"]) / 1000
    runs_s = found.functions()["functions.migrate.handler.handler"]["Timeout"]
    assert 600 < runs_s <= awaited_s - 30
    assert awaited_s < 900


@each_deployment
def test_the_relays_log_outlives_a_rollback(deployment: Get, name: str) -> None:
    logs = resources(deployment(name), "AWS::Logs::LogGroup")
    (kept,) = (r for n, r in logs.items() if n.startswith("RelayLog"))
    assert kept["DeletionPolicy"] == "Retain"


@each_deployment
def test_an_engine_whose_support_ends_is_upgraded_and_not_charged_for(deployment: Get, name: str) -> None:
    instance = deployment(name).one("AWS::RDS::DBInstance")
    assert instance["EngineLifecycleSupport"] == "open-source-rds-extended-support-disabled"


# ------------------------------------------------------------------ rights
@each_deployment
def test_a_functions_own_code_may_not_use_its_rights_to_the_network(deployment: Get, name: str) -> None:
    found = deployment(name)
    functions = {n: r for n, r in resources(found, "AWS::Lambda::Function").items() if "VpcConfig" in r["Properties"]}
    assert functions
    for logical, function in functions.items():
        statements = found.statements_of(function["Properties"]["Role"]["Fn::GetAtt"][0])
        (denied,) = (each for each in statements if each["Effect"] == "Deny")
        assert set(denied["Action"]) == set(NETWORK_ACTIONS)
        assert denied["Resource"] == "*"
        pattern = flat(denied["Condition"]["ArnLike"]["lambda:SourceFunctionArn"])
        deployed = f"arn:aws:lambda:us-east-1:123456789012:function:GroundswellPlatform-{logical}-AbC123"
        assert fnmatchcase(deployed, pattern)


def flat(value: Any) -> str:
    """Return an ARN of a template, as it is in an account."""
    known = {"AWS::Partition": "aws", "AWS::Region": "us-east-1", "AWS::AccountId": "123456789012"}
    match value:
        case {"Fn::Join": [glue, parts]}:
            return str(glue).join(flat(part) for part in parts)
        case {"Ref": name}:
            return known[name]
        case _:
            return str(value)


@each_deployment
def test_no_service_of_aws_acts_here_for_another_account(deployment: Get, name: str) -> None:
    found = deployment(name)
    ours = {"StringEquals": {"aws:SourceAccount": {"Ref": "AWS::AccountId"}}}
    topics = [
        statement
        for policy in found.of_type("AWS::SNS::TopicPolicy").values()
        for statement in policy["PolicyDocument"]["Statement"]
        if "Service" in str(statement["Principal"])
    ]
    trusts = [
        statement
        for role in found.of_type("AWS::IAM::Role").values()
        for statement in role["AssumeRolePolicyDocument"]["Statement"]
        if statement["Principal"].get("Service") == "scheduler.amazonaws.com"
    ]
    named = json.dumps([each["Principal"]["Service"] for each in topics])
    assert set(re.findall(r"\w+\.amazonaws\.com", named)) == {"cloudwatch.amazonaws.com", "budgets.amazonaws.com"}
    assert len(trusts) == len(found.of_type("AWS::Scheduler::Schedule"))
    assert [each for each in (*topics, *trusts) if each.get("Condition") != ours] == []


def test_the_report_may_read_the_log_of_the_api_by_the_name_that_it_gets(deployment: Get) -> None:
    found = deployment("budget")
    (logical,) = (n for n in resources(found, "AWS::Logs::LogGroup") if n.startswith("ApiFunctionLog"))
    role = found.functions()["functions.costs.handler.handler"]["Role"]["Fn::GetAtt"][0]
    (statement,) = (each for each in found.statements_of(role) if each["Action"] == "logs:FilterLogEvents")
    deployed = f"arn:aws:logs:us-east-1:123456789012:log-group:GroundswellPlatform-{logical}-AbC123:*"
    assert fnmatchcase(deployed, flat(statement["Resource"]))


# ------------------------------------------------------------------ zones and parameters
def test_zones_can_be_chosen_and_the_services_be_put_into_either(deployment: Get, tmp_path: Any, site: Any) -> None:
    found = deployment("other-zones")
    zones = {subnet["AvailabilityZone"] for subnet in found.of_type("AWS::EC2::Subnet").values()}
    assert zones == {"us-east-1b", "us-east-1c"}
    used: list[object] = []
    for each in (1, 2):
        app = App(context=context_of({"services_zone": each}), outdir=str(tmp_path / str(each)))
        synthesise(app, assets=StubAssets(tmp_path / "stub"), site=site)
        app.synth()
        other = Deployment(tmp_path / str(each), "", "")
        used.append(other.functions()["functions.mover.handler.handler"]["VpcConfig"]["SubnetIds"])
    assert used[0] != used[1]


@pytest.mark.parametrize("zones", ["us-east-1b us-east-1b", "eu-west-1a eu-west-1b"])
def test_zones_that_are_one_or_of_another_region_are_refused(zones: str) -> None:
    with pytest.raises(DeploymentError, match=r'"zones": "us-east-1b us-east-1c"'):
        load({"zones": zones})


def test_a_parameter_without_a_leading_slash_is_refused(tmp_path: Any, site: Any) -> None:
    overrides = {"secrets": {"GROUNDSWELL_QDRANT_API_KEY": "qdrant-key"}}
    with pytest.raises(DeploymentError, match=r"'qdrant-key'.*without a leading slash.*Store it as \"/qdrant-key\""):
        synthesise(App(context=context_of(overrides)), assets=StubAssets(tmp_path / "stub"), site=site)
