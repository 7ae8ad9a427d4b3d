"""Run by the stack at every deploy, and by hand. A failure fails the deploy, and what ran before goes on."""

from __future__ import annotations

from typing import Any

from aws_lambda_powertools.utilities.typing import LambdaContext

from groundswell.wiring.function_migrate import migrate_now
from groundswell.wiring.function_runtime import function_log, traced

logger = function_log("migrate")


@traced("migrate")
def handler(event: dict[str, Any], context: LambdaContext) -> dict[str, Any]:  # noqa: ARG001 -- Lambda's signature
    """Answers the schema's version before and after. Raises what went wrong."""
    before, after = migrate_now()
    logger.info("migrated", before=before, after=after)
    return {"before": before, "after": after}
