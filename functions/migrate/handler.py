"""Run by the stack at every deploy, and by hand. A failure fails the deploy, and what ran before goes on."""

from __future__ import annotations

from typing import Any

from aws_lambda_powertools.utilities.typing import LambdaContext

from groundswell.wiring.function_migrate import migrate_now
from groundswell.wiring.function_runtime import function_log, traced

logger = function_log("migrate")


@traced("migrate")
def handler(event: dict[str, Any], context: LambdaContext) -> dict[str, Any]:  # noqa: ARG001 -- Lambda's signature
    """Answers the schema's version before and after, and what became of each login. Raises what went wrong.

    `{"renew_passwords": true}` gives every role another password.
    """
    done = dict(migrate_now(renew_passwords=bool(event) and event.get("renew_passwords") is True))
    logger.info("migrated", **done)
    return done
