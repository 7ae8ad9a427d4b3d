"""The doors: an HTTP API for requests, and a WebSocket API whose routes are chosen by `$request.body.action`."""

from __future__ import annotations

from collections.abc import Sequence

from aws_cdk import Aws, RemovalPolicy, Stack, aws_lambda
from aws_cdk import aws_apigatewayv2 as gateway
from aws_cdk import aws_apigatewayv2_integrations as integrations
from aws_cdk import aws_ec2 as ec2
from aws_cdk import aws_logs as logs
from aws_cdk import aws_servicediscovery as servicediscovery
from constructs import Construct

from cdk.nag import accept
from cdk.parts.function import retention
from cdk.parts.network import Network
from deployment.knobs import Knobs

STAGE = "live"
ACTIONS = ("subscribe", "unsubscribe", "ping", "pause", "resume")
"""What a client may say. Anything else comes by `$default`, and is answered with what there is."""
ACCESS_LOG = (
    '{"request_id":"$context.requestId","ip":"$context.identity.sourceIp","method":"$context.httpMethod",'
    '"path":"$context.path","status":"$context.status","error":"$context.error.message","ms":"$context.responseLatency"}'
)
OPEN_READS = "Reads are open to everybody by design; writes need an API key, which the application checks."


class SocketsApi(Construct):
    """The WebSocket API without routes: its address is known before what answers there is deployed."""

    def __init__(self, scope: Construct, id: str) -> None:
        super().__init__(scope, id)
        # Functions post to clients over IPv6: the network has no other way out for them.
        self.api = gateway.WebSocketApi(
            self,
            "Api",
            route_selection_expression="$request.body.action",
            ip_address_type=gateway.IpAddressType.DUAL_STACK,
        )
        host = f"{self.api.api_id}.execute-api.{Aws.REGION}.{Aws.URL_SUFFIX}"
        self.public_url = f"wss://{host}/{STAGE}"
        self.endpoint = f"https://{host}/{STAGE}"
        """Where messages for clients are posted."""

    def manage_connections_arn(self) -> str:
        """What may post to clients, and close their sockets."""
        return Stack.of(self).format_arn(
            service="execute-api", resource=self.api.api_id, resource_name=f"{STAGE}/*/@connections/*"
        )


class SocketsRoutes(Construct):
    """The traffic of the WebSocket API: made after what it leads to."""

    def __init__(
        self, scope: Construct, id: str, chosen: Knobs, sockets: SocketsApi, handler: aws_lambda.IFunction
    ) -> None:
        super().__init__(scope, id)
        for key in ("$connect", "$disconnect", "$default", *ACTIONS):
            gateway.WebSocketRoute(
                self,
                key.removeprefix("$").capitalize(),
                web_socket_api=sockets.api,
                route_key=key,
                integration=integrations.WebSocketLambdaIntegration(f"{key.removeprefix('$')}-integration", handler),
            )
        self.stage = gateway.WebSocketStage(
            self,
            "Stage",
            web_socket_api=sockets.api,
            stage_name=STAGE,
            auto_deploy=True,
            throttle=gateway.ThrottleSettings(
                rate_limit=chosen.requests_per_second, burst_limit=chosen.requests_per_second * 2
            ),
        )
        accept(
            self,
            {
                "AwsSolutions-APIG1": "The function logs every event; an access log needs a role for the account.",
                "AwsSolutions-APIG4": f"{OPEN_READS} $connect checks the token where one is required.",
            },
        )


class HttpFront(Construct):
    """The HTTP API before the API's function, or before the task that serves it (`combined`)."""

    def __init__(self, scope: Construct, id: str, chosen: Knobs) -> None:
        super().__init__(scope, id)
        self._chosen = chosen
        self.api = gateway.HttpApi(self, "Api", create_default_stage=False)
        log = logs.LogGroup(self, "Log", retention=retention(chosen.log_days), removal_policy=RemovalPolicy.DESTROY)
        stage = gateway.HttpStage(
            self,
            "Stage",
            http_api=self.api,
            auto_deploy=True,
            throttle=gateway.ThrottleSettings(
                rate_limit=chosen.requests_per_second, burst_limit=chosen.requests_per_second * 2
            ),
        )
        resource = stage.node.default_child
        assert isinstance(resource, gateway.CfnStage)
        resource.access_log_settings = gateway.CfnStage.AccessLogSettingsProperty(
            destination_arn=log.log_group_arn, format=ACCESS_LOG
        )
        self.host = f"{self.api.api_id}.execute-api.{Aws.REGION}.{Aws.URL_SUFFIX}"
        accept(self, {"AwsSolutions-APIG4": OPEN_READS})

    def lead_to_function(self, handler: aws_lambda.IFunction) -> None:
        self._route(integrations.HttpLambdaIntegration("function", handler))

    def lead_to_task(
        self, network: Network, service: servicediscovery.IService, groups: Sequence[ec2.ISecurityGroup]
    ) -> None:
        link = gateway.VpcLink(self, "Link", vpc=network.vpc, subnets=network.private, security_groups=list(groups))
        self._route(integrations.HttpServiceDiscoveryIntegration("task", service, vpc_link=link))

    def _route(self, integration: gateway.HttpRouteIntegration) -> None:
        self.api.add_routes(path="/{proxy+}", methods=[gateway.HttpMethod.ANY], integration=integration)
