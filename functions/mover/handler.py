"""Run by its schedule: moves posts past the hot window to the archive, and ends before its time is over."""

from __future__ import annotations

from typing import Any

from aws_lambda_powertools.utilities.typing import LambdaContext

from groundswell.wiring.function_jobs import move_now
from groundswell.wiring.function_runtime import function_log, traced

logger = function_log("mover")


@traced("mover")
def handler(event: dict[str, Any], context: LambdaContext) -> dict[str, Any]:  # noqa: ARG001 -- Lambda's signature
    """Answers what was moved. Raises what went wrong: the alarm hears of it, and the next run goes on from there."""
    moved = move_now(context.get_remaining_time_in_millis() / 1000)
    logger.info("moved", **moved)
    return dict(moved)
