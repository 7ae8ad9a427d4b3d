"""A failure as the result of a function: the same problem body that the application gives, without the application."""

from __future__ import annotations

from typing import Any

import msgspec

from groundswell.errors import GroundswellError, InternalError

_HIDDEN = InternalError("The service is not set up rightly. Its log says what is missing.")


def problem_result(error: GroundswellError) -> dict[str, Any]:
    """An API Gateway result with an RFC 9457 body. What is our own fault is explained to the log alone."""
    shown = error if error.status < 500 or error.status == 503 else _HIDDEN
    headers = {"content-type": "application/problem+json", "cache-control": "no-store"}
    if shown.retry_after_s is not None:
        headers["retry-after"] = str(shown.retry_after_s)
    body = {
        "type": f"/docs/problems#{shown.code}",
        "title": shown.title,
        "status": shown.status,
        "detail": shown.detail,
    }
    return {"statusCode": shown.status, "headers": headers, "body": msgspec.json.encode(body).decode()}
