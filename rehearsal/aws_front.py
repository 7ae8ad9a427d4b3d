"""What stands before the local AWS: it finds who signed a request, and refuses what that role does not allow.

Requests of an operator, who has no deployed role, pass as they are. Credentials of a task are handed out here as well,
as ECS does it. Calls of functions are led to their processes.
"""

from __future__ import annotations

import io
import json
import re
from collections.abc import Callable, Iterable, Mapping
from datetime import UTC, datetime, timedelta
from typing import Any
from urllib.parse import parse_qsl

from rehearsal.aws_calls import CallNotKnown, calls_of
from rehearsal.iam import Call, Caller, Callers, PolicyNotUnderstood

CREDENTIALS_PATH = "/rehearsal/credentials/"
CREDENTIALS_LAST = timedelta(hours=6)
JSON_SERVICES = frozenset({"secretsmanager", "ssm", "logs", "ce", "lambda"})

Invoke = Callable[[str, bytes, bool], tuple[int, Mapping[str, str], bytes]]
"""Takes a function's ARN, the event, and whether nobody waits; returns status, headers and body."""
Start = Callable[..., Any]


class Front:
    """A WSGI application around the local AWS.

    Args:
        invoke: calls a deployed function; None where none runs.
    """

    def __init__(
        self,
        app: Callable[[dict[str, Any], Start], Iterable[bytes]],
        callers: Callers,
        *,
        account: str,
        region: str,
        secret_arn: Callable[[str], str | None],
        stack_arn: Callable[[str], str | None],
        invoke: Callable[[], Invoke | None],
    ) -> None:
        self._app, self._callers = app, callers
        self._account, self._region = account, region
        self._secret_arn, self._stack_arn = secret_arn, stack_arn
        self._invoke = invoke

    def __call__(self, environ: dict[str, Any], start: Start) -> Iterable[bytes]:
        path, _, text = str(environ.get("RAW_URI") or environ["PATH_INFO"]).partition("?")
        if path.startswith(CREDENTIALS_PATH):
            return self._credentials(path.removeprefix(CREDENTIALS_PATH), start)
        query = dict(parse_qsl(text, keep_blank_values=True))
        headers = {
            name.removeprefix("HTTP_").lower().replace("_", "-"): value
            for name, value in environ.items()
            if name.startswith("HTTP_")
        }
        caller = self._callers.of(headers, query)
        if caller is None:
            return self._app(environ, start)
        scope = re.search(r"Credential=[^/]+/\d+/([^/]+)/([^/]+)/", headers.get("authorization", ""))
        scope = scope or re.match(r"[^/]+/\d+/([^/]+)/([^/]+)/", query.get("X-Amz-Credential", ""))
        assert scope is not None, "whoever has a key of a role signs with Signature Version 4"
        region, service = scope[1], scope[2]
        if not self._callers.has_token(caller, headers, query):
            self._callers.refused.append(f"{caller.name}: {service} without the session token")
            text = "The security token included in the request is invalid."
            return refuse(service, "UnrecognizedClientException", text, start)
        body = _body(environ)
        calls, refused = list[Call](), None
        try:
            calls = calls_of(
                service, region, self._account, method=environ["REQUEST_METHOD"], path=path, query=query,
                headers=headers, body=body, secret_arn=self._secret_arn, stack_arn=self._stack_arn,
            )  # fmt: skip
            refused = self._callers.refusal(caller, calls)
        except (CallNotKnown, PolicyNotUnderstood) as unknown:
            refused = f"The rehearsal cannot judge a call of {caller.name}: {unknown}"
            self._callers.refused.append(refused)
        if refused is not None:
            return refuse(service, "AccessDeniedException", refused, start)
        return self._pass_on(environ, start, caller=caller, service=service, calls=calls, body=body)

    def _pass_on(
        self, environ: dict[str, Any], start: Start, *, caller: Caller, service: str, calls: list[Call], body: bytes
    ) -> Iterable[bytes]:
        invoke = self._invoke()
        if service == "lambda" and invoke is not None:
            asynchronous = environ.get("HTTP_X_AMZ_INVOCATION_TYPE") == "Event"
            status, more, answer = invoke(calls[0].resource, body, asynchronous)
            return _answer(status, {"Content-Type": "application/json", **more}, answer, start)
        if service == "s3":
            return self._s3(caller, calls, environ, start)
        return self._app(environ, start)

    def _s3(self, caller: Caller, calls: list[Call], environ: dict[str, Any], start: Start) -> Iterable[bytes]:
        """Pass a request on. Whoever may not list a bucket does not learn that an object is not there."""
        said: list[Any] = []

        def note(*arguments: Any) -> None:
            said[:] = arguments

        answer = self._app(environ, note)
        reads = [each.resource for each in calls if each.action == "s3:GetObject"]
        if reads and str(said[0]).startswith("404"):
            bucket = Call("s3:ListBucket", reads[0].partition("/")[0])
            seen = len(self._callers.refused)
            if self._callers.refusal(caller, [bucket]) is not None:
                del self._callers.refused[seen:]
                return refuse("s3", "AccessDenied", "Access Denied", start)
        start(*said)
        return answer

    def _credentials(self, key: str, start: Start) -> Iterable[bytes]:
        caller = self._callers.known.get(key)
        if caller is None:
            return _answer(404, {"Content-Type": "application/json"}, b'{"message":"no such task"}', start)
        found = {
            "RoleArn": caller.role,
            "AccessKeyId": caller.access_key,
            "SecretAccessKey": caller.secret_key,
            "Token": caller.token,
            "Expiration": (datetime.now(UTC) + CREDENTIALS_LAST).strftime("%Y-%m-%dT%H:%M:%SZ"),
        }
        return _answer(200, {"Content-Type": "application/json"}, json.dumps(found).encode(), start)


def refuse(service: str, kind: str, text: str, start: Start) -> Iterable[bytes]:
    """Answer in the shape that the service has for its errors."""
    if service in JSON_SERVICES:
        status = 403 if service == "lambda" else 400
        body = json.dumps({"__type": kind, "Message": text, "message": text}).encode()
        headers = {"Content-Type": "application/x-amz-json-1.1", "x-amzn-ErrorType": kind}
        return _answer(status, headers, body, start)
    code = kind.removesuffix("Exception")
    error = f"<Error><Type>Sender</Type><Code>{code}</Code><Message>{_escaped(text)}</Message></Error>"
    if service == "s3":
        error = f"<Error><Code>{code}</Code><Message>Access Denied</Message><RequestId>r</RequestId></Error>"
    else:
        error = f"<ErrorResponse>{error}<RequestId>r</RequestId></ErrorResponse>"
    return _answer(403, {"Content-Type": "text/xml", "x-amzn-ErrorType": kind}, error.encode(), start)


def _escaped(text: str) -> str:
    return text.replace("&", "&amp;").replace("<", "&lt;")


def _answer(status: int, headers: Mapping[str, str], body: bytes, start: Start) -> Iterable[bytes]:
    start(f"{status} Rehearsed", [*headers.items(), ("Content-Length", str(len(body)))])
    return [body]


def _body(environ: dict[str, Any]) -> bytes:
    """Return the body of a request, which whoever comes next can read again."""
    length = environ.get("CONTENT_LENGTH")
    source = environ["wsgi.input"]
    body = source.read(int(length)) if length else source.read() if environ.get("wsgi.input_terminated") else b""
    environ["wsgi.input"] = io.BytesIO(body)
    environ["CONTENT_LENGTH"] = str(len(body))
    return body
