"""What every Lambda function runs on: one event loop for each process, and parts that are made as it starts."""

from __future__ import annotations

import asyncio
import json
import logging
from collections.abc import Awaitable, Callable
from contextlib import AsyncExitStack
from functools import cache, wraps
from typing import TYPE_CHECKING, Any, TypeAlias, TypeVar

from groundswell.adapters.system_clock import SystemClock
from groundswell.configuration.redaction import redact
from groundswell.errors import GroundswellError
from groundswell.ports.time import Clock
from groundswell.settings import early

if TYPE_CHECKING:
    from aws_lambda_powertools import Logger
    from aws_lambda_powertools.utilities.typing import LambdaContext

T = TypeVar("T")
Handler: TypeAlias = "Callable[[dict[str, Any], LambdaContext], dict[str, Any]]"


class Runtime:
    """The event loop of this process, and the parts that live as long as it does.

    Nothing closes them: a function is frozen between events, and in the end it is not thawed again.
    """

    def __init__(self) -> None:
        self._loop = asyncio.new_event_loop()
        # Mangum runs its requests on the loop that is current.
        asyncio.set_event_loop(self._loop)
        self.stack = AsyncExitStack()
        self.clock: Clock = SystemClock()

    def run(self, work: Awaitable[T]) -> T:
        return self._loop.run_until_complete(work)


@cache
def runtime() -> Runtime:
    return Runtime()


def initialise(log: Logger, prepare: Callable[[], object]) -> None:
    """Make the parts of a function while AWS Lambda starts its process, and not while the first event waits.

    A failure is logged and does not end the process: each event then tries again, and is answered with what is wrong.
    """
    if not early().on_lambda:
        return
    try:
        prepare()
    except GroundswellError as error:
        log.error(error.detail, code=error.code)  # noqa: TRY400 -- its message says it all


def function_log(service: str) -> Logger:
    """The structured log of one function. What the package itself logs goes the way that `configure_logging` sets."""
    from aws_lambda_powertools import Logger

    log = Logger(service=service, json_serializer=_redacted_line)
    # Powertools has a handler of its own: its lines must not come once more through the root's.
    logging.getLogger(service).propagate = False
    return log


def _redacted_line(said: object) -> str:
    """Write a line as Powertools does, without credentials: it does not pass the formatter of the package's own log."""
    return redact(json.dumps(said, default=str, separators=(",", ":"), ensure_ascii=False))


class FunctionFailed(Exception):
    """What a function raises in place of an error whose message holds a credential: AWS Lambda logs and returns it."""


def _redacted(handler: Handler) -> Handler:
    @wraps(handler)
    def inside(event: dict[str, Any], context: LambdaContext) -> dict[str, Any]:
        try:
            return handler(event, context)
        except Exception as error:
            shown = redact(str(error))
            if shown == str(error):
                raise
            raise FunctionFailed(f"{type(error).__name__}: {shown}") from None

    return inside


def traced(service: str) -> Callable[[Handler], Handler]:
    """Tells X-Ray of each event that the handler gets: how long it took, its status, a cold start, what it raised.

    Only where GROUNDSWELL_TRACING says so, and the SDK is imported only there. What is wrong with the variable is told
    by the first event, as with every other. What the handler raises leaves without credentials.
    """

    def decorate(handler: Handler) -> Handler:
        handler = _redacted(handler)
        if early().tracing != "xray":
            return handler
        from aws_lambda_powertools import Tracer

        # Patching would import every library that the SDK knows: three quarters of a second of a cold start.
        tracer = Tracer(service=service, auto_patch=False)

        @wraps(handler)
        def inside(event: dict[str, Any], context: LambdaContext) -> dict[str, Any]:
            result = handler(event, context)
            if "statusCode" in result:
                tracer.put_annotation("Status", result["statusCode"])
            return result

        # Answers are whole listings, and what is raised is noted by the SDK itself.
        return tracer.capture_lambda_handler(inside, capture_response=False, capture_error=False)

    return decorate
