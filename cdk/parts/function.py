"""A Lambda function whose role may do what it needs: write its log, join the network, and what it is granted."""

# pyright: reportArgumentType=false
# The library's Python interfaces name parameters differently than its classes do: no class is its own interface.

from __future__ import annotations

from collections.abc import Mapping, Sequence

from aws_cdk import ArnFormat, Duration, RemovalPolicy, Size, Stack, aws_lambda
from aws_cdk import aws_ec2 as ec2
from aws_cdk import aws_iam as iam
from aws_cdk import aws_logs as logs
from constructs import Construct

from cdk.assets import CodeAssets
from cdk.environment import environment_for
from cdk.nag import accept, accept_wildcards
from cdk.parts.network import Network
from deployment.knobs import Knobs

PYTHONS: Mapping[str, aws_lambda.Runtime] = {
    "3.11": aws_lambda.Runtime.PYTHON_3_11,
    "3.12": aws_lambda.Runtime.PYTHON_3_12,
    "3.13": aws_lambda.Runtime.PYTHON_3_13,
}
NETWORK_ACTIONS = (
    "ec2:CreateNetworkInterface",
    "ec2:DeleteNetworkInterface",
    "ec2:DescribeNetworkInterfaces",
    "ec2:DescribeSubnets",
    "ec2:AssignPrivateIpAddresses",
    "ec2:UnassignPrivateIpAddresses",
)
"""What Lambda itself does with a function's role to attach it to a network; it takes no narrower resource."""

DUAL_STACK: Mapping[str, str] = {"AWS_USE_DUALSTACK_ENDPOINT": "true"}
"""For functions in the network: AWS's clients take the addresses of AWS that answer over IPv6 as well."""


class ServiceFunction(Construct):
    """One function of a service: code, environment, role, log, and its share of the account's concurrency."""

    def __init__(
        self,
        scope: Construct,
        id: str,
        chosen: Knobs,
        *,
        service: str,
        zip_name: str,
        handler: str,
        assets: CodeAssets,
        values: Mapping[str, object],
        network: Network | None,
        groups: Sequence[ec2.ISecurityGroup] = (),
        memory_mb: int,
        timeout_s: int,
        concurrency: int,
        disk_mb: int = 512,
    ) -> None:
        super().__init__(scope, id)
        self.log_group = logs.LogGroup(
            self,
            "Log",
            retention=retention(chosen.log_days),
            removal_policy=RemovalPolicy.DESTROY,
        )
        self.role = iam.Role(self, "Role", assumed_by=iam.ServicePrincipal("lambda.amazonaws.com"))
        self.role.add_to_policy(
            iam.PolicyStatement(
                actions=["logs:CreateLogStream", "logs:PutLogEvents"], resources=[self.log_group.log_group_arn]
            )
        )
        if network is not None:
            self.role.add_to_policy(iam.PolicyStatement(actions=list(NETWORK_ACTIONS), resources=["*"]))
            self.role.add_to_policy(_not_for_the_code(self, chosen))
        environment = environment_for(service, values)
        environment.grant_secrets(self.role)
        x86 = chosen.function_platform.startswith("x86_64")
        self.function = aws_lambda.Function(
            self,
            "Function",
            description=f"Groundswell: {id.lower()}",
            runtime=PYTHONS[chosen.function_python],
            architecture=aws_lambda.Architecture.X86_64 if x86 else aws_lambda.Architecture.ARM_64,
            handler=handler,
            code=aws_lambda.Code.from_asset(str(assets.code_of(zip_name))),
            role=self.role,
            environment={**environment.variables, **(DUAL_STACK if network else {})},
            memory_size=memory_mb,
            timeout=Duration.seconds(timeout_s),
            ephemeral_storage_size=Size.mebibytes(disk_mb),
            reserved_concurrent_executions=concurrency if chosen.reserve_concurrency else None,
            log_group=self.log_group,
            logging_format=aws_lambda.LoggingFormat.TEXT,
            tracing=aws_lambda.Tracing.DISABLED if chosen.traces == "off" else aws_lambda.Tracing.ACTIVE,
            vpc=network.vpc if network else None,
            vpc_subnets=network.private if network else None,
            ipv6_allowed_for_dual_stack=network is not None,
            security_groups=list(groups) or None,
        )
        accept(self, {"AwsSolutions-L1": "Python 3.13 is what the packages are locked and tested for."})
        accept_wildcards(
            self.role,
            "Network interfaces, traces and spend take no narrower resource; the tests assert every action.",
            resources=("*",),
        )

    def grant(self, actions: list[str], *resources: str) -> None:
        """Let the function do these things to these resources."""
        self.role.add_to_policy(iam.PolicyStatement(actions=actions, resources=list(resources)))
        wide = tuple(resource for resource in resources if "*" in resource and resource != "*")
        accept_wildcards(
            self.role,
            "The objects of one bucket, the clients of one API, or one log group by its name.",
            resources=wide,
        )


def _not_for_the_code(scope: Construct, chosen: Knobs) -> iam.PolicyStatement:
    """Return a statement that leaves the rights to the network to Lambda itself, and refuses them to what it runs.

    Calls of a function's own code carry the function's ARN; those that Lambda makes with its role do not. The name is a
    prefix, because the function depends on this policy: it is what the names of the deployment's functions begin with.
    """
    functions = Stack.of(scope).format_arn(
        service="lambda", resource="function", arn_format=ArnFormat.COLON_RESOURCE_NAME, resource_name=f"{chosen.name}*"
    )
    return iam.PolicyStatement(
        effect=iam.Effect.DENY,
        actions=list(NETWORK_ACTIONS),
        resources=["*"],
        conditions={"ArnLike": {"lambda:SourceFunctionArn": functions}},
    )


def retention(days: int) -> logs.RetentionDays:
    """The retention that stands for this number of days."""
    by_days = {
        1: "ONE_DAY", 3: "THREE_DAYS", 5: "FIVE_DAYS", 7: "ONE_WEEK", 14: "TWO_WEEKS", 30: "ONE_MONTH",
        60: "TWO_MONTHS", 90: "THREE_MONTHS", 180: "SIX_MONTHS", 365: "ONE_YEAR",
    }  # fmt: skip
    return logs.RetentionDays[by_days[days]]
