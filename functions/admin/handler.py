"""Run by an operator: one of the commands that are permitted in a deployment. What it writes is the answer."""

from __future__ import annotations

from typing import Any

from aws_lambda_powertools.utilities.typing import LambdaContext

from groundswell.wiring.function_admin import run_command
from groundswell.wiring.function_runtime import function_log, traced

logger = function_log("admin")


@traced("admin")
def handler(event: dict[str, Any], context: LambdaContext) -> dict[str, Any]:
    """Answer exit code and output. The log gets the command's name alone: what it writes may be a new key."""
    name, answer = run_command(event, context.get_remaining_time_in_millis() / 1000)
    logger.info("ran", command=name, exit=answer["exit"])
    return dict(answer)
