"""Invoked by functions inside the network: forwards their requests to the vector index, which they cannot reach."""

from __future__ import annotations

from typing import Any

from aws_lambda_powertools.utilities.typing import LambdaContext

from groundswell.wiring.function_runtime import traced
from groundswell.wiring.function_vectors import forwarder


@traced("vectors")
def handler(event: dict[str, Any], context: LambdaContext) -> dict[str, Any]:  # noqa: ARG001 -- Lambda's signature
    """What the index answered, or why it cannot be asked. Raises where the environment cannot work."""
    return forwarder().forward(event)
