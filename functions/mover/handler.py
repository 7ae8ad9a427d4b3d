"""Run by its schedule: moves posts past the hot window to the archive, and ends before its time is over."""

from __future__ import annotations

from typing import Any

from aws_lambda_powertools.utilities.typing import LambdaContext

from groundswell.wiring.function_jobs import move_now
from groundswell.wiring.function_runtime import function_log, traced

EVERY_S = 3600.0
"""Between two runs, where the event does not say so: it was called by hand."""

logger = function_log("mover")


@traced("mover")
def handler(event: dict[str, Any], context: LambdaContext) -> dict[str, Any]:
    """Answer what was moved. Raise what went wrong: it raises the alarm, and the next run goes on from there.

    The event is the schedule's: it has `every_s`, the seconds between two runs.
    """
    moved = move_now(context.get_remaining_time_in_millis() / 1000, float(event.get("every_s", EVERY_S)))
    logger.info("moved", **moved)
    return dict(moved)
