"""RFC 9457 problem bodies: the only place where an error becomes an answer."""

from __future__ import annotations

import logging
from collections.abc import Mapping, Sequence
from difflib import get_close_matches
from typing import Any, cast

import msgspec
from fastapi import FastAPI, Request
from fastapi.exceptions import RequestValidationError
from starlette.exceptions import HTTPException
from starlette.responses import Response

from functions.api.parameters import ENTITY_HELP
from functions.api.surface import Surface
from groundswell.configuration.redaction import redact
from groundswell.errors import (
    GroundswellError,
    InternalError,
    InvalidRequest,
    MethodNotAllowed,
    NotFound,
    PayloadTooLarge,
)
from groundswell.ports.time import Clock

log = logging.getLogger(__name__)

PROBLEM_JSON = "application/problem+json"
PROBLEMS_PATH = "/docs/problems"
SERVER_ERROR = 500
MAX_ECHO_CHARS = 200
FAILURES_A_MINUTE = 60
"""Lines that are logged of requests which a store in trouble left without an answer."""


class FailureLog:
    """Logs requests that could not be answered: while a store is away or busy, that may be every one."""

    def __init__(self) -> None:
        self._since = float("-inf")
        self._lines = 0
        self._left_out = 0

    def log(self, text: str, now: float) -> None:
        """Log `text` at `now` (monotonic seconds), or count it where the minute has its lines."""
        if now - self._since >= 60:
            if self._left_out:
                log.warning("%d more requests failed since the last such line", self._left_out)
            self._since, self._lines, self._left_out = now, 0, 0
        if self._lines < FAILURES_A_MINUTE:
            self._lines += 1
            log.warning("%s", text)
        else:
            self._left_out += 1


def problem_response(error: GroundswellError, path: str) -> Response:
    """The answer for an error. `path` is what was asked for."""
    body: dict[str, object] = {
        "type": f"{PROBLEMS_PATH}#{error.code}",
        "title": error.title,
        "status": error.status,
        "detail": redact(error.detail),
        "instance": path,
    }
    headers = {"Cache-Control": "no-store"}
    if error.field is not None:
        body["field"] = error.field
    if error.retry_after_s is not None:
        headers["Retry-After"] = str(error.retry_after_s)
    if isinstance(error, MethodNotAllowed):
        headers["Allow"] = ", ".join(error.allow)
    if error.status == 401:
        headers["WWW-Authenticate"] = 'Bearer realm="groundswell"'
    return Response(_encode(body), status_code=error.status, headers=headers, media_type=PROBLEM_JSON)


def unexpected(path: str) -> Response:
    """The answer for an exception that nobody foresaw; the caller has logged it."""
    return problem_response(
        InternalError("The request could not be answered. It has been logged; repeating it may help."), path
    )


def install(app: FastAPI, surface: Surface, clock: Clock) -> None:
    """Let every error of `app` leave as a problem."""
    failures = FailureLog()

    async def known(request: Request, error: Exception) -> Response:
        assert isinstance(error, GroundswellError)
        if error.status >= SERVER_ERROR:
            failures.log(f"{request.method} {request.url.path[:MAX_ECHO_CHARS]}: {error}", clock.monotonic())
        return problem_response(error, request.url.path)

    async def invalid(request: Request, error: Exception) -> Response:
        assert isinstance(error, RequestValidationError)
        return problem_response(_explain(cast("Sequence[Mapping[str, Any]]", error.errors())), request.url.path)

    async def http(request: Request, error: Exception) -> Response:
        assert isinstance(error, HTTPException)
        return problem_response(_translate(error, request, surface), request.url.path)

    app.add_exception_handler(GroundswellError, known)
    app.add_exception_handler(RequestValidationError, invalid)
    app.add_exception_handler(HTTPException, http)


def no_such_path(path: str, surface: Surface) -> NotFound:
    shown = path[:MAX_ECHO_CHARS]
    # Comparing takes the product of both lengths.
    close = get_close_matches(shown, surface.paths, n=1, cutoff=0.75)
    hint = f" Did you mean {close[0]}?" if close else " /docs lists what there is."
    return NotFound(f"There is nothing at {shown}.{hint}")


def _translate(error: HTTPException, request: Request, surface: Surface) -> GroundswellError:
    match error.status_code:
        case 404:
            return no_such_path(request.url.path, surface)
        case 405:
            allow = surface.methods_at(request.url.path)
            return MethodNotAllowed(
                f"{request.url.path[:MAX_ECHO_CHARS]} answers {', '.join(allow)} only.", allow=allow
            )
        case 413:
            return PayloadTooLarge("The body is larger than any valid request.")
        case status if status < SERVER_ERROR:
            return InvalidRequest("The request could not be read.")
        case _:
            return InternalError("The request could not be answered.")


def _explain(errors: Sequence[Mapping[str, Any]]) -> InvalidRequest:
    first = errors[0]
    where, *path = first["loc"]
    if first["type"] == "json_invalid":
        return InvalidRequest(f"The body is not JSON: {first['ctx']['error']} at character {path[0]}.", field="body")
    name = ".".join(str(part) for part in path) or str(where)
    place = {"query": "Query parameter", "path": "Path part", "header": "Header"}.get(str(where), "Field")
    message = str(first["msg"]).removeprefix("Value error, ")
    if name == "entity" and first["type"] == "string_pattern_mismatch":
        message = f"this is no entity. {ENTITY_HELP.rstrip('.')}"
    more = f" ({len(errors) - 1} more like it)" if len(errors) > 1 else ""
    if first["type"] == "missing":
        return InvalidRequest(f"{place} {name!r} is missing.{more}", field=name)
    return InvalidRequest(f"{place} {name!r}: {message}.{more}", field=name)


def _encode(body: object) -> bytes:
    try:
        return msgspec.json.encode(body)
    except UnicodeEncodeError:
        # Half a surrogate pair from a request body, echoed in the message.
        return msgspec.json.encode(_printable(body))


def _printable(value: object) -> object:
    if isinstance(value, str):
        return value.encode("utf-8", "replace").decode()
    if isinstance(value, dict):
        return {key: _printable(item) for key, item in cast("dict[str, object]", value).items()}
    return value
