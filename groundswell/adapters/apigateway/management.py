"""The @connections API of API Gateway: one signed request for each message, over connections that are kept alive.

boto3 would make a blocking call of each; this is the same request through aiohttp, signed by botocore (AWS Signature
Version 4).
"""

from __future__ import annotations

import logging
from types import TracebackType
from typing import TYPE_CHECKING
from urllib.parse import quote

from groundswell.adapters.aws_signature import AwsCredentials, Signer
from groundswell.ports.live import RemoteGone, RemoteThrottled

if TYPE_CHECKING:
    import aiohttp

log = logging.getLogger(__name__)

SERVICE = "execute-api"
TIMEOUT_S = 10.0
MAX_CONNECTIONS = 128
"""Sockets kept open to API Gateway. One carries some tens of messages a second at its usual latency."""
GONE, TOO_MANY = 410, 429


class ConnectionsApi:
    """`ports.RemoteSender` for one WebSocket API. Use it as an async context manager.

    Args:
        endpoint: `https://{api}.execute-api.{region}.amazonaws.com/{stage}`, without a slash at the end.
        region: what requests are signed for; None takes it from the endpoint's host.
        credentials: None takes those of the task, the function or the machine, as every AWS client does.
    """

    def __init__(self, endpoint: str, *, region: str | None = None, credentials: AwsCredentials | None = None) -> None:
        self._base = endpoint.rstrip("/")
        self._signer = Signer(
            SERVICE, region or _region_of(endpoint), purpose="post to clients", credentials=credentials
        )
        self._session: aiohttp.ClientSession | None = None

    async def __aenter__(self) -> ConnectionsApi:
        import aiohttp

        self._session = aiohttp.ClientSession(
            connector=aiohttp.TCPConnector(limit=MAX_CONNECTIONS, keepalive_timeout=60),
            timeout=aiohttp.ClientTimeout(total=TIMEOUT_S),
            skip_auto_headers=("User-Agent", "Accept", "Accept-Encoding"),
        )
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        if self._session is not None:
            await self._session.close()

    async def post(self, connection_id: str, frame: str) -> None:
        await self._request("POST", connection_id, frame.encode())

    async def disconnect(self, connection_id: str) -> None:
        await self._request("DELETE", connection_id, b"")

    async def _request(self, method: str, connection_id: str, body: bytes) -> None:
        import aiohttp
        from yarl import URL

        assert self._session is not None, "used outside its context"
        # Connection ids end in "=", which has to be quoted in the path, and is signed as it is sent.
        url = f"{self._base}/@connections/{quote(connection_id, safe='')}"
        headers = await self._signer.headers(method, url, body)
        try:
            async with self._session.request(method, URL(url, encoded=True), data=body, headers=headers) as answer:
                if answer.status < 300:
                    return
                said = (await answer.text())[:200]
                after = answer.headers.get("Retry-After")
        except (aiohttp.ClientError, TimeoutError) as error:
            raise ConnectionError(f"API Gateway cannot be reached: {type(error).__name__}: {error}") from error
        if answer.status == GONE:
            raise RemoteGone(connection_id)
        if answer.status == TOO_MANY:
            raise RemoteThrottled(float(after) if after and after.isdigit() else None)
        if answer.status == 403:
            raise PermissionError(
                f"API Gateway does not let us post to clients (HTTP 403: {said}). The role needs "
                "execute-api:ManageConnections on this API and stage."
            )
        raise ConnectionError(f"API Gateway answered with HTTP {answer.status}: {said}")


def _region_of(endpoint: str) -> str:
    parts = endpoint.partition("://")[2].partition("/")[0].split(".")
    return parts[2] if len(parts) > 3 and parts[1] == SERVICE else "us-east-1"
