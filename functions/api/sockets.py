"""WebSocket events of API Gateway: `$connect`, `$disconnect`, and every action by `$request.body.action`.

Mangum takes HTTP events only. Answers are posted to the client; the result of a function is seen by API Gateway alone,
but for `$connect`, where it decides whether the client gets in.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from aws_lambda_powertools import Metrics
from aws_lambda_powertools.metrics import MetricUnit
from aws_lambda_powertools.utilities.typing import LambdaContext

from functions.api.faults import problem_result
from functions.api.lambda_limits import require_event
from groundswell.errors import GroundswellError
from groundswell.services.remote_sockets import RemoteSockets
from groundswell.wiring.function_api import host_rules, remote_sockets, warm_up
from groundswell.wiring.function_runtime import function_log, initialise, runtime, traced

logger = function_log("sockets")
metrics = Metrics(namespace="Groundswell", service="sockets")


@traced("sockets")
@metrics.log_metrics(capture_cold_start_metric=True)
def handler(event: dict[str, Any], context: LambdaContext) -> dict[str, Any]:  # noqa: ARG001 -- Lambda's signature
    """Handle one event.

    403 for a page of another site, 401 for a token that is not known, 503 with Retry-After while the database is away.
    """
    started = runtime().clock.monotonic()
    request: Mapping[str, Any] = {}
    try:
        request = require_event(event, "websocket")
        runtime().run(_handle(remote_sockets(), event))
        result: dict[str, Any] = {"statusCode": 200}
    except GroundswellError as error:
        if error.status >= 500 or not request:
            logger.error(error.detail, code=error.code)  # noqa: TRY400 -- its message says it all
        result = problem_result(error)
    metrics.add_metric(name="events", unit=MetricUnit.Count, value=1)
    metrics.add_metric(name="failures", unit=MetricUnit.Count, value=result["statusCode"] >= 500)
    logger.info(
        "event",
        route=request.get("routeKey"),
        connection=request.get("connectionId"),
        status=result["statusCode"],
        ms=round((runtime().clock.monotonic() - started) * 1000, 1),
    )
    return result


async def _handle(sockets: RemoteSockets, event: dict[str, Any]) -> None:
    route, connection_id = event["requestContext"]["routeKey"], event["requestContext"]["connectionId"]
    if route == "$connect":
        sent: Mapping[str, str] = event.get("headers") or {}
        headers = {name.lower(): value for name, value in sent.items()}
        refusal = host_rules().refuse_origin(headers.get("host"), headers.get("origin"))
        if refusal is not None:
            raise refusal
        parameters: dict[str, str] = event.get("queryStringParameters") or {}
        await sockets.connect(connection_id, parameters.get("token"))
    elif route == "$disconnect":
        await sockets.disconnect(connection_id)
    else:
        # Every action comes here, those that are not known too: the client is told which there are.
        await sockets.hear(connection_id, event.get("body") or "")


def _prepare() -> None:
    remote_sockets()
    warm_up()


initialise(logger, _prepare)
