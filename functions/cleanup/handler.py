"""Run by its schedule: sweeps what is only kept for a while, and ends before its time is over."""

from __future__ import annotations

from typing import Any

from aws_lambda_powertools.utilities.typing import LambdaContext

from groundswell.wiring.function_jobs import sweep_now
from groundswell.wiring.function_runtime import function_log, traced

logger = function_log("cleanup")


@traced("cleanup")
def handler(event: dict[str, Any], context: LambdaContext) -> dict[str, Any]:  # noqa: ARG001 -- Lambda's signature
    """Answers how much each sweep dealt with. Raises where the database cannot be used: the alarm hears of it."""
    swept = sweep_now(context.get_remaining_time_in_millis() / 1000)
    logger.info("swept", swept=dict(swept))
    return dict(swept)
