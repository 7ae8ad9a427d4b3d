"""The API behind an HTTP API of API Gateway: FastAPI through Mangum, one structured log line for each request."""

from __future__ import annotations

from collections.abc import Mapping
from functools import cache
from typing import Any, cast

from aws_lambda_powertools import Metrics
from aws_lambda_powertools.metrics import MetricUnit
from aws_lambda_powertools.utilities.typing import LambdaContext
from mangum import Mangum
from mangum.adapter import DEFAULT_TEXT_MIME_TYPES

from functions.api.faults import problem_result
from functions.api.lambda_limits import require_event, sendable
from groundswell.errors import GroundswellError
from groundswell.wiring.function_api import http_application, warm_up
from groundswell.wiring.function_runtime import function_log, initialise, runtime, traced

TEXT_TYPES = ("application/problem+json", "application/x-ndjson")
"""What need not travel in base64."""

logger = function_log("api")
metrics = Metrics(namespace="Groundswell", service="api")


@cache
def adapter() -> Mangum:
    app: Any = http_application()  # Mangum names its parameters, the ASGI types do not
    return Mangum(app, lifespan="off", text_mime_types=[*DEFAULT_TEXT_MIME_TYPES, *TEXT_TYPES])


@traced("api")
@metrics.log_metrics(capture_cold_start_metric=True)
def handler(event: dict[str, Any], context: LambdaContext) -> dict[str, Any]:
    """Answer one HTTP event (payload format 2.0); an event of another kind is a 400.

    What the environment lacks is a 500 that the log explains.
    """
    started = runtime().clock.monotonic()
    request: Mapping[str, Any] = {}
    try:
        request = require_event(event, "http")
        result = sendable(adapter()(event, cast(Any, context)))
    except GroundswellError as error:
        logger.error(error.detail, code=error.code)  # noqa: TRY400 -- its message says it all
        result = problem_result(error)
    seconds = runtime().clock.monotonic() - started
    metrics.add_metric(name="requests", unit=MetricUnit.Count, value=1)
    metrics.add_metric(name="failures", unit=MetricUnit.Count, value=result["statusCode"] >= 500)
    metrics.add_metric(name="request_seconds", unit=MetricUnit.Seconds, value=seconds)
    logger.info(
        "request",
        method=request.get("http", {}).get("method"),
        path=request.get("http", {}).get("path"),
        status=result["statusCode"],
        ms=round(seconds * 1000, 1),
        request_id=request.get("requestId"),
    )
    return result


def _prepare() -> None:
    """Besides the parts: what the libraries import and compute for their first request."""
    adapter()(_FIRST_EVENT, cast(Any, None))
    warm_up()


_FIRST_EVENT: dict[str, Any] = {
    "version": "2.0",
    "rawPath": "/healthz",
    "rawQueryString": "",
    "headers": {"host": "localhost"},
    "requestContext": {"http": {"method": "GET", "path": "/healthz", "sourceIp": "127.0.0.1"}, "requestId": "init"},
    "isBase64Encoded": False,
}

initialise(logger, _prepare)
