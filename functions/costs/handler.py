"""Run by its schedule, once a week: mails what was spent, what could be smaller, and the estimate beside it."""

from __future__ import annotations

from typing import Any

from aws_lambda_powertools.utilities.typing import LambdaContext

from groundswell.settings import load
from groundswell.settings_model import CostsSettings
from groundswell.wiring.costs import mail_report
from groundswell.wiring.function_runtime import function_log, traced

logger = function_log("costs")


@traced("costs")
def handler(event: dict[str, Any], context: LambdaContext) -> dict[str, Any]:  # noqa: ARG001 -- Lambda's signature
    """Publishes the report. Raises what went wrong, so that the schedule tries again and the alarm hears of it."""
    text = mail_report(load(CostsSettings))
    logger.info("reported", characters=len(text))
    return {"characters": len(text)}
