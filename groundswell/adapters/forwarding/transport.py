"""An httpx transport whose requests a Lambda function forwards.

The function is invoked by Lambda's own HTTP API, signed with the credentials of this process: boto3 would take half a
second of a cold start for the one call.
"""

from __future__ import annotations

import re
from typing import Any

import httpx
import msgspec

from groundswell.adapters.aws_signature import AwsCredentials, Signer
from groundswell.adapters.forwarding.wire import MAX_PAYLOAD_BYTES, Answered, Forwarded

API_VERSION = "2015-03-31"
MAX_CONNECTIONS = 16
KEEP_ALIVE_S = 20.0
_FUNCTION = re.compile(r"arn:(aws[a-z-]*):lambda:([a-z0-9-]+):\d{12}:function:[A-Za-z0-9_-]+")
_CHINA = "aws-cn"


class FunctionTransport(httpx.AsyncBaseTransport):
    """Every failure of the invocation is an `httpx.ConnectError`: the index was not reached.

    Args:
        function: ARN of the function that forwards.
        endpoint: Lambda's, for example in tests. None takes that of the function's region which answers over IPv6, or
            the one that `AWS_ENDPOINT_URL_LAMBDA` or `AWS_ENDPOINT_URL` names.
        credentials: None takes those of this process.
    """

    def __init__(
        self, function: str, *, endpoint: str | None = None, credentials: AwsCredentials | None = None
    ) -> None:
        found = _FUNCTION.fullmatch(function)
        if found is None:
            raise ValueError(f"{function} is not the ARN of a Lambda function.")
        self._name = function.rpartition(":")[2]
        base = endpoint or _configured_endpoint() or endpoint_of(found[1], found[2])
        self._url = f"{base.rstrip('/')}/{API_VERSION}/functions/{self._name}/invocations"
        self._signer = Signer("lambda", found[2], purpose="invoke the function", credentials=credentials)
        limits = httpx.Limits(max_connections=MAX_CONNECTIONS, keepalive_expiry=KEEP_ALIVE_S)
        self._inner = httpx.AsyncHTTPTransport(limits=limits)

    async def handle_async_request(self, request: httpx.Request) -> httpx.Response:
        body = await request.aread()
        event = msgspec.json.encode(
            Forwarded(
                method=request.method,
                target=request.url.raw_path.decode("ascii"),
                body=body.decode("utf-8") if body else None,
            )
        )
        if len(event) > MAX_PAYLOAD_BYTES:
            said = f"the request has {len(event)} bytes, and Lambda takes {MAX_PAYLOAD_BYTES}: ask for less at once"
            return httpx.Response(413, text=said, request=request)
        answered = await self._invoke(event, request.extensions)
        if answered.unreachable is not None:
            raise httpx.ConnectError(answered.unreachable, request=request)
        return httpx.Response(
            answered.status, headers=answered.headers, content=answered.body.encode(), request=request
        )

    async def aclose(self) -> None:
        await self._inner.aclose()

    async def _invoke(self, event: bytes, extensions: Any) -> Answered:
        try:
            headers = await self._signer.headers("POST", self._url, event, {"Content-Type": "application/json"})
        except PermissionError as error:
            raise httpx.ConnectError(str(error)) from error
        invocation = httpx.Request("POST", self._url, headers=headers, content=event, extensions=extensions)
        answer = await self._inner.handle_async_request(invocation)
        try:
            result = await answer.aread()
        finally:
            await answer.aclose()
        if answer.status_code != 200:
            raise httpx.ConnectError(f"Lambda does not run {self._name} (HTTP {answer.status_code}: {_shown(result)})")
        if "x-amz-function-error" in answer.headers:
            raise httpx.ConnectError(f"the function {self._name} failed: {_shown(result)}")
        try:
            return msgspec.json.decode(result, type=Answered)
        except msgspec.DecodeError as error:
            raise httpx.ConnectError(f"the function {self._name} answers something else: {error}") from error


def endpoint_of(partition: str, region: str) -> str:
    """Lambda's address in a region that answers over IPv4 and IPv6."""
    return f"https://lambda.{region}.{'api.amazonwebservices.com.cn' if partition == _CHINA else 'api.aws'}"


def _configured_endpoint() -> str | None:
    """What the environment or the profile says, in the words that every AWS client reads."""
    import botocore.session
    from botocore.configprovider import ConfiguredEndpointProvider

    session: Any = botocore.session.get_session()  # pyright: ignore[reportUnknownMemberType]
    provider: Any = ConfiguredEndpointProvider(
        full_config=session.full_config, scoped_config=session.get_scoped_config(), client_name="lambda"
    )
    return provider.provide()


def _shown(result: bytes) -> str:
    return result[:300].decode(errors="replace")
